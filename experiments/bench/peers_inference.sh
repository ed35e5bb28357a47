#!/usr/bin/env bash
# Prompts and decoding of Notch against other engines, interleaved on this machine:
#
#   experiments/bench/peers_inference.sh                      shapes S and M, every type, every peer
#   experiments/bench/peers_inference.sh --shape M --type int4 --peers llama,ort --rounds 7
#   LLAMA_LIBS=~/llama.cpp/build/bin IK_LLAMA=~/ik_llama.cpp/build/bin experiments/bench/peers_inference.sh
#
# S: 6 layers x 384 channels, 256 tokens; M: 12 x 768, GPT-2's 50257; random weights, the same for all. A prompt of 256
# tokens (logits of the last position), then one token per pass, batch 1. Each round runs Notch and then its peers, each
# reporting its fastest pass (ik's decoding: the fastest four in a row); ratios are formed inside a round and the median
# over rounds is printed (above 1, Notch is faster). Keys and values: Notch and ONNX Runtime FP32, the others FP16.
#   llama  llama.cpp, from LLAMA_LIBS (a folder with libllama and libggml) or the npm package node-llama-cpp, which brings
#          builds for every kind of processor; NODE_LLAMA, a folder where that is installed
#   ik     ik_llama.cpp's llama-bench with its types repacked for rows of this CPU (-rtr 1), from IK_LLAMA (the folder of
#          llama-bench), or cloned and built with the AVX-512 flags that this CPU has: some twenty minutes
#   ort    onnxruntime-node's MatMulNBits: accuracy level 4 beside int8 activations, 1 beside fp32 ones; NODE_ORT, a
#          folder where it is installed
# A peer that cannot be had is named on stderr and left out. peer_gguf.py writes the peers' models, peer_llama.c and
# peer_onnx.mjs call them. Needs python3-numpy; node for llama (by npm) and ort. Markdown on stdout.
set -eu
case ${1:-} in
  -h | --help)
    sed -n '2,22s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../setup.sh"

shapes=S,M rounds=5 threads=$notch_jobs types=fp32,int8,int6,int4,int2 peers=llama,ik,ort
while [ $# -gt 0 ]; do
  case $1 in
    --shape) shapes=$2 ;;
    --rounds) rounds=$2 ;;
    --threads) threads=$2 ;;
    --type) types=$2 ;;
    --peers) peers=$2 ;;
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

has() { case ,$2, in *,$1,*) true ;; *) false ;; esac }
absent() { # absent PEER WHY: leaves it out
  echo "without $1: $2" >&2
  peers=$(tr , '\n' <<<"$peers" | grep -vx "$1" | paste -sd ,)
}

# npm_folder PACKAGE GIVEN: a folder that has the package; prints nothing where it cannot be had.
npm_folder() {
  local folder=${2:-$work/node}
  if [ ! -d "$folder/node_modules/$1" ]; then
    command -v npm >/dev/null || return 0
    mkdir -p "$folder"
    npm install --prefix "$folder" "$1" --ignore-scripts >&2 || return 0
  fi
  (cd "$folder" && pwd)
}

