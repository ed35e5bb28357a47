#!/usr/bin/env bash
# All tests from a fresh clone:  tests/run.sh [options of ctest]
#
#   tests/run.sh                 everything
#   tests/run.sh -R test_quant   one program
#
# Installs what is missing (apt), builds everything in build/, and runs ctest. Tests that need a
# text look for it in $NOTCH_DATA and say "skipped" otherwise.
set -eu
# shellcheck source=experiments/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../experiments/setup.sh"
notch_setup tests
ctest --test-dir "$notch_build" --output-on-failure -j "$notch_jobs" "$@"
