// ONNX Runtime on a graph that `notch export --onnx FILE --onnx-cache` wrote:
//   node peer_onnx.mjs MODEL.onnx LEVEL THREADS PROMPT DECODE REPEATS    prints "<prompt tokens/s> <decode tokens/s>"
// LEVEL is MatMulNBits' accuracy_level: 4 rounds x to 8 bits, 1 keeps floats. The graph does not name one, so the
// attribute is added here, in the protobuf (onnx.proto3: ModelProto.graph = 7, GraphProto.node = 1, NodeProto.op_type =
// 4, .attribute = 5; AttributeProto.name = 1, .i = 3, .type = 20, INT = 2). As `notch bench`: one token per pass after
// the prompt, the fastest pass of each kind; but the graph gives the logits of every position of a prompt, not the last's.
import fs from "fs";
import { createRequire } from "module";

const require = createRequire((process.env.NODE_ORT ?? process.cwd()) + "/");
const ort = require("onnxruntime-node");
const [file, level, threads, prompt, decode, repeats] =
  process.argv.slice(2).map((word, i) => (i === 0 ? word : Number(word)));

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

// The fields of a message: number, wire type, the whole field and, of length-delimited ones, what is inside.
function* fields(message) {
  for (let at = 0; at < message.length;) {
    const start = at;
    const read = () => {
      let value = 0, scale = 1, byte;
      do { byte = message[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte > 127);
      return value;
    };
    const tag = read(), wire = tag % 8;
    let body = null;
    if (wire === 0) read();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else {
      const size = read();
      body = message.subarray(at, at + size);
      at += size;
    }
    yield { number: Math.floor(tag / 8), whole: message.subarray(start, at), body };
  }
}

const delimited = (number, body) => Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);

let changed = 0;
function node(message) {
  const all = [...fields(message)];
  const type = all.find((f) => f.number === 4)?.body.toString();
  if (type !== "MatMulNBits") return message;
  ++changed;
  const attribute = Buffer.concat([delimited(1, Buffer.from("accuracy_level")), varint(3 * 8), varint(level),
    varint(20 * 8), varint(2)]);
  return Buffer.concat([message, delimited(5, attribute)]);
}
const edit = (message, number, change) => Buffer.concat([...fields(message)].map((f) =>
  f.number === number && f.body ? delimited(number, change(f.body)) : f.whole));
const model = edit(fs.readFileSync(file), 7, (graph) => edit(graph, 1, node));
if (level > 0 && changed === 0) throw new Error(`${file} has no MatMulNBits`);

const session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1 });
const pastNames = session.inputNames.filter((name) => name.startsWith("past_key_values."));
const shapes = Object.fromEntries(session.inputMetadata.map((m) => [m.name, m.shape]));
const ids = (n) => new ort.Tensor("int64", BigInt64Array.from({ length: n }, (_, i) => BigInt((i * 7 + 1) % 200)), [1, n]);
let best = [Infinity, Infinity];
for (let r = 0; r < repeats; ++r) {
  let past = Object.fromEntries(pastNames.map((name) => {
    const [, heads, , width] = shapes[name];
    return [name, new ort.Tensor("float32", new Float32Array(0), [1, heads, 0, width])];
  }));
  for (let pass = 0; pass <= decode; ++pass) {
    const start = process.hrtime.bigint();
    const out = await session.run({ input_ids: ids(pass === 0 ? prompt : 1), ...past });
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    const kind = pass === 0 ? 0 : 1;
    best[kind] = Math.min(best[kind], seconds);
    past = Object.fromEntries(pastNames.map((name) => [name, out[name.replace("past_key_values", "present")]]));
  }
}
console.log(`${prompt / best[0]} ${1 / best[1]}`);