find_llama() {
  local libs=${LLAMA_LIBS:-} node name file found=()
  if [ -z "$libs" ]; then
    node=$(npm_folder node-llama-cpp "${NODE_LLAMA:-}")
    [ -n "$node" ] || { absent llama "npm could not install node-llama-cpp; or build it and set LLAMA_LIBS"; return; }
    local system=linux-x64
    [ "$(uname -m)" = aarch64 ] && system=linux-arm64
    libs=$node/node_modules/@node-llama-cpp/$system/bins/$system
  fi
  for name in llama ggml; do
    for file in "$libs/lib$name.so" "$libs/lib$name".*.so "$libs/lib$name".so.*; do
      [ -e "$file" ] && found+=("$file") && break
    done
  done
  [ ${#found[@]} -eq 2 ] || { absent llama "no libllama and libggml in $libs"; return; }
  libs=$(cd "$libs" && pwd)
  cc -O2 "$here/peer_llama.c" "${found[@]}" -Wl,-rpath,"$libs" -o "$work/llama"
  llama_libs=$libs
}

find_ik() {
  ik=${IK_LLAMA:-}
  if [ -z "$ik" ]; then
    local flag flags=()
    for flag in AVX512:avx512f AVX512_VBMI:avx512_vbmi AVX512_VNNI:avx512_vnni AVX512_BF16:avx512_bf16; do
      grep -qw "${flag#*:}" /proc/cpuinfo && flags+=("-DGGML_${flag%:*}=ON")
    done
    ik=$work/ik/build/bin
    { git clone -q --depth 1 https://github.com/ikawrakow/ik_llama.cpp "$work/ik" &&
      cmake -S "$work/ik" -B "$work/ik/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON "${flags[@]}" &&
      cmake --build "$work/ik/build" -j "$notch_jobs" --target llama-bench; } >&2 || true
  fi
  [ -x "$ik/llama-bench" ] || absent ik "no llama-bench in $ik; build ik_llama.cpp and set IK_LLAMA to that folder"
}

find_ort() {
  command -v node >/dev/null || { absent ort "needs node"; return; }
  NODE_ORT=$(npm_folder onnxruntime-node "${NODE_ORT:-}")
  export NODE_ORT
  [ -n "$NODE_ORT" ] || absent ort "npm could not install onnxruntime-node"
}
for peer in ${peers//,/ }; do
  case $peer in
    llama | ik | ort) "find_$peer" ;;
    *) notch_fail "there is no peer $peer" "llama, ik or ort" ;;
  esac
done
[ -n "$peers" ] || notch_fail "there is nothing to compare with"

# Each prints "<prompt tokens/s> <decode tokens/s>" of one round.
run_notch() {
  "$notch" bench "$1" -q --batch 1 --prompt 256 --rounds 3 --threads "$threads" -o csv |
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i } NR > 1 { print $at["tokens_per_s"] }' | paste -sd ' '
}
run_llama() { GGML_BACKENDS=$llama_libs "$work/llama" "$1" "$threads" 256 16 2; }
run_ik() { # prompts, and four tokens after each of as many others
  "$ik/llama-bench" -m "$1" -t "$threads" -p 256 -n 0 -gp 256,4 -rtr 1 -r 4 -o json 2>/dev/null |
    "$python" -c 'import json, sys
rows = json.loads("".join(line for line in sys.stdin if not line.startswith("WARNING")))  # some of ggml in between
print(*[max(next(r["samples_ts"] for r in rows if (r["n_gen"] > 0) == decode)) for decode in (False, True)])'
}
run_ort() { node "$here/peer_onnx.mjs" "${1%:*}" "${1#*:}" "$threads" 256 16 2; }

