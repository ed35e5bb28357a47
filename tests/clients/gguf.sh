# shellcheck shell=bash
# A part of run.sh: node-llama-cpp loads a GPT-2 and a Llama of every type, finds the same tokens (of vocabularies of
# bytes and characters too), the same perplexity within 0.02 % (F32) and 0.1 %, and the same most likely token but for
# near ties (it rounds activations to 8 bits); @huggingface/gguf reads each file. Where PyTorch rounds the inputs of our
# floats as llama.cpp does, the most likely token is llama.cpp's in 99.9 %. Blocks are those of llama.cpp's quantizer,
# and what it alone writes (K types of floats) is read; with `notch imatrix`'s file it writes what we do.

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
