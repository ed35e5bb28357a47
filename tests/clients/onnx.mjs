// ONNX Runtime on a file of ours, beside the logits that `notch eval --dump-logits` wrote:
//   node onnx.mjs CLIENT MODEL.onnx DUMP.safetensors TOLERANCE SHARE [cache]
// CLIENT is onnxruntime-node, or onnxruntime-web=BROWSER: in a page of that Chromium.
// Differences are max |a - b| of a position over max |b| of all, b ours; SHARE of the positions have
// to be within TOLERANCE, and the largest logit at the same token in 99.9 %. With `cache` the second half of the first
// window is read token by token from the keys and values of what was before.
import { createRequire } from "node:module";
import { readDump, top } from "./dump.mjs";
import { openInBrowser } from "./onnx_web.mjs";

const [client, model, dump, tolerance, share, cache] = process.argv.slice(2);
const { windows, length, vocabulary, tokens, logits } = readDump(dump);

// A session: inputs {name: shape}, run({name: {type, data, shape}}) -> {name: {data, shape}}, close().
async function openInNode() {
  const ort = createRequire(process.cwd() + "/")("onnxruntime-node");
  const session = await ort.InferenceSession.create(model);
  return {
    inputs: Object.fromEntries(session.inputMetadata.map((m) => [m.name, m.shape])),
    async run(feeds) {
      const out = await session.run(Object.fromEntries(
        Object.entries(feeds).map(([name, t]) => [name, new ort.Tensor(t.type, t.data, t.shape)])));
      return Object.fromEntries(Object.entries(out).map(([name, t]) => [name, { data: t.data, shape: t.dims }]));
    },
    async close() {},
  };
}
const browser = client.split("=")[1];
const session = browser ? await openInBrowser(browser, model) : await openInNode();

const pastNames = Object.keys(session.inputs).filter((name) => name.startsWith("past_key_values."));
const ids = (from, to) =>
  ({ type: "int64", data: BigInt64Array.from(tokens.slice(from, to), BigInt), shape: [1, to - from] });
const empty = () => Object.fromEntries(pastNames.map((name) => {
  const [, heads, , width] = session.inputs[name];
  return [name, { type: "float32", data: new Float32Array(0), shape: [1, heads, 0, width] }];
}));

let largest = 0, same = 0;
const errors = [];
function compare(found, first) {
  for (let t = 0; t < found.length / vocabulary; ++t) {
    let error = 0;
    const at = t * vocabulary, ours = (first + t) * vocabulary;
    for (let v = 0; v < vocabulary; ++v) {
      const d = Math.abs(found[at + v] - logits[ours + v]);
      if (!(d <= error)) error = Number.isFinite(d) ? d : Infinity;
      largest = Math.max(largest, Math.abs(logits[ours + v]));
    }
    same += top(found, at, vocabulary) === top(logits, ours, vocabulary);
    errors.push(error);
  }
}
if (cache) {
  let past = empty();
  for (let from = 0, to = length >> 1; from < length; from = to, to = from + 1) {
    const out = await session.run({ input_ids: ids(from, to), ...past });
    compare(out.logits.data, from);
    past = Object.fromEntries(pastNames.map((n) =>
      [n, { type: "float32", ...out[n.replace("past_key_values", "present")] }]));
  }
} else {
  for (let w = 0; w < windows; ++w) {
    const out = await session.run({ input_ids: ids(w * length, (w + 1) * length), ...empty() });
    compare(out.logits.data, w * length);
  }
}
await session.close();
errors.sort((a, b) => a - b);
const bound = errors[Math.ceil(Number(share) * errors.length) - 1] / largest, most = errors.at(-1) / largest;
console.log(`difference: ${bound.toExponential(1)} in ${100 * share} % of the positions, at most ` +
  `${most.toExponential(1)}; same top token in ${(100 * same / errors.length).toFixed(2)} %`);
process.exit(errors.length > 0 && bound <= Number(tolerance) && same >= 0.999 * errors.length ? 0 : 1);
