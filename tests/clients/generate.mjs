// What transformers' JavaScript generates, always the most likely token, beside what `notch sample --temperature 0` did:
//
//   node generate.mjs MODEL_DIR PROMPT TOKENS SAMPLED
//
// MODEL_DIR: a model's directory as it is, with onnx/model.onnx (of --onnx-cache) in it. Exit code 1 when they differ.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [directory, prompt, tokens, sampled] = process.argv.slice(2);
const entry = createRequire(process.cwd() + '/').resolve('@huggingface/transformers');
const { AutoModelForCausalLM, AutoTokenizer, env } = await import(pathToFileURL(entry).href);
env.allowRemoteModels = false;
env.localModelPath = process.cwd() + '/';
const tokenizer = await AutoTokenizer.from_pretrained(directory);
const model = await AutoModelForCausalLM.from_pretrained(directory, { dtype: 'fp32' });
const out = await model.generate({ ...tokenizer(prompt, { add_special_tokens: false }),
  max_new_tokens: Number(tokens), do_sample: false });
const theirs = tokenizer.decode(out.tolist()[0].map(Number));
const ours = readFileSync(sampled, 'utf8').replace(/\n$/, '');
console.log(`generated: ${JSON.stringify(theirs)}`);
if (theirs !== ours) console.log(`ours: ${JSON.stringify(ours)}`);
process.exit(theirs === ours ? 0 : 1);
