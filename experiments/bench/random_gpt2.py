"""A model directory of random weights: random_gpt2.py DIR LAYERS HEADS CHANNELS CONTEXT VOCABULARY

For measuring speed, which does not depend on the weights. Beyond 256 tokens the vocabulary is made of pairs of bytes.
"""
import json
import os
import struct
import sys

import numpy as np


def main(folder, L, NH, C, T, V):
    os.makedirs(folder, exist_ok=True)
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's spelling of bytes
    hidden = [b for b in range(256) if b not in shown]
    spelling = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    tokens, merges = [spelling[b] for b in range(256)], []
    for pair in range(max(0, V - 257)):
        a, b = spelling[pair // 256], spelling[pair % 256]
        tokens.append(a + b)
        merges.append(f"{a} {b}\n")
    if V > 256:
        tokens.append("<|endoftext|>")
    json.dump({t: i for i, t in enumerate(tokens)}, open(folder + "/vocab.json", "w"))
    open(folder + "/merges.txt", "w", encoding="utf-8").write("#version: 0.2\n" + "".join(merges))
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": V, "n_positions": T,
              "n_ctx": T, "n_embd": C, "n_layer": L, "n_head": NH, "activation_function": "gelu_new",
              "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "layer_norm_epsilon": 1e-5,
              "tie_word_embeddings": True, "bos_token_id": V - 1, "eos_token_id": V - 1}
    json.dump(config, open(folder + "/config.json", "w"))
    random = np.random.default_rng(1)
    normal = lambda *shape: 0.02 * random.standard_normal(shape, dtype=np.float32)
    norm = lambda name: {name + ".weight": np.ones(C, np.float32), name + ".bias": np.zeros(C, np.float32)}
    tensors = {"wte.weight": normal(V, C), "wpe.weight": normal(T, C)} | norm("ln_f")
    for i in range(L):
        tensors |= norm(f"h.{i}.ln_1") | norm(f"h.{i}.ln_2")
        for name, rows, cols in (("attn.c_attn", C, 3 * C), ("attn.c_proj", C, C), ("mlp.c_fc", C, 4 * C),
                                 ("mlp.c_proj", 4 * C, C)):
            tensors |= {f"h.{i}.{name}.weight": normal(rows, cols), f"h.{i}.{name}.bias": normal(cols)}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, w in tensors.items():
        header[name] = {"dtype": "F32", "shape": w.shape, "data_offsets": [end, end + w.nbytes]}
        end += w.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for w in tensors.values():
            f.write(w.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
