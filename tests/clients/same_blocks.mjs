// Compares the matrices of two GGUF files byte for byte:  node same_blocks.mjs A.gguf B.gguf TYPE
//
// Those that have this type in both. Exit code 1 when one differs, or when there is none.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [a, b, type] = process.argv.slice(2);
const entry = createRequire(process.cwd() + '/').resolve('@huggingface/gguf');
const { gguf, GGMLQuantizationType } = await import(pathToFileURL(entry).href);

// {name: bytes}: up to where the next tensor begins, so with what fills it up.
async function matrices(file) {
  const { tensorInfos, tensorDataOffset } = await gguf(path.resolve(file), { allowLocalFile: true });
  const bytes = readFileSync(file), begin = Number(tensorDataOffset);
  const ends = [...tensorInfos.slice(1).map((t) => begin + Number(t.offset)), bytes.length];
  return new Map(tensorInfos.map((t, i) => [t.name, { type: GGMLQuantizationType[t.dtype],
    bytes: bytes.subarray(begin + Number(t.offset), ends[i]) }]));
}
const ours = await matrices(a), theirs = await matrices(b);
let compared = 0, differ = 0;
for (const [name, matrix] of ours) {
  const other = theirs.get(name);
  if (matrix.type !== type || other?.type !== type) continue;
  compared++;
  differ += !matrix.bytes.equals(other.bytes);
}
console.log(`${type}: ${compared} matrices, ${differ} differ`);
process.exit(compared > 0 && differ === 0 ? 0 : 1);
