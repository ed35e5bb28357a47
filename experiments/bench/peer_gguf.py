"""A Notch or Hugging Face GPT-2 directory (FP32) as a GGUF file, to time llama.cpp on the same shape.

    peer_gguf.py MODEL_DIR OUT.gguf f32|q8_0|q6_k|q4_0|q2_k

Matrices get the type, rounded to nearest in its blocks; norms, biases and positions stay f32. The head is written as a
copy of the token table, as that program wants it. The values are right, but no more is done for quality than rounding:
this is for measuring speed. Blocks (d: half): q8_0 d, 32 int8; q4_0 d, 32 nibbles q + 8, element j low and j + 16 high
of byte j; q6_k 256 codes q + 32 as low nibbles and high pairs of bits, 16 int8 scales, d; q2_k 16 scales of 4 bits, minima
above them, 256 codes of 2 bits, d of the scales, d of the minima.
"""
import json
import struct
import sys

import numpy as np

TYPES = {"f32": (0, 0), "q4_0": (2, 2), "q8_0": (8, 7), "q2_k": (10, 10), "q6_k": (14, 18)}  # of tensors, of the file


def tensors_of(path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        assert t["dtype"] == "F32", f"{path}: {name} is {t['dtype']}, not F32"
        yield name.removeprefix("transformer."), np.frombuffer(data[begin:end], np.float32).reshape(t["shape"])


def halves(scale):
    return scale.astype(np.float16).view(np.uint8).reshape(-1, 2)


def divide(x, scale):
    return np.divide(x, scale, out=np.zeros_like(x), where=scale != 0)


def q8_0(w):
    x = w.reshape(-1, 32)
    d = np.abs(x).max(1, keepdims=True) / np.float32(127)
    return np.hstack([halves(d), np.rint(divide(x, d)).astype(np.int8).view(np.uint8)])


def q4_0(w):
    x = w.reshape(-1, 32)
    d = np.take_along_axis(x, np.abs(x).argmax(1, keepdims=True), 1) / np.float32(-8)
    q = np.minimum(15, divide(x, d) + np.float32(8.5)).astype(np.uint8)
    return np.hstack([halves(d), q[:, :16] | q[:, 16:] << 4])


def q6_k(w):
    x = w.reshape(-1, 16, 16)
    scale = np.abs(x).max(2) / np.float32(31)
    d = scale.max(1, keepdims=True) / np.float32(127)
    s = np.rint(divide(scale, d))
    q = (np.clip(np.rint(divide(x, (d * s)[:, :, None])), -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low, high = q & 15, q >> 4
    ql = np.concatenate([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], 2)
    qh = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    parts = [ql.reshape(-1, 128), qh.reshape(-1, 64), s.astype(np.int8).view(np.uint8), halves(d)]
    return np.hstack(parts)


def q2_k(w):
    x = w.reshape(-1, 16, 16)
    minimum = -np.minimum(x.min(2), 0)
    scale = (x.max(2) + minimum) / np.float32(3)
    d, dmin = (v.max(1, keepdims=True) / np.float32(15) for v in (scale, minimum))
    s, m = np.rint(divide(scale, d)), np.rint(divide(minimum, dmin))
    q = np.clip(np.rint(divide(x + (dmin * m)[:, :, None], (d * s)[:, :, None])), 0, 3)
    q = q.astype(np.uint8).reshape(-1, 2, 4, 32)
    codes = q[:, :, 0] | q[:, :, 1] << 2 | q[:, :, 2] << 4 | q[:, :, 3] << 6
    return np.hstack([s.astype(np.uint8) | m.astype(np.uint8) << 4, codes.reshape(-1, 64), halves(d), halves(dmin)])


def encode(w, kind):
    return {"f32": lambda x: x, "q8_0": q8_0, "q4_0": q4_0, "q6_k": q6_k, "q2_k": q2_k}[kind](w).tobytes()


def renamed(name, w):
    """llama.cpp's name of a tensor, and the tensor as [out][in]."""
    if name in ("wte.weight", "wpe.weight"):
        return {"t": "token_embd.weight", "p": "position_embd.weight"}[name[1]], w
    if name.startswith("ln_f."):
        return "output_norm." + name[5:], w
    _, block, rest = name.split(".", 2)
    layer, part = rest.rsplit(".", 1)
    to = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
          "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}[layer]
    return f"blk.{block}.{to}.{part}", np.ascontiguousarray(w.T) if w.ndim == 2 else w


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def main(folder, out, kind):
    config = json.load(open(folder + "/config.json"))
    vocab = json.load(open(folder + "/vocab.json"))
    merges = [m for m in open(folder + "/merges.txt", encoding="utf-8").read().split("\n")[1:] if m]
    tokens = sorted(vocab, key=vocab.get)
    tokens += [f"<unused{i}>" for i in range(len(tokens), config["vocab_size"])]
    end = config["vocab_size"] - 1
    u32, f32 = (lambda v: struct.pack("<II", 4, v)), (lambda v: struct.pack("<If", 6, v))
    string = lambda v: struct.pack("<I", 8) + text(v)
    strings = lambda v: struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    meta = {
        "general.architecture": string("gpt2"), "general.name": string("peer"),
        "general.file_type": u32(TYPES[kind][1]), "general.quantization_version": u32(2),
        "gpt2.context_length": u32(config["n_positions"]), "gpt2.embedding_length": u32(config["n_embd"]),
        "gpt2.block_count": u32(config["n_layer"]), "gpt2.feed_forward_length": u32(4 * config["n_embd"]),
        "gpt2.attention.head_count": u32(config["n_head"]), "gpt2.attention.layer_norm_epsilon": f32(1e-5),
        "tokenizer.ggml.model": string("gpt2"), "tokenizer.ggml.pre": string("gpt-2"),
        "tokenizer.ggml.tokens": strings(tokens), "tokenizer.ggml.merges": strings(merges),
        "tokenizer.ggml.bos_token_id": u32(end), "tokenizer.ggml.eos_token_id": u32(end),
        "tokenizer.ggml.add_bos_token": struct.pack("<I?", 7, False),
    }
    tensors = [renamed(name, w) for name, w in tensors_of(folder + "/model.safetensors")]
    table = next(w for name, w in tensors if name == "token_embd.weight")
    tensors.append(("output.weight", table))
    infos, blobs, offset = b"", [], 0
    for name, w in tensors:
        plain = w.ndim == 1 or name.startswith("position")
        blob = encode(w, "f32" if plain else kind)
        infos += text(name) + struct.pack("<I", w.ndim)
        infos += b"".join(struct.pack("<Q", n) for n in reversed(w.shape))
        infos += struct.pack("<IQ", 0 if plain else TYPES[kind][0], offset)
        blob += bytes(-len(blob) % 32)
        offset += len(blob)
        blobs.append(blob)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta))
    head += b"".join(text(key) + value for key, value in meta.items()) + infos
    with open(out, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        f.writelines(blobs)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in TYPES:
        sys.exit(__doc__)
    main(*sys.argv[1:])
