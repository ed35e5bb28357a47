#!/usr/bin/env bash
# From a fresh clone to the table:  experiments/run.sh [CONFIG] [key=value ...] [flags of notch run]
#
#   experiments/run.sh                                   experiments/quick.toml
#   experiments/run.sh experiments/shakespeare.toml      downloads its text if it is not there
#   experiments/run.sh experiments/quick.toml quant.bits=4 --resume
#
# Installs what is missing (apt), builds in build/, and calls `notch run`.
set -eu
case ${1:-} in
  -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
# shellcheck source=experiments/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

config=$notch_root/experiments/quick.toml
case ${1:-} in
  '' | -* | *=*) ;;
  *)
    config=$1
    shift
    # Named as seen from the repository.
    if [ ! -f "$config" ] && [ -f "$notch_root/$config" ]; then config=$notch_root/$config; fi
    ;;
esac

notch_setup program

# A text that is in no place yet but can be downloaded.
overrides=()
for argument in "$@"; do
  case $argument in -*) ;; *=*) overrides+=("$argument") ;; esac
done
text=$("$notch_build/notch" config "$config" -q "${overrides[@]}" 2>/dev/null | sed -n 's/^path = "\(..*\)"$/\1/p')
file=$(basename "${text:-none}")
if [ -n "$text" ] && [ ! -f "$text" ] && [ ! -f "${NOTCH_DATA:-/nonexistent}/$file" ]; then
  corpus=$(awk -v file="\"$file\"" '/^\[/ { name = substr($0, 2, length($0) - 2) }
    $1 == "file" && $3 == file { print name }' "$notch_root/data/corpora.toml")
  if [ -n "$corpus" ] && [ "$text" = "$notch_root/data/corpora/$file" ]; then
    "$notch_root/data/fetch.sh" "$corpus" >&2
  fi
fi

exec "$notch_build/notch" run "$config" "$@"
