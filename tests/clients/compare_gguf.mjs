// Compares llama.cpp, through node-llama-cpp, with what `notch` makes of the same file:
//
//   node compare_gguf.mjs FILE.gguf TEXT TOKENS CTX CHUNKS PERPLEXITY TOLERANCE [DUMP.safetensors SHARE TOPS]
//
// TOKENS is what `notch tokenize` wrote of TEXT, PERPLEXITY what `notch eval --protocol llama` found on
// its first CHUNKS chunks of CTX tokens, DUMP what `notch eval --dump-logits` wrote. Prints both numbers, in how many
// of the dump's positions the most likely token is the same, and how far apart our logits of the two are where it is
// not. Exit code 1 when a token of the text differs, the perplexities do by more than TOLERANCE of one ("inf": however
// far), the most likely tokens are the same in less than SHARE, or others than near ties (0.1 nats) differ. The most
// likely tokens of the dump's positions are written to TOPS, one a line.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { readDump, top } from './dump.mjs';

const [file, textFile, tokensFile, ctx, chunks, ours, tolerance, dumpFile, share, topsFile] =
  process.argv.slice(2);
const entry = createRequire(process.cwd() + '/').resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ build: 'never', gpu: false, logLevel: 'error', maxThreads: 1 });
const model = await llama.loadModel({ modelPath: file });

const tokens = model.tokenize(readFileSync(textFile, 'utf8'), false);
const lines = readFileSync(tokensFile, 'utf8').trimEnd().split('\n');
const differing = lines.filter((line, i) => parseInt(line) !== tokens[i]).length;

const contextOf = (length) => model.createContext({
  contextSize: length, batchSize: length, threads: 1, flashAttention: false,
  experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32',
});
// Of tokens read from an empty cache: for each position where `wanted` the probabilities of the next token.
async function evaluate(context, part, wanted) {
  const sequence = context.getSequence();
  const out = await sequence.controlledEvaluate(part.map((token, i) =>
    wanted(i) ? [token, { generateNext: { probabilities: true } }] : token));
  await sequence.dispose();
  return out.map((each) => each?.next.probabilities);
}

const T = Number(ctx), first = Math.floor(T / 2);
let context = await contextOf(T);
let sum = 0, count = 0;
for (let chunk = 0; chunk < Number(chunks); chunk++) {
  const part = tokens.slice(chunk * T, (chunk + 1) * T);
  const scored = (i) => i >= first && i + 1 < T;
  const out = await evaluate(context, part, scored);
  for (let i = first; i + 1 < T; i++) {
    sum -= Math.log(out[i].get(part[i + 1]));
    count++;
  }
}
await context.dispose();
const theirs = Math.exp(sum / count);
const apart = Math.abs(theirs / Number(ours) - 1);
let same = 0, positions = 0, gap = 0;
const tops = [];
if (dumpFile) {
  const dump = readDump(dumpFile), N = dump.length, V = dump.vocabulary;
  context = await contextOf(N);
  for (let w = 0; w < dump.windows; w++) {
    // Not the last: before it says what follows, a context that is full makes room.
    const out = await evaluate(context, [...dump.tokens.slice(w * N, (w + 1) * N)], (i) => i + 1 < N);
    for (let i = 0; i + 1 < N; i++) {
      let best = 0, most = -1;
      for (const [token, p] of out[i]) if (p > most) [best, most] = [token, p];
      const at = (w * N + i) * V, ours = top(dump.logits, at, V);
      tops.push(best);
      same += best === ours;
      gap = Math.max(gap, dump.logits[at + ours] - dump.logits[at + best]);
      positions++;
    }
  }
}
if (topsFile) writeFileSync(topsFile, tops.map((token) => `${token}\n`).join(''));
const shares = dumpFile ? `, same top token in ${(100 * same / positions).toFixed(2)} % of ${positions}, ` +
  `others at most ${gap.toFixed(4)} nats apart` : '';
console.log(`${file}: ${tokens.length} tokens, ${differing} differ; ` +
  `perplexity ${theirs.toFixed(6)} and ${ours}, ${(100 * apart).toFixed(4)} % apart${shares}`);
const within = tolerance === 'inf' || apart <= Number(tolerance);
const sameTops = !dumpFile || (same >= Number(share) * positions && gap <= 0.1);
const right = lines.length === tokens.length && differing === 0 && within && sameTops;
process.exit(right ? 0 : 1);
