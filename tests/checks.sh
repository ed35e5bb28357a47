#!/usr/bin/env bash
# The code under other compilers, sanitizers and tools, each in a build directory of its own. ctest does
# not run them.
#
#   tests/checks.sh NAME... [-- options of ctest]
#
#   clang      everything compiled by clang with warnings as errors, in build-clang/
#   threads    the pool, kernels and training steps, a run of every kind of method with two threads, whose
#              model writes its calibration text, quantize and sample, under the thread sanitizer, in
#              build-tsan/
#   sanitize   all tests under the address and undefined-behaviour sanitizers, in build-asan/
#   arm        everything compiled for aarch64, in build-arm/, and with qemu-user the tests of the
#              rooms up to optim/; OpenBLAS and Catch2 for it come from the distribution (apt, unpacked
#              beside the build, nothing is installed)
#   coverage   lines of the sources that the tests reach, in build-coverage/: 92 % at least, and what
#              no test reaches of each parser
#   tidy       clang-tidy (.clang-tidy) over all sources, in build-tidy/
#   all        these, in this order
#
# Options of ctest choose among the tests of sanitize, arm and coverage: -- -R test_base. Each check
# prints a line of summary and fails where something was found. Exit code 4: a tool is missing.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)
chosen=()

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# need COMMAND PACKAGE
need() {
  command -v "$1" >/dev/null && return
  echo "error: no $1; Debian, Ubuntu: sudo apt-get install $2" >&2
  exit 4
}

# configure NAME [options of cmake]: build-NAME/
configure() {
  local build=$root/build-$1 options=()
  shift
  if [ ! -f "$build/CMakeCache.txt" ]; then
    if command -v ninja >/dev/null; then options+=(-G Ninja); fi
    if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  fi
  cmake -S "$root" -B "$build" "${options[@]}" "$@" >"$build.log" 2>&1 || { cat "$build.log" >&2; fail cmake; }
  rm -f "$build.log"
}

# -O1: compiled in two thirds of the time of -O2, and there is more to read in a trace.
sanitizers() { configure "$1" -DCMAKE_UNITY_BUILD=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 "-DNOTCH_SANITIZE=$2"; }

# make_in NAME [targets]
make_in() {
  local build=$root/build-$1
  shift
  cmake --build "$build" -j "$jobs" ${1:+--target "$@"}
}

# tests_in NAME [options of ctest]
tests_in() {
  local build=$root/build-$1
  shift
  ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$jobs" "$@"
}

clang_check() {
  need clang++ clang
  configure clang -DCMAKE_UNITY_BUILD=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DNOTCH_WERROR=ON
  make_in clang
  echo "clang: no warning"
}

threads_check() {
  local build=$root/build-tsan out methods=gptq,gptaq,awq,lqer,spqr,adaround,block-ap,qat-ste,qat-lsq-kd,qlora
  sanitizers tsan thread
  make_in tsan test_base test_kernels test_nn notch
  export OPENBLAS_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1
  "$build/test_base" "*region*,*thread*,*tile*,parallel_for*"
  "$build/test_kernels" "*threads*"
  "$build/test_nn" "*threads*,*learns*"
  out=$(mktemp -d)
  trap 'rm -rf "$out"' RETURN
  "$build/notch" run "$root/experiments/quick.toml" --threads 2 --out "$out/run" -q model.n_layer=1 model.n_embd=32 \
    model.n_head=2 train.steps=20 train.warmup=-1 train.eval_every=10 data.sentences=400 data.task_examples=24 \
    calib.source=self calib.windows=4 quant.bits=4 quant.methods="$methods" activations.bits=8 qat.steps=10
  "$build/notch" sample "$out/run/models/fp32-seed1337" -n 600 --threads 2 >"$out/text"
  "$build/notch" quantize "$out/run/models/fp32-seed1337" --method gptq --bits 4 --group 16 --threads 2 \
    --text "$out/text" --out "$out/small"
  "$build/notch" sample "$out/run/models/fp32-seed1337" --draft "$out/small" -n 40 --threads 2
  echo "threads: nothing found"
}

sanitize_check() {
  sanitizers asan address,undefined
  make_in asan
  tests_in asan "${chosen[@]}"
  echo "sanitize: nothing found"
}

# What the distribution has for aarch64, unpacked in $1; false where it cannot be had.
arm_packages() {
  local store=$1.apt options package
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return
  mkdir -p "$store/lists/partial" "$store/cache/archives/partial" "$1"
  : >>"$store/status"
  options=(-qq -o APT::Sandbox::User=root -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o "Dir::State=$store"
    -o "Dir::State::status=$store/status" -o "Dir::Cache=$store/cache")
  apt-get "${options[@]}" update || return
  for package in libopenblas-pthread-dev catch2; do
    (cd "$store" && apt-get "${options[@]}" download "$package") || return
    dpkg-deb -x "$store/$package"_*.deb "$1" || return
  done
}

