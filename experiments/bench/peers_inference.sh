#!/usr/bin/env bash
# Prompts and decoding of Notch against llama.cpp, interleaved on this machine:
#
#   experiments/bench/peers_inference.sh                      shapes S and M, every type
#   experiments/bench/peers_inference.sh --shape M --type int4 --rounds 7
#   LLAMA_LIBS=~/llama.cpp/build/bin experiments/bench/peers_inference.sh
#
# S: 6 layers x 384 channels, 256 tokens; M: 12 x 768, GPT-2's 50257; random weights, the same for both. A prompt of 256
# tokens (logits of the last position), then one token per pass, batch 1. Each round runs Notch and then llama.cpp, each
# reporting its fastest pass; ratios are formed inside a round and the median over rounds is printed (above 1, Notch is
# faster). Keys and values: Notch FP32, llama.cpp its default, FP16.
# llama.cpp is taken from LLAMA_LIBS (a folder with libllama and libggml), or from the npm package node-llama-cpp, which
# is installed into a temporary folder and brings builds for every kind of processor; or NODE_LLAMA, a folder where it
# is already installed. peer_gguf.py writes its models, peer_llama.c calls it. Needs python3-numpy. Markdown on stdout.
set -eu
case ${1:-} in
  -h | --help)
    sed -n '2,15s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../setup.sh"

shapes=S,M rounds=5 threads=$notch_jobs types=fp32,int8,int6,int4
while [ $# -gt 0 ]; do
  case $1 in
    --shape) shapes=$2 ;;
    --rounds) rounds=$2 ;;
    --threads) threads=$2 ;;
    --type) types=$2 ;;
    *)
      echo "error: unknown argument: $1 (see --help)" >&2
      exit 2
      ;;
  esac
  shift 2
done
# Both would make OpenBLAS slower than the machine is.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

work=$(mktemp -d)
notch_setup program # sets its own EXIT trap
trap 'rm -rf "$work" "$notch_log"' EXIT
notch=$notch_build/notch

python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import numpy' 2>/dev/null || notch_install python3-numpy

libs=${LLAMA_LIBS:-}
if [ -z "$libs" ]; then
  node=${NODE_LLAMA:-$work/node}
  if [ ! -d "$node/node_modules/node-llama-cpp" ]; then
    mkdir -p "$node"
    npm install --prefix "$node" node-llama-cpp --ignore-scripts >&2 || notch_fail "npm could not install node-llama-cpp" \
      "build llama.cpp and set LLAMA_LIBS to the folder of libllama"
  fi
  system=linux-x64
  [ "$(uname -m)" = aarch64 ] && system=linux-arm64
  libs=$node/node_modules/@node-llama-cpp/$system/bins/$system
fi
libs=$(cd "$libs" && pwd)
found=()
for name in llama ggml; do
  for file in "$libs/lib$name.so" "$libs/lib$name".*.so "$libs/lib$name".so.*; do
    [ -e "$file" ] && found+=("$file") && break
  done
done
[ ${#found[@]} -eq 2 ] || notch_fail "no libllama and libggml in $libs"
cc -O2 "$here/peer_llama.c" "${found[@]}" -Wl,-rpath,"$libs" -o "$work/llama"
export GGML_BACKENDS=$libs

# Each prints "<prompt tokens/s> <decode tokens/s>" of one round.
run_notch() {
  "$notch" bench "$1" -q --batch 1 --prompt 256 --rounds 1 --threads "$threads" -o csv |
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i } NR > 1 { print $at["tokens_per_s"] }' | paste -sd ' '
}
run_llama() { "$work/llama" "$1" "$threads" 256 16 2; }

# row NAME MODEL_DIR GGUF: one line per phase.
row() {
  local log=$work/rounds phase
  for ((round = 0; round < rounds; ++round)); do
    echo "$(run_notch "$2") $(run_llama "$3")"
  done >"$log"
  for phase in 1 2; do
    awk -v shape="$shape" -v name="$1" -v peer="$(basename "$3" .gguf)" -v phase=$phase '
      function median(v, n,   i, j, x) {
        for (i = 2; i <= n; ++i) for (j = i; j > 1 && v[j] < v[j - 1]; --j) { x = v[j]; v[j] = v[j - 1]; v[j - 1] = x }
        return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
      }
      { a[NR] = $phase; b[NR] = $(phase + 2); ratio[NR] = a[NR] / b[NR] }
      END {
        printf "| %s | %s | %s | %s | %.0f | %.0f | %.2f | %d |\n", shape, phase == 1 ? "prompt 256" : "decode", name, peer,
          median(a, NR), median(b, NR), median(ratio, NR), NR
      }' "$log"
  done
}
quantized() { # quantized NAME FLAGS...: the model in fewer bits
  local name=$1
  shift
  "$notch" quantize "$work/$shape" -q --method rtn --out "$work/$shape-$name" "$@" >/dev/null
}
gguf() { "$python" -B "$here/peer_gguf.py" "$work/$shape" "$work/$1.gguf" "$1"; }
wants() { case ,$types, in *,$1,*) true ;; *) false ;; esac }

echo "| shape | phase | Notch | llama.cpp | tokens/s | llama.cpp tokens/s | Notch / llama.cpp | rounds |"
echo "|---|---|---|---|---|---|---|---|"
for shape in ${shapes//,/ }; do
  case $shape in
    S) "$python" -B "$here/random_gpt2.py" "$work/S" 6 6 384 512 256 ;;
    M) "$python" -B "$here/random_gpt2.py" "$work/M" 12 12 768 512 50257 ;;
    *) notch_fail "there is no shape $shape" "S or M" ;;
  esac
  if wants fp32; then
    gguf f32
    row fp32 "$work/$shape" "$work/f32.gguf"
  fi
  if wants int8; then
    gguf q8_0
    quantized w8a8 --bits 8 -a 8
    quantized w8 --bits 8
    row 'int8, int8 activations' "$work/$shape-w8a8" "$work/q8_0.gguf"
    row 'int8, fp32 activations' "$work/$shape-w8" "$work/q8_0.gguf"
  fi
  if wants int6 && [ "$shape" = M ]; then # its blocks have 256 weights: rows of 384 do not divide
    gguf q6_k
    quantized w6a8 --bits 6 -a 8 --embedding same
    row 'int6, int8 activations' "$work/$shape-w6a8" "$work/q6_k.gguf"
  fi
  if wants int4; then
    gguf q4_0
    quantized w4a8 --bits 4 -g 32 --scale f16 -a 8 --embedding same
    quantized w4 --bits 4 -g 32 --scale f16 --embedding same
    row 'int4 in groups of 32, int8 activations' "$work/$shape-w4a8" "$work/q4_0.gguf"
    row 'int4 in groups of 32, fp32 activations' "$work/$shape-w4" "$work/q4_0.gguf"
  fi
  rm -rf "${work:?}/$shape"* "$work"/*.gguf
done
