#!/usr/bin/env bash
# Training steps and GPTQ of Notch against what else a user could take, interleaved on this machine:
#
#   experiments/bench/peers.sh                         shapes N, T and S, fp32, against PyTorch
#   experiments/bench/peers.sh --shape S,M --rounds 7
#   experiments/bench/peers.sh --recipe qat-ste --peer w4a8-token quant.bits=4 activations.bits=8
#   experiments/bench/peers.sh train.matmul=bf16       PyTorch in its bf16 mode
#   LLMC_DIR=~/llm.c experiments/bench/peers.sh        also against llm.c, from its train_gpt2.c
#   experiments/bench/peers.sh gptq                    GPTQ of single layers instead, as notch does it by default
#   experiments/bench/peers.sh gptq quant.granularity=group quant.group_size=128 gptq.act_order=false gptq.clip=absmax
#                                                      … and as the peer does it, the algorithm as published
#
# Each round runs `notch bench train` and then every peer, each for about half a second per shape; ratios are formed
# inside a round and the median over rounds is printed (tokens/s of Notch over the peer's: above 1, Notch is faster).
# PyTorch is the distribution's (python3-torch, installed with apt if it is missing and that can be done), called by
# peer_torch.py, which says how it is tuned. --recipe and --peer name what is trained on either side, fp32 by default.
# Other arguments of the form key=value go to `notch bench`. Markdown on stdout.
#
# GPTQ: seconds, the least of two runs, of the second moments of 32,768 random inputs, the factorization and the
# rounding of one matrix; the ratio is Notch's time over the peer's (below 1, Notch is faster). The peer, by PyTorch, is
# Frantar et al.'s algorithm in blocks of 128 columns with a scale each: second moments by whole products, the inverse's
# Cholesky factor, columns one after another, no search of ranges and no measured errors.
set -eu
case ${1:-} in
  -h | --help)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../setup.sh"

mode=train
if [ "${1:-}" = gptq ]; then mode=gptq && shift; fi
shapes=N,T,S rounds=5 threads=$notch_jobs recipe=fp32 peer=fp32 matmul=fp32 overrides=()
while [ $# -gt 0 ]; do
  case $1 in
    --shape) shapes=$2 && shift ;;
    --rounds) rounds=$2 && shift ;;
    --threads) threads=$2 && shift ;;
    --recipe) recipe=$2 && shift ;;
    --peer) peer=$2 && shift ;;
    *=*)
      overrides+=("$1")
      if [ "$1" = train.matmul=bf16 ]; then matmul=bf16; fi
      ;;
    *)
      echo "error: unknown argument: $1 (see --help)" >&2
      exit 2
      ;;
  esac
  shift
done
# Both would make OpenBLAS slower than the machine is, for either side.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

work=$(mktemp -d)
median='
  function median(v, n,   i, j, x) {
    for (i = 2; i <= n; ++i) for (j = i; j > 1 && v[j] < v[j - 1]; --j) { x = v[j]; v[j] = v[j - 1]; v[j - 1] = x }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }'
notch_setup program # sets its own EXIT trap
trap 'rm -rf "$work" "$notch_log"' EXIT

python=${PYTHON:-/usr/bin/python3}
if ! "$python" -c 'import torch' 2>/dev/null; then
  # In a subshell: without PyTorch the other peers can still be compared.
  (notch_install python3-torch) || echo "without PyTorch" >&2
fi
peers=()
if "$python" -c 'import torch' 2>/dev/null; then peers+=(torch); fi

