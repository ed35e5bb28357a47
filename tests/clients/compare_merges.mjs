// Compares learned merges with those of the trainer of Hugging Face's tokenizers:
//
//   node compare_merges.mjs TEXT merges.txt
//
// Its trainer reads a file line by line: TEXT has no line that is empty or begins with white space.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const [text, mergesFile] = process.argv.slice(2);
const require = createRequire(process.cwd() + '/');
const { BPE, Tokenizer, byteLevelPreTokenizer } = require('tokenizers');
const tokenizer = new Tokenizer(BPE.empty());
tokenizer.setPreTokenizer(byteLevelPreTokenizer(false, true));
tokenizer.train([text]);
tokenizer.save('trained.json', false);
const theirs = JSON.parse(readFileSync('trained.json', 'utf8')).model.merges
  .map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge));
const ours = readFileSync(mergesFile, 'utf8').split('\n').slice(1, -1);
const differ = ours.filter((merge, i) => merge !== theirs[i]).length;
console.log(`tokenizers: ${ours.length} merges, ${differ} differ`);
process.exit(differ === 0 ? 0 : 1);