arm_check() {
  local build=$root/build-arm system=$root/build-arm-system folder=lib/aarch64-linux-gnu
  local blas=$system/usr/$folder/openblas-pthread/libopenblas.a options
  need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
  [ -f "$blas" ] || arm_packages "$system" || true
  options=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ "-DOPENBLAS_LIBRARY=$blas"
    "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu")
  if [ ! -f "$blas" ]; then
    # Libraries compile with the header of any architecture.
    configure arm "${options[@]}" -DNOTCH_TESTS=OFF
    make_in arm notch_experiments
    echo "arm: all libraries compile; no program: there is no OpenBLAS or no Catch2 for aarch64 here"
    return
  fi
  configure arm "${options[@]}" "-DCatch2_DIR=$system/usr/lib/cmake/Catch2" \
    "-DOPENBLAS_INCLUDE_DIR=$system/usr/include/aarch64-linux-gnu/openblas-pthread"
  make_in arm
  if ! command -v qemu-aarch64 >/dev/null; then
    echo "arm: everything compiles; no test ran: there is no qemu-aarch64 (qemu-user)"
    return
  fi
  # OPENBLAS_CORETYPE, if set, names a core of this machine.
  local tests=(-R '^test_(base|data|kernels|autograd|nn|optim):')
  [ ${#chosen[@]} -eq 0 ] || tests=("${chosen[@]}")
  env -u OPENBLAS_CORETYPE ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$jobs" "${tests[@]}"
  echo "arm: everything compiles, the tests pass under $(qemu-aarch64 --version | head -n 1)"
}

# Files that read what others may have written.
parsers='^(autograd/base/(json|json_parse|utf8)|data/(corpus|text_form|text_source|token_cache|tokenizer_json|vocab_files|vocabulary)|nn/(safetensors|safetensors_read|gguf|checkpoint|manifest|model_dir|gpt_files|other_weights|integrity|digest|gguf_digest)|quant/store/[a-z0-9_]+|experiments/config/(toml|toml_scalar|toml_source|config_read|config_text)|experiments/run/(results|metrics|layer_study))[.](cpp|h)'

coverage_check() {
  local build=$root/build-coverage
  configure coverage -DCMAKE_UNITY_BUILD=ON -DCMAKE_BUILD_TYPE=None "-DCMAKE_CXX_FLAGS=-O1 --coverage -fprofile-update=atomic"
  CCACHE_BASEDIR="" make_in coverage  # gcov finds sources by the names that they were compiled under
  find "$build" -name '*.gcda' -delete
  tests_in coverage "${chosen[@]}"
  # Per object the lines of its sources and headers; a line is reached that any object reached.
  (cd "$build" && find . -name '*.gcda' -print0 | xargs -0 gcov -t -r -s "$root" 2>/dev/null) |
    awk -F: -v parsers="$parsers" '
      { count = $1; gsub(/[ *]/, "", count) }
      $2 + 0 == 0 { if ($3 == "Source") file = $4; next }
      file !~ /^(autograd|nn|optim|quant|data|experiments)\// || count == "-" || NF < 3 { next }
      {
        key = file ":" $2 + 0
        if (!(key in seen)) { seen[key] = 0; lines[file]++ }
        if (count !~ /^[#=]/ && !seen[key]) { seen[key] = 1; reached[file]++ }
      }
      END {
        for (file in lines) {
          room = file; sub(/\/.*/, "", room)
          all[room] += lines[file]; hit[room] += reached[file]
          total += lines[file]; found += reached[file]
        }
        for (room in all) printf "room %-12s %6d of %6d lines, %5.1f %%\n", room, hit[room], all[room], 100 * hit[room] / all[room] | "sort"
        close("sort")
        for (file in lines) if (file ~ parsers)
          printf "parser %-40s %5d of %5d lines, %5.1f %%\n", file, reached[file], lines[file], 100 * reached[file] / lines[file] | "sort"
        close("sort")
        for (key in seen) if (!seen[key] && key ~ parsers) print "unreached " key | "sort -t: -k1,1 -k2,2n"
        close("sort -t: -k1,1 -k2,2n")
        if (!total) exit 1
        printf "coverage: %d of %d lines, %.1f %%\n", found, total, 100 * found / total
        exit found < 0.92 * total
      }' || fail "less than 92 %"
}

tidy_check() {
  local build=$root/build-tidy
  need clang-tidy clang-tidy
  need clang++ clang
  # What is compiled as one is read as one: a fifth of the time.
  configure tidy -DCMAKE_UNITY_BUILD=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DNOTCH_PCH=OFF -DNOTCH_TESTS=OFF \
    -DCMAKE_CXX_COMPILER=clang++
  sed -n 's/^ *"file": "\(.*\)".*/\1/p' "$build/compile_commands.json" | grep -v '_f64' | sort -u |
    xargs -P "$jobs" -n 1 clang-tidy -p "$build" --quiet --warnings-as-errors='*'
  echo "tidy: clean"
}

names=()
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; chosen=("$@"); break ;;
    all) names+=(clang threads sanitize arm coverage tidy) ;;
    clang | threads | sanitize | arm | coverage | tidy) names+=("$1") ;;
    *) usage ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || usage
for name in "${names[@]}"; do "${name}_check"; done
