#!/usr/bin/env bash
# What other programs make of our files, and we of theirs:
#
#   tests/clients/run.sh [tokenizers] [graphs] [models] [gguf] [trained]      all of them, or these
#
# Installs by npm, into a temporary folder, what a user would use, and compares: each part is a file beside this one,
# which says with what. Says by name what it skipped. Not a part of tests/run.sh: it needs the network and twenty
# minutes.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../../experiments/setup.sh"
parts=${*:-tokenizers graphs models gguf trained}
for part in $parts; do
  case $part in
    tokenizers | graphs | models | gguf | trained) ;;
    *)
      echo "error: no part $part: tokenizers, graphs, models, gguf, trained" >&2
      exit 2
      ;;
  esac
done
notch_setup program
work=$(mktemp -d)
trap 'rm -rf "$work" "$notch_log"' EXIT
cd "$work"
notch="$notch_build/notch"
passed=0
failed=0
skipped=0

skip() {
  echo "skipped: $1: $2"
  skipped=$((skipped + 1))
}

# check NAME COMMAND...
check() {
  local name=$1
  shift
  if "$@" >out.log 2>&1; then
    passed=$((passed + 1))
    echo "passed: $name$(sed -n 's/.*: \(.*\)/ (\1)/p' out.log | tail -1)"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    tail -5 out.log
  fi
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  skip "everything" "needs node and npm"
  echo "0 passed, 0 failed, $skipped skipped"
  exit 0
fi

# install PACKAGE: false, and said so, when it cannot be had.
install() {
  [ -d "node_modules/$1" ] || npm install --ignore-scripts --no-audit --no-fund --silent "$1" >npm.log 2>&1 || {
    skip "$1" "npm cannot install it"
    return 1
  }
}

node "$here/mixed_text.mjs" mixed 11 >mixed.txt
node "$here/mixed_text.mjs" lines 10 >lines.txt
head -c 100000 lines.txt >some-lines.txt
printf '{"private": true}\n' >package.json

python=$(command -v /usr/bin/python3 || command -v python3 || true)
torch=
if [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then torch=yes; fi

# shellcheck source=tests/clients/tokenizers.sh
source "$here/tokenizers.sh"
# shellcheck source=tests/clients/graphs.sh
source "$here/graphs.sh"
# shellcheck source=tests/clients/models.sh
source "$here/models.sh"
# shellcheck source=tests/clients/gguf.sh
source "$here/gguf.sh"
# shellcheck source=tests/clients/trained.sh
source "$here/trained.sh"

for part in $parts; do "part_$part"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
