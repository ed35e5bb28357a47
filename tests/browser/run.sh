#!/usr/bin/env bash
# Our pages in a real browser:  tests/browser/run.sh [DIRECTORY for screenshots]
#
# Makes two small runs and the lessons' pages and looks at them in headless Chromium, at 1280 and 390 pixels, light and
# dark, with script and without: no errors, nothing loaded, a mark for every row; filter, sort, hover, sliders and keys
# change what they should; contrast of 4.5 or more, every control reached by Tab, every plot told in words. Says what it
# skipped where node or a browser is missing ($CHROMIUM names one). Not a part of tests/run.sh: not everybody has a
# browser.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  [ -n "$browser" ] || browser=$(command -v "$name" || true)
done
if [ -z "$browser" ] || ! command -v node >/dev/null; then
  echo "skipped: report, sizes, lessons: needs node and Chromium or Chrome"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
# shellcheck source=experiments/setup.sh
source "$here/../../experiments/setup.sh"
notch_setup program
work=$(mktemp -d)
trap 'rm -rf "$work" "$notch_log"' EXIT
shots=${1:-}
[ -z "$shots" ] || { mkdir -p "$shots" && shots=$(cd "$shots" && pwd); }

"$notch_build/notch" run "$here/small.toml" -q --out "$work/run" >/dev/null
"$notch_build/notch" run "$here/small.toml" -q model.n_embd=32 --out "$work/large" >/dev/null
"$notch_build/notch" report --sizes "$work/run" "$work/large" -q --out "$work/sizes" >/dev/null
"$notch_build/notch" lesson --html "$work/site" >/dev/null
# shellcheck disable=SC2086 # none or one
node "$here/check.mjs" "$browser" "$work" "$work/run" "$work/sizes" "$work/site" $shots
