#!/usr/bin/env bash
# All tests from a fresh clone:  tests/run.sh [options of ctest]
#
#   tests/run.sh                 everything
#   tests/run.sh -R test_quant   one program
#
# Installs what is missing (apt), builds everything in build/, and runs ctest. Prints one line per
# program, what failed in full, and the total. Fails also where a program has a case that ctest does
# not run. Tests that need a text look for it in $NOTCH_DATA and say "skipped" otherwise.
set -eu
# shellcheck source=experiments/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../experiments/setup.sh"
notch_setup tests
log=$(mktemp)
trap 'rm -f "$notch_log" "$log"' EXIT

# Cases that a program has: Catch2 v2 exits with their number, v3 has another option for it.
listed_by() {
  if "$1" --help | grep -q list-test-names-only; then
    { "$1" --list-test-names-only || true; } | grep -c . || true
  else
    "$1" --list-tests --verbosity quiet | grep -c . || true
  fi
}

status=0
ctest --test-dir "$notch_build" --output-on-failure --no-tests=error -j "$notch_jobs" "$@" \
  >"$log" 2>&1 || status=$?

# "12/788 Test #12: test_base:a name .....   Passed    0.01 sec"
result='^ *[0-9]+/[0-9]+ Test +#[0-9]+: '
[ $status -eq 0 ] || grep -vE "^ *Start +[0-9]+: |$result.* Passed " "$log" || true

registered=$(ctest --test-dir "$notch_build" -N)
chosen=$(ctest --test-dir "$notch_build" -N "$@")
for program in "$notch_build"/test_*; do
  if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
  name=$(basename "$program")
  count() { grep -cE "Test +#[0-9]+: $name:" || true; }
  has=$(listed_by "$program")
  known=$(count <<<"$registered")
  wanted=$(count <<<"$chosen")
  ran=$(grep -E "$result" "$log" | count)
  passed=$(grep -E "$result.* Passed " "$log" | count)
  if [ "$has" -ne "$known" ] || [ "$ran" -ne "$wanted" ]; then
    echo "error: $name has $has cases, ctest knows $known, should run $wanted and ran $ran" >&2
    status=1
  fi
  [ "$ran" -eq 0 ] || printf '%-18s %4d passed, %d failed\n' "$name" "$passed" $((ran - passed))
done
passed=$(grep -cE "$result.* Passed " "$log" || true)
ran=$(grep -cE "$result" "$log" || true)
[ "$passed" -eq "$ran" ] || status=1
echo "$passed passed, $((ran - passed)) failed"
exit $status
