#!/bin/sh
# Runs parts of experiments/sizes.toml by name, all without one; KEY=VALUE goes to each.
#
#   experiments/sizes.sh 0.1M-short 0.8M-short seeds=1337
#
# `notch report --sizes experiments/runs/sizes-0.1M-short experiments/runs/sizes-0.8M-short --out sizes`
# puts those that were run into one plot.
#
# NOTCH is the program (default: build/notch). --resume goes on with parts that were stopped.
set -eu
here=$(dirname "$0")
names=
overrides=
for word in "$@"; do
  case $word in
    *=* | --resume) overrides="$overrides $word" ;;
    *) names="$names $word" ;;
  esac
done
all="0.1M-short 0.1M-long 0.8M-short 0.8M-long 2.7M-short 2.7M-long 10M-short 10M-long"
for name in ${names:-$all}; do
  case $name in
    0.1M-short) size= ;;
    0.1M-long) size="train.steps=4000" ;;
    0.8M-short) size="model.n_layer=4 model.n_embd=128 train.steps=1500" ;;
    0.8M-long) size="model.n_layer=4 model.n_embd=128 train.steps=6000" ;;
    2.7M-short) size="model.n_layer=6 model.n_embd=192 train.steps=2000" ;;
    2.7M-long) size="model.n_layer=6 model.n_embd=192 train.steps=8000" ;;
    10M-short) size="model.n_layer=6 model.n_embd=384 model.n_head=6 train.steps=3000" ;;
    10M-long) size="model.n_layer=6 model.n_embd=384 model.n_head=6 train.steps=12000" ;;
    *)
      echo "sizes.sh: no part named $name; parts: $all" >&2
      exit 2
      ;;
  esac
  own=  # what no override replaces
  for word in name="sizes-$name" $size; do
    case " $overrides" in *" ${word%%=*}="*) ;; *) own="$own $word" ;; esac
  done
  # Unquoted: each is a list of words.
  "${NOTCH:-$here/../build/notch}" run "$here/sizes.toml" $own $overrides
done
