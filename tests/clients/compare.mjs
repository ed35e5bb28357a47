// Compares the tokens that `notch tokenize` wrote with those of a client's tokenizer:
//
//   node compare.mjs CLIENT TOKENIZER_DIR TEXT TOKENS
//
// CLIENT: gpt-3-encoder, tokenizers, @huggingface/tokenizers or @huggingface/transformers.
//
// Prints the number of tokens and of those that differ; exit code 1 when any does.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [client, directory, textFile, tokensFile] = process.argv.slice(2);
const require = createRequire(process.cwd() + '/');
const text = readFileSync(textFile, 'utf8');

// Pieces for clients that take a long time for a long text. Between two letters that a space parts,
// every pattern cuts before the space.
const pieces = function* () {
  let begin = 0;
  for (const { index } of text.matchAll(/(?<=\p{L}) (?=\p{L})/gu)) {
    if (index - begin < 4096) continue;
    yield text.slice(begin, index);
    begin = index;
  }
  yield text.slice(begin);
};

const theirs = [];
const take = (ids) => { for (const id of ids) theirs.push(id); };
if (client === 'gpt-3-encoder') {
  const { encode } = require('gpt-3-encoder');
  for (const piece of pieces()) take(encode(piece));
} else if (client === 'tokenizers') {
  const { Tokenizer } = require('tokenizers');
  const tokenizer = Tokenizer.fromFile(directory + '/tokenizer.json');
  const encoding = await tokenizer.encode(text, null, { addSpecialTokens: false });
  take(encoding.getIds());
} else if (client === '@huggingface/transformers') {
  const { AutoTokenizer, env } = await import(pathToFileURL(require.resolve(client)).href);
  env.allowRemoteModels = false;
  env.localModelPath = process.cwd() + '/';
  const tokenizer = await AutoTokenizer.from_pretrained(directory);
  for (const piece of pieces()) take(tokenizer.encode(piece, { add_special_tokens: false }));
} else {
  const { Tokenizer } = require('@huggingface/tokenizers');
  const file = JSON.parse(readFileSync(directory + '/tokenizer.json', 'utf8'));
  const tokenizer = new Tokenizer(file, {});
  for (const piece of pieces()) take(tokenizer.encode(piece, { add_special_tokens: false }).ids);
}

const ours = readFileSync(tokensFile, 'latin1').split('\n').slice(0, -1).map((line) => parseInt(line, 10));
let differ = Math.abs(ours.length - theirs.length);
for (let i = 0; i < Math.min(ours.length, theirs.length); ++i) differ += ours[i] !== theirs[i];
console.log(`${client}: ${theirs.length} tokens, ${differ} differ`);
process.exit(differ === 0 ? 0 : 1);
