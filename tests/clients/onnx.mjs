// ONNX Runtime on a file of ours, beside the logits that `notch eval --dump-logits` wrote:
//   node onnx.mjs MODEL.onnx DUMP.safetensors TOLERANCE SHARE [cache]
// Differences are max |a - b| of a position over max |b| of all, b ours; SHARE of the positions have
// to be within TOLERANCE, and the largest logit at the same token in 99.9 %. With `cache` the second half of the first window is
// read token by token from the keys and values of what was before.
import fs from "fs";
import { createRequire } from "module";
const ort = createRequire(process.cwd() + "/")("onnxruntime-node");

const [model, dump, tolerance, share, cache] = process.argv.slice(2);
const raw = fs.readFileSync(dump);
const size = Number(raw.readBigUInt64LE(0));
const header = JSON.parse(raw.subarray(8, 8 + size));
const tensor = (name, Type) => {
  const { shape, data_offsets: [begin, end] } = header[name];
  const bytes = raw.subarray(8 + size + begin, 8 + size + end);
  return { shape, values: new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)) };
};
const tokens = tensor("tokens", Int32Array), logits = tensor("logits", Float32Array);
const [windows, length] = tokens.shape, vocabulary = logits.shape[2];

const session = await ort.InferenceSession.create(model);
const pastNames = session.inputNames.filter((name) => name.startsWith("past_key_values."));
const shapes = Object.fromEntries((session.inputMetadata ?? []).map((m) => [m.name, m.shape]));
const ids = (from, to) =>
  new ort.Tensor("int64", BigInt64Array.from(tokens.values.slice(from, to), BigInt), [1, to - from]);
const empty = () => Object.fromEntries(pastNames.map((name) => {
  const [, heads, , width] = shapes[name];
  return [name, new ort.Tensor("float32", new Float32Array(0), [1, heads, 0, width])];
}));

let largest = 0, same = 0;
const errors = [];
function compare(found, first) {
  const n = found.length / vocabulary;
  for (let t = 0; t < n; ++t) {
    let top = 0, ourTop = 0, error = 0;
    const at = t * vocabulary, ours = (first + t) * vocabulary;
    for (let v = 0; v < vocabulary; ++v) {
      const a = found[at + v], b = logits.values[ours + v];
      const d = Math.abs(a - b);
      if (!(d <= error)) error = Number.isFinite(d) ? d : Infinity;
      largest = Math.max(largest, Math.abs(b));
      if (a > found[at + top]) top = v;
      if (b > logits.values[ours + ourTop]) ourTop = v;
    }
    same += top === ourTop;
    errors.push(error);
  }
}
if (cache) {
  let past = empty();
  for (let from = 0, to = length >> 1; from < length; from = to, to = from + 1) {
    const out = await session.run({ input_ids: ids(from, to), ...past });
    compare(out.logits.data, from);
    past = Object.fromEntries(pastNames.map((n) => [n, out[n.replace("past_key_values", "present")]]));
  }
} else {
  for (let w = 0; w < windows; ++w) {
    const out = await session.run({ input_ids: ids(w * length, (w + 1) * length), ...empty() });
    compare(out.logits.data, w * length);
  }
}
errors.sort((a, b) => a - b);
const bound = errors[Math.ceil(Number(share) * errors.length) - 1] / largest, most = errors.at(-1) / largest;
console.log(`difference: ${bound.toExponential(1)} in ${100 * share} % of the positions, at most ` +
  `${most.toExponential(1)}; same top token in ${(100 * same / errors.length).toFixed(2)} %`);
process.exit(bound <= Number(tolerance) && same >= 0.999 * errors.length ? 0 : 1);
