# shellcheck shell=bash
# A part of run.sh: logits of onnxruntime-node, and of onnxruntime-web in headless Chromium ($CHROMIUM names one), on
# `notch export --onnx`, beside ours: GPT-2 and Llama, floats and codes, whole windows and token by token from a cache.
# @huggingface/transformers generates from our directory with such a graph what `notch sample` does.

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  [ -n "$chromium" ] || chromium=$(command -v "$name" || true)
done

# graph NAME MODEL_DIR SHARE: its graph in ONNX Runtime, without and with a cache.
graph() {
  "$notch" eval "$2" --text some-lines.txt --windows 4 --dump-logits "$work/$1.safetensors" -q >/dev/null
  "$notch" export "$2" --onnx "$1.onnx" -q
  "$notch" export "$2" --onnx "$1-cache.onnx" --onnx-cache -q
  for client in $clients; do
    local in=${client%%=*} tolerance=1e-4
    # Of rounded inputs one gets another code at an early position in WebAssembly, and all later ones see it.
    case $in/$3 in onnxruntime-web/0*) tolerance=5e-3 ;; esac
    check "$1: $in" node "$here/onnx.mjs" "$client" "$1.onnx" "$1.safetensors" "$tolerance" "$3"
    check "$1 with a cache: $in" node "$here/onnx.mjs" "$client" "$1-cache.onnx" "$1.safetensors" "$tolerance" "$3" cache
  done
}

# generated SHAPE: transformers' greedy tokens from a directory with its graph, beside ours.
generated() {
  "$notch" sample "$1-run/models/fp32-seed1337" -p 'We ' -n 40 --temperature 0 -q >sampled.txt
  cp -r "$1-run/models/fp32-seed1337" "$1-js"
  mkdir "$1-js/onnx"
  cp "$1-fp32-cache.onnx" "$1-js/onnx/model.onnx"
  node "$here/generate.mjs" "$1-js" 'We ' 40 sampled.txt
}

part_graphs() {
  clients=
  if install onnxruntime-node; then clients=onnxruntime-node; fi
  if [ -z "$chromium" ]; then
    skip "onnxruntime-web" "needs Chromium or Chrome"
  elif install onnxruntime-web; then
    clients="$clients onnxruntime-web=$chromium"
  fi
  [ -n "$clients" ] || return 0
  small="data.kind=text train.steps=200 train.warmup=10 train.eval_windows=1 train.batch_size=4
    model.n_layer=2 model.n_head=4 model.n_embd=64 model.block_size=64"
  # shellcheck disable=SC2086
  "$notch" train some-lines.txt -q --out gpt-run $small data.tokenizer=byte >/dev/null
  # shellcheck disable=SC2086
  "$notch" train some-lines.txt -q --out llama-run $small data.tokenizer=byte model.architecture=llama \
    model.bias=false model.n_kv_head=2 model.tie_embeddings=false >/dev/null
  for shape in gpt llama; do
    model=$shape-run/models/fp32-seed1337
    graph "$shape-fp32" "$model" 1
    quantized() {
      local name=$shape-$1 share=$2
      shift 2
      "$notch" quantize "$model" --method rtn --out "$name-dir" --text some-lines.txt -q "$@" >/dev/null
      graph "$name" "$name-dir" "$share"
    }
    quantized int4-groups 1 --bits 4 --group 32
    quantized int4-zeros 1 --bits 4 --group 16 --grid asymmetric --embedding same
    quantized int8-groups 1 --bits 8 --group 64
    quantized int8-rows 1 --bits 8
    # An input that is half-way between two codes but for the last bit of a float may get the other.
    quantized int8-inputs 0.97 --bits 8 --activations 8 --activation-range static
    if install @huggingface/transformers; then
      check "$shape: @huggingface/transformers generates" generated "$shape"
    fi
  done
}
