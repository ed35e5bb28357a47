// Compares llama.cpp, through node-llama-cpp, with what `notch` makes of the same file:
//
//   node compare_gguf.mjs FILE.gguf TEXT TOKENS CTX CHUNKS PERPLEXITY TOLERANCE
//
// TOKENS is what `notch tokenize` wrote of TEXT, PERPLEXITY what `notch eval --protocol llama` found on
// its first CHUNKS chunks of CTX tokens. Prints both numbers; exit code 1 when a token differs, or the
// perplexities by more than TOLERANCE of one ("inf": however far).
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [file, textFile, tokensFile, ctx, chunks, ours, tolerance] = process.argv.slice(2);
const entry = createRequire(process.cwd() + '/').resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ build: 'never', gpu: false, logLevel: 'error', maxThreads: 1 });
const model = await llama.loadModel({ modelPath: file });

const tokens = model.tokenize(readFileSync(textFile, 'utf8'), false);
const lines = readFileSync(tokensFile, 'utf8').trimEnd().split('\n');
const differing = lines.filter((line, i) => parseInt(line) !== tokens[i]).length;

const T = Number(ctx), first = Math.floor(T / 2);
const context = await model.createContext({
  contextSize: T, batchSize: T, threads: 1, flashAttention: false,
  experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32',
});
let sum = 0, count = 0;
for (let chunk = 0; chunk < Number(chunks); chunk++) {
  const part = tokens.slice(chunk * T, (chunk + 1) * T);
  const input = part.map((token, i) =>
    i >= first && i + 1 < T ? [token, { generateNext: { probabilities: true } }] : token);
  const sequence = context.getSequence();
  const out = await sequence.controlledEvaluate(input);
  for (let i = first; i + 1 < T; i++) {
    sum -= Math.log(out[i].next.probabilities.get(part[i + 1]));
    count++;
  }
  await sequence.dispose();
}
const theirs = Math.exp(sum / count);
const apart = Math.abs(theirs / Number(ours) - 1);
console.log(`${file}: ${tokens.length} tokens, ${differing} differ; ` +
  `perplexity ${theirs.toFixed(6)} and ${ours}, ${(100 * apart).toFixed(4)} % apart`);
const within = tolerance === 'inf' || apart <= Number(tolerance);
const right = lines.length === tokens.length && differing === 0 && within;
process.exit(right ? 0 : 1);
