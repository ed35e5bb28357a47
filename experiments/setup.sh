# shellcheck shell=bash
# Sourced by experiments/run.sh and tests/run.sh: installs what is missing, configures, builds.
#
# CMake's own search decides whether OpenBLAS and Catch2 are there, so copies outside the system's
# folders (CMAKE_PREFIX_PATH) count. With everything in place nothing needs root or a network.
# Output goes to stderr: stdout belongs to the results. Exit code 4: something cannot be installed.

notch_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
notch_build=$notch_root/build
notch_jobs=$(nproc 2>/dev/null || echo 2)

notch_fail() {
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "hint: $2" >&2
  exit 4
}

# notch_install PACKAGE...: with apt, as root or through sudo.
notch_install() {
  local as_root=()
  local hint="install them by hand, on Debian or Ubuntu: sudo apt-get install $*"
  command -v apt-get >/dev/null || notch_fail "missing: $*, and there is no apt-get" "$hint"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || notch_fail "missing: $*, and only root can install them" "$hint"
    as_root=(sudo)
  fi
  echo "installing $*" >&2
  "${as_root[@]}" apt-get update -qq >&2 || true # an old list may do
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    notch_fail "apt-get could not install: $*" "$hint"
}

notch_tools() {
  local missing=()
  [ -n "${CXX:-}" ] || command -v g++ >/dev/null || command -v clang++ >/dev/null || missing+=(g++)
  command -v cmake >/dev/null || missing+=(cmake)
  command -v ninja >/dev/null || command -v make >/dev/null || missing+=(make)
  [ ${#missing[@]} -eq 0 ] || notch_install "${missing[@]}"
}

notch_configure() {
  # Sixteen sources as one: a clone is built in half the time. Who edits files builds them one by one (cmake's default).
  local options=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON)
  # A cache that came from another place on disk is of no use.
  if [ -f "$notch_build/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$notch_root" "$notch_build/CMakeCache.txt"; then
    rm -rf "$notch_build/CMakeCache.txt" "$notch_build/CMakeFiles"
  fi
  if [ ! -f "$notch_build/CMakeCache.txt" ]; then
    if command -v ninja >/dev/null; then options+=(-G Ninja); else options+=(-G "Unix Makefiles"); fi
    if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  fi
  cmake -S "$notch_root" -B "$notch_build" "${options[@]}" >"$notch_log" 2>&1
}

# Whether the last configuration looked for a package and did not find it: its line in the cache.
notch_lacks() { grep -qE "^$1:[A-Z]+=.*NOTFOUND" "$notch_build/CMakeCache.txt" 2>/dev/null; }

# notch_setup tests|program: ends with $notch_build configured and built.
notch_setup() {
  local want=$1 missing=() targets=(--target notch)
  if [ "$want" = tests ]; then targets=(); fi
  notch_tools
  notch_log=$(mktemp)
  trap 'rm -f "$notch_log"' EXIT
  local configured=yes
  notch_configure || configured=no
  if notch_lacks OPENBLAS_INCLUDE_DIR || notch_lacks OPENBLAS_LIBRARY; then missing+=(libopenblas-dev); fi
  # CMake stops at a missing OpenBLAS before it looks for Catch2.
  if [ "$want" = tests ] && { notch_lacks Catch2_DIR || [ ${#missing[@]} -gt 0 ]; }; then missing+=(catch2); fi
  if [ ${#missing[@]} -gt 0 ]; then
    notch_install "${missing[@]}"
    configured=yes
    notch_configure || configured=no
  fi
  if [ $configured = no ]; then
    cat "$notch_log" >&2
    notch_fail "CMake cannot configure the build" "the lines above say why; rm -r $notch_build starts anew"
  fi
  if [ "$want" = tests ] && notch_lacks Catch2_DIR; then
    notch_fail "Catch2 was not found" "sudo apt-get install catch2"
  fi
  cmake --build "$notch_build" --parallel "$notch_jobs" "${targets[@]}" >&2 ||
    notch_fail "the build failed" "the compiler's lines above say where"
}
