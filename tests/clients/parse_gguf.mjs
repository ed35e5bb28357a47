// What the parser @huggingface/gguf reads of a file, beside what `notch inspect FILE -o json` printed of it:
//
//   node parse_gguf.mjs FILE.gguf INSPECTED.json
//
// The same tensors with the same types and shapes, data that end with the file, and the keys of its architecture.
import { createRequire } from 'node:module';
import { readFileSync, statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [file, inspected] = process.argv.slice(2);
const entry = createRequire(process.cwd() + '/').resolve('@huggingface/gguf');
const { gguf, GGMLQuantizationType } = await import(pathToFileURL(entry).href);
const { metadata, tensorInfos, tensorDataOffset } = await gguf(path.resolve(file), { allowLocalFile: true });

const ours = JSON.parse(readFileSync(inspected, 'utf8'));
const theirs = tensorInfos.map((t) => ({
  tensor: t.name, type: GGMLQuantizationType[t.dtype], shape: `[${[...t.shape].reverse().join(', ')}]`,
}));
const differ = ours.filter((t, i) => ['tensor', 'type', 'shape'].some((key) => t[key] !== theirs[i]?.[key])).length +
  Math.abs(ours.length - theirs.length);
const last = tensorInfos.at(-1);
const end = Number(tensorDataOffset) + Number(last.offset) + ours.at(-1).bytes;
const beyond = statSync(file).size - end;  // what fills the last tensor up to the alignment
const name = metadata['general.architecture'];
const missing = ['context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'attention.head_count']
  .filter((key) => !(Number(metadata[`${name}.${key}`]) > 0));
console.log(`@huggingface/gguf: ${theirs.length} tensors, ${differ} differ; ${Object.keys(metadata).length} keys, ` +
  `${missing.length} missing; ${beyond} bytes behind`);
process.exit(theirs.length > 0 && differ === 0 && missing.length === 0 && beyond >= 0 && beyond < 32 ? 0 : 1);