# row NAME MODEL_DIR PEER:TYPE:ARGUMENT...: a line per peer and phase.
row() {
  local name=$1 model=$2 log=$work/rounds line one n phase
  shift 2
  local chosen=()
  for one in "$@"; do
    has "${one%%:*}" "$peers" && chosen+=("$one")
  done
  [ ${#chosen[@]} -gt 0 ] || return 0
  for ((round = 0; round < rounds; ++round)); do
    line=$(run_notch "$model")
    for one in "${chosen[@]}"; do
      line="$line $("run_${one%%:*}" "${one#*:*:}")"
    done
    echo "$line"
  done >"$log"
  for phase in 1 2; do
    for n in "${!chosen[@]}"; do
      one=${chosen[$n]#*:}
      awk -v shape="$shape" -v name="$name" -v peer="${one%%:*}" -v phase=$phase -v n="$n" '
        function median(v, n,   i, j, x) {
          for (i = 2; i <= n; ++i) for (j = i; j > 1 && v[j] < v[j - 1]; --j) { x = v[j]; v[j] = v[j - 1]; v[j - 1] = x }
          return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        }
        { a[NR] = $phase; b[NR] = $(phase + 2 * (n + 1)); ratio[NR] = a[NR] / b[NR] }
        END {
          printf "| %s | %s | %s | %s | %.0f | %.0f | %.2f | %d |\n", shape, phase == 1 ? "prompt 256" : "decode", name,
            peer, median(a, NR), median(b, NR), median(ratio, NR), NR
        }' "$log"
    done
  done
}
quantized() { # quantized NAME FLAGS...: the model in fewer bits
  local name=$1
  shift
  "$notch" quantize "$work/$shape" -q --method rtn --out "$work/$shape-$name" "$@" >/dev/null
}
gguf() { "$python" -B "$here/peer_gguf.py" "$work/$shape" "$work/$1.gguf" "$1"; }
onnx() { # onnx NAME MODEL_DIR
  if has ort "$peers"; then "$notch" export "$2" --onnx "$work/$1.onnx" --onnx-cache -q; fi
}
wants() { has "$1" "$types"; }

echo "| shape | phase | Notch | peer | tokens/s | peer's tokens/s | Notch / peer | rounds |"
echo "|---|---|---|---|---|---|---|---|"
for shape in ${shapes//,/ }; do
  case $shape in
    S) "$python" -B "$here/random_gpt2.py" "$work/S" 6 6 384 512 256 ;;
    M) "$python" -B "$here/random_gpt2.py" "$work/M" 12 12 768 512 50257 ;;
    *) notch_fail "there is no shape $shape" "S or M" ;;
  esac
  if wants fp32; then
    gguf f32
    onnx fp32 "$work/$shape"
    row fp32 "$work/$shape" "llama:llama.cpp f32:$work/f32.gguf" "ik:ik_llama.cpp f32:$work/f32.gguf" \
      "ort:ONNX Runtime fp32:$work/fp32.onnx:0"
  fi
  if wants int8; then
    gguf q8_0
    quantized w8a8 --bits 8 -a 8
    quantized w8 --bits 8
    onnx w8 "$work/$shape-w8"
    row 'int8, int8 activations' "$work/$shape-w8a8" "llama:llama.cpp q8_0:$work/q8_0.gguf" \
      "ik:ik_llama.cpp q8_0 repacked:$work/q8_0.gguf" "ort:ONNX Runtime 8 bits, level 4:$work/w8.onnx:4"
    row 'int8, fp32 activations' "$work/$shape-w8" "llama:llama.cpp q8_0:$work/q8_0.gguf" \
      "ik:ik_llama.cpp q8_0 repacked:$work/q8_0.gguf" "ort:ONNX Runtime 8 bits, level 1:$work/w8.onnx:1"
  fi
  if wants int6 && [ "$shape" = M ]; then # its blocks have 256 weights: rows of 384 do not divide
    gguf q6_k
    quantized w6a8 --bits 6 -a 8 --embedding same
    row 'int6, int8 activations' "$work/$shape-w6a8" "llama:llama.cpp q6_k:$work/q6_k.gguf" \
      "ik:ik_llama.cpp q6_k repacked:$work/q6_k.gguf"
  fi
  if wants int4; then
    gguf q4_0
    quantized w4a8 --bits 4 -g 32 --scale f16 -a 8 --embedding same
    quantized w4 --bits 4 -g 32 --scale f16 --embedding same
    onnx w4 "$work/$shape-w4"
    row 'int4 in groups of 32, int8 activations' "$work/$shape-w4a8" "llama:llama.cpp q4_0:$work/q4_0.gguf" \
      "ik:ik_llama.cpp q4_0 repacked:$work/q4_0.gguf" "ort:ONNX Runtime 4 bits, level 4:$work/w4.onnx:4"
    row 'int4 in groups of 32, fp32 activations' "$work/$shape-w4" "llama:llama.cpp q4_0:$work/q4_0.gguf" \
      "ik:ik_llama.cpp q4_0 repacked:$work/q4_0.gguf" "ort:ONNX Runtime 4 bits, level 1:$work/w4.onnx:1"
  fi
  if wants int2 && [ "$shape" = M ]; then
    gguf q2_k
    quantized w2a8 --bits 2 -g 32 --scale f16 -a 8 --embedding same
    quantized w2 --bits 2 -g 32 --scale f16 --embedding same
    row 'int2 in groups of 32, int8 activations' "$work/$shape-w2a8" "llama:llama.cpp q2_k:$work/q2_k.gguf" \
      "ik:ik_llama.cpp q2_k repacked:$work/q2_k.gguf"
    row 'int2 in groups of 32, fp32 activations' "$work/$shape-w2" "llama:llama.cpp q2_k:$work/q2_k.gguf" \
      "ik:ik_llama.cpp q2_k repacked:$work/q2_k.gguf"
  fi
  rm -rf "${work:?}/$shape"* "$work"/*.gguf "$work"/*.onnx
done