# GPTQ: a layer of a shape of `notch bench`, and its rows and columns.
layers=("S mlp.c_proj 384 1536" "M attn.c_proj 768 768" "M mlp.c_proj 768 3072" "M mlp.c_fc 3072 768")
gptq_notch() { # SHAPE LAYER: seconds
  "$notch_build/notch" bench gptq -q --shape "$1" --layer "$2" -r 2 --threads "$threads" -o csv "${overrides[@]}" |
    awk -F, 'NR == 2 { print $NF }'
}
gptq_torch() { # ROWS COLUMNS: seconds
  "$python" -B "$here/peer_torch.py" --gptq "$1x$2" -r 2 --threads "$threads" |
    awk -F, 'NR == 2 { print $3 + $4 + $5 }'
}
if [ $mode = gptq ]; then
  [ ${#peers[@]} -gt 0 ] || notch_fail "there is no peer to compare with" "apt-get install python3-torch"
  echo "| layer | Notch s | PyTorch s | Notch / PyTorch | rounds |"
  echo "|---|---|---|---|---|"
  for layer in "${layers[@]}"; do
    read -r shape name rows columns <<<"$layer"
    for ((round = 0; round < rounds; ++round)); do
      echo "$(gptq_notch "$shape" "$name") $(gptq_torch "$rows" "$columns")" >>"$work/$shape.$name"
    done
    awk -v layer="$rows × $columns" "$median"'
      { a[NR] = $1; b[NR] = $2; ratio[NR] = $1 / $2 }
      END { printf "| %s | %.3f | %.3f | %.2f | %d |\n", layer, median(a, NR), median(b, NR), median(ratio, NR), NR }
    ' "$work/$shape.$name"
  done
  exit
fi

# llm.c has one program with GPT-2's sizes; this calls its functions on random weights of any shape.
if [ -n "${LLMC_DIR:-}" ]; then
  [ -f "$LLMC_DIR/train_gpt2.c" ] || notch_fail "no train_gpt2.c in LLMC_DIR=$LLMC_DIR"
  cat >"$work/llmc.c" <<'C'
#define TESTING
#include "train_gpt2.c"
// llmc L NH C T B V STEPS: milliseconds of the fastest step.
int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const int L = atoi(argv[1]), NH = atoi(argv[2]), C = atoi(argv[3]), T = atoi(argv[4]), B = atoi(argv[5]);
  const int V = atoi(argv[6]), padded = (V + 127) / 128 * 128, steps = atoi(argv[7]);
  GPT2 model;
  memset(&model, 0, sizeof model);
  model.config.max_seq_len = T, model.config.vocab_size = V, model.config.padded_vocab_size = padded;
  model.config.num_layers = L, model.config.num_heads = NH, model.config.channels = C;
  fill_in_parameter_sizes(model.param_sizes, model.config);
  for (int i = 0; i < NUM_PARAMETER_TENSORS; ++i) model.num_parameters += model.param_sizes[i];
  model.params_memory = malloc_and_point_parameters(&model.params, model.param_sizes);
  for (size_t i = 0; i < model.num_parameters; ++i) model.params_memory[i] = 0.04f * ((float)rand() / RAND_MAX - 0.5f);
  model.mean_loss = -1;
  int* tokens = malloc((size_t)(B * T + 1) * sizeof(int));
  for (int i = 0; i <= B * T; ++i) tokens[i] = rand() % V;
  double best = 1e30;
  for (int step = 0; step <= steps; ++step) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    gpt2_forward(&model, tokens, tokens + 1, B, T);
    gpt2_zero_grad(&model);
    gpt2_backward(&model);
    gpt2_update(&model, 3e-4f, 0.9f, 0.99f, 1e-8f, 0.1f, step + 1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ms = 1e3 * (double)(end.tv_sec - start.tv_sec) + 1e-6 * (double)(end.tv_nsec - start.tv_nsec);
    if (step > 0 && ms < best) best = ms;
  }
  printf("%.3f\n", best);
  return 0;
}
C
  # The flags of its Makefile.
  cc -Ofast -march=native -fopenmp -DOMP -w -I"$LLMC_DIR" "$work/llmc.c" -lm -o "$work/llmc" >&2
  peers+=(llmc)
fi
[ ${#peers[@]} -gt 0 ] || notch_fail "there is no peer to compare with" \
  "apt-get install python3-torch, or LLMC_DIR=<a checkout of llm.c>"

# Each prints "<tokens per second> <milliseconds>" of one round.
run_notch() {
  "$notch_build/notch" bench train -q --shape "$1" --recipe "$recipe" -r 1 --threads "$threads" -o csv "${overrides[@]}" |
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i } NR == 2 { print $at["tokens_per_s"], $at["ms"] }'
}
run_torch() {
  "$python" -B "$here/peer_torch.py" --shape "$1" --recipe "$peer" --matmul "$matmul" -r 1 --threads "$threads" |
    awk -F, 'NR == 2 { print $5, $6 }'
}
run_llmc() {
  local sizes steps=1
  case $1 in
    N) sizes=(4 4 128 64 12 65) steps=5 ;;
    T) sizes=(4 4 128 128 16 256) steps=2 ;;
    S) sizes=(6 6 384 256 8 256) ;;
    M) sizes=(12 12 768 256 4 50257) ;;
  esac
  OMP_NUM_THREADS=$threads "$work/llmc" "${sizes[@]}" $steps | tail -n 1 |
    awk -v tokens=$((sizes[3] * sizes[4])) '{ print 1e3 * tokens / $1, $1 }'
}

"$notch_build/notch" bench train --shape N -r 1 --steps 1 --threads "$threads" -o csv 2>&1 >/dev/null | head -n 1 >&2
echo "| shape | Notch $recipe tokens/s | ms | peer | tokens/s | ms | Notch / peer | rounds |"
echo "|---|---|---|---|---|---|---|---|"
for shape in ${shapes//,/ }; do
  for ((round = 0; round < rounds; ++round)); do
    for who in notch "${peers[@]}"; do
      "run_$who" "$shape" >>"$work/$shape.$who"
    done
  done
  for who in "${peers[@]}"; do
    name=$who
    if [ "$who" = torch ]; then name="PyTorch $peer"; else name=llm.c; fi
    paste -d ' ' "$work/$shape.notch" "$work/$shape.$who" | awk -v shape="$shape" -v name="$name" "$median"'
      { a[NR] = $1; b[NR] = $2; c[NR] = $3; d[NR] = $4; ratio[NR] = $1 / $3 }
      END {
        printf "| %s | %.0f | %.1f | %s | %.0f | %.1f | %.2f | %d |\n", shape, median(a, NR), median(b, NR), name,
          median(c, NR), median(d, NR), median(ratio, NR), NR
      }'
  done
done
