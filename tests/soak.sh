#!/usr/bin/env bash
# Long checks of whole runs, for a release or a long night; ctest does not run them.
#
#   tests/soak.sh kill [N]      N (30) SIGKILLs and as many SIGTERMs at random moments of a run, each
#                               followed by --resume: the hash must be that of an undisturbed run
#   tests/soak.sh calls         a short run killed at every single system call that changes files
#   tests/soak.sh threads       the same run with 1, 2, 3 ... 7 threads: one hash
#   tests/soak.sh fuzz [N [S]]  N (20,000) inputs of every fuzz target from seed S (1), each within a
#                               second and 64 MiB and twice its size; those of parsers that need no engine
#                               also under sanitizers (tests/fuzz.sh: with libFuzzer)
#   tests/soak.sh flips         every bit of every byte of small files of each kind is flipped and noticed
#   tests/soak.sh faults        a run whose disk fails, or whose power does, at every single call
#
# tests/checks.sh has sanitizers and other compilers. Each part prints a line of summary and fails where
# something was found. $NOTCH names a built program; otherwise build/ is built. $NOTCH_SOAK_CONFIG names
# another experiment than the small one below.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# targets NAME...: built in build/.
targets() {
  cmake -S "$root" -B "$root/build" -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build "$root/build" -j "$jobs" --target "$@" >/dev/null
}

build() {
  [ -n "${NOTCH:-}" ] && return
  targets notch
  NOTCH=$root/build/notch
}

# Every kind of row, checkpoints every few steps, two seeds: some sixteen seconds of processor time a run.
small_experiment() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export TMPDIR=$work/tmp
  mkdir "$TMPDIR"
  config=${NOTCH_SOAK_CONFIG:-$work/soak.toml}
  cat >"$work/soak.toml" <<'TOML'
name  = "soak"
seeds = [1, 2]
[data]
sentences     = 1000
task_examples = 24
[model]
n_layer    = 2
n_head     = 2
n_embd     = 32
block_size = 32
bias       = true
dropout    = 0.1
[train]
steps            = 150
batch_size       = 8
warmup           = 5
ema              = 0.9
eval_every       = 40
eval_windows     = 8
checkpoint_every = 7
log_every        = 5
[quant]
bits    = [8, 4]
methods = ["rtn", "rtn-mse", "gptq", "gptaq", "awq", "qat-ste", "qat-lsq", "qat-lsq-kd", "qlora"]
[activations]
bits  = [0, 8]
range = "static"
[calib]
windows = 16
[qat]
steps = 40
TOML
}

# start OUT [flags]: begins a run, its process in $pid; its results go to $work/OUT.txt.
start() {
  local out=$1
  shift
  "$NOTCH" run "$config" --out "$work/$out" -q "$@" >"$work/$out.txt" 2>"$work/$out.err" &
  pid=$!
}

# run OUT [flags]: a whole run.
run() {
  start "$@"
  wait "$pid" || { cat "$work/$1.err" >&2; fail "the run in $1"; }
}

hash_of() { sed -n 's/^hash  *//p' "$work/$1.txt"; }

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# disturb SIGNAL N OUT SECONDS: one run that gets the signal N times, each time at a random moment
# of up to half of what a whole run takes, so that it is hit several times, and beyond the dry run that
# every start begins with; begins again when it has finished before its N signals are used up.
disturb() {
  local signal=$1 signals=$2 out=$3 seconds=$4 hits=0 runs=0 flags code
  while [ "$hits" -lt "$signals" ]; do
    flags=--force
    while :; do
      start "$out" "$flags"
      if [ "$hits" -lt "$signals" ]; then
        sleep "$(awk -v r=$RANDOM -v s="$seconds" 'BEGIN { print r / 32768 * s / 2 }')"
        kill -s "$signal" "$pid" 2>/dev/null && hits=$((hits + 1))
      fi
      code=0
      wait "$pid" 2>/dev/null || code=$?  # the shell would say "Killed"
      [ "$code" = 0 ] && break
      case $code in
        137 | 143) ;;
        *)
          cat "$work/$out.err" >&2
          fail "exit code $code after SIG$signal"
          ;;
      esac
      # Killed before it had a configuration: there is nothing to resume.
      flags=--resume
      [ -e "$work/$out/config.resolved.toml" ] || flags=--force
    done
    runs=$((runs + 1))
    [ "$(hash_of "$out")" = "$expected" ] || fail "SIG$signal: hash $(hash_of "$out"), not $expected"
    [ -z "$(find "$work/$out" "$TMPDIR" -name '*.tmp*' -print -quit)" ] || fail "a temporary was left behind"
  done
  echo "SIG$signal: $hits interruptions over $runs runs, hash $expected"
}

kill_part() {
  local seconds=$SECONDS
  run whole
  seconds=$((SECONDS - seconds + 1))
  expected=$(hash_of whole)
  [ -n "$expected" ] || fail "no hash was printed"
  echo "undisturbed: $seconds s, hash $expected"
  disturb KILL "$1" killed "$seconds"
  disturb TERM "$1" stopped "$seconds"
}

calls_part() {
  targets test_experiments
  NOTCH_EVERY=1 "$root/build/test_experiments" "a run that is killed *"
  echo "calls: killed at every one, resumed to the same end"
}

threads_part() {
  local n first=
  for n in 1 2 3 4 5 6 7; do
    run "threads-$n" --threads "$n"
    [ -n "$first" ] || first=$(hash_of "threads-$n")
    [ -n "$first" ] || fail "no hash was printed"
    [ "$(hash_of "threads-$n")" = "$first" ] ||
      fail "$n threads: hash $(hash_of "threads-$n"), with 1 thread $first"
    echo "$n threads: hash $first"
  done
}

fuzz_part() {
  targets test_fuzz test_parsers
  NOTCH_FUZZ_INPUTS=$1 NOTCH_FUZZ_SEED=$2 "$root/build/test_fuzz"
  NOTCH_FUZZ_INPUTS=$1 NOTCH_FUZZ_SEED=$2 "$root/build/test_parsers"
  echo "fuzz: $1 inputs of every target from seed $2"
}

flips_part() {
  targets test_nn test_quant
  local program
  for program in test_nn test_quant; do "$root/build/$program" "*flip*"; done
  echo "flips: every one was noticed"
}

faults_part() {
  targets test_base test_nn test_fuzz test_experiments
  "$root/build/test_base" "*fail*"
  "$root/build/test_nn" "*fail*"
  "$root/build/test_fuzz" "*without memory*"
  NOTCH_EVERY=1 "$root/build/test_experiments" "a run whose disk *,a run in a power *"
  echo "faults: every call failed once, and from then on"
}

case ${1:-} in
  fuzz) fuzz_part "${2:-20000}" "${3:-1}" ;;
  flips) flips_part ;;
  faults) faults_part ;;
  calls) calls_part ;;
  kill) build; small_experiment; kill_part "${2:-30}" ;;
  threads) build; small_experiment; threads_part ;;
  *) usage ;;
esac
