// What `notch eval --dump-logits FILE.safetensors` wrote: tokens [windows, length] and the logits after each.
import fs from "node:fs";

export function readDump(file) {
  const raw = fs.readFileSync(file);
  const size = Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.subarray(8, 8 + size));
  const values = (name, Type) => {
    const [begin, end] = header[name].data_offsets;
    const bytes = raw.subarray(8 + size + begin, 8 + size + end);
    return new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  };
  const [windows, length, vocabulary] = header.logits.shape;
  return { windows, length, vocabulary, tokens: values("tokens", Int32Array), logits: values("logits", Float32Array) };
}

/// The place of the largest of values[from … from + n - 1], the first on ties, counted from `from`.
export function top(values, from, n) {
  let best = 0;
  for (let i = 1; i < n; ++i) if (values[from + i] > values[from + best]) best = i;
  return best;
}
