# shellcheck shell=bash
# A part of run.sh: models trained on q4_0 and q2_k are scored by llama.cpp beside its own Q4_0 and Q2_K of the control:
# of the loss that these add QAT takes back 60 and 80 % or more (NOTCH_DATA has tinyshakespeare.txt). With gguf.sh's
# llama_quantizer and ftype.

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
