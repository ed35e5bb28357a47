#!/usr/bin/env bash
# The long fuzzing job: clang's libFuzzer with the address and undefined-behaviour sanitizers, every
# target of tests/fuzz in turn.
#
#   tests/fuzz.sh [N [TARGET...]]    N (1,000,000) inputs of every target, or of those named
#
# Builds in build-fuzz/, which also keeps the inputs that reached something new (corpus/TARGET). An input
# is wrong that crashes, leaks, takes ten seconds (a sanitizer's: one without), asks for 256 MiB at once, or
# whose answer is none; libFuzzer says in which file it left it. Without clang: tests/soak.sh fuzz, which
# also counts what an input holds.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in -h | --help | *[!0-9]*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;; esac
inputs=${1:-1000000}
[ $# -eq 0 ] || shift
clang=$(command -v clang++ || ls /usr/bin/clang++-[0-9]* 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$clang" ]; then
  echo "error: no clang++; Debian, Ubuntu: sudo apt-get install clang, or tests/soak.sh fuzz" >&2
  exit 2
fi
build=$root/build-fuzz
cmake -S "$root" -B "$build" -DCMAKE_UNITY_BUILD=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DCMAKE_CXX_COMPILER="$clang" \
  -DNOTCH_SANITIZE=fuzzer-no-link,address,undefined >/dev/null
cmake --build "$build" -j "$(nproc)" --target notch_fuzz
targets=("$@")
[ $# -gt 0 ] || read -ra targets < <("$build/notch_fuzz" 2>&1 | sed -n 's/^NOTCH_FUZZ_TARGET is none of: //p')

status=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target" "$build/findings"
  log=$build/findings/$target.log
  if NOTCH_FUZZ_TARGET=$target "$build/notch_fuzz" -runs="$inputs" -max_len=65536 -timeout=10 \
    -report_slow_units=1 -rss_limit_mb=2048 -malloc_limit_mb=256 -print_final_stats=1 \
    -artifact_prefix="$build/findings/$target-" "$build/corpus/$target" >"$log" 2>&1; then
    echo "$target: $inputs inputs, nothing found"
  else
    status=1
    tail -n 40 "$log"
    echo "$target: FAILED, see $log"
  fi
done
exit $status
