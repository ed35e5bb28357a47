#!/usr/bin/env python3
"""Directories of GPT-2's 124M and of a 135M Llama's shape with random weights, by PyTorch's means.

    large.py gpt2|llama DIR              writes config.json, model.safetensors and a byte vocabulary
    large.py measure DIR NOTCH           seconds and memory of loading it, and whether they are few

The context is 64: it decides the time of a comparison and next to no weight. Norms and biases are
random too, so that every term matters. The measure is of `notch sample -n 1`: loading, and two
tokens' products; the best of three, since the files are to be in the page cache. Limits: 1 s of
processor time, and 50 MiB beyond the weights in fp32.
"""
import json
import os
import resource
import subprocess
import sys

import torch

T = 64


def normal(*shape):
    return 0.04 * torch.randn(*shape, dtype=torch.float32)


def norm(channels):
    return 1 + 0.1 * torch.randn(channels, dtype=torch.float32)


def gpt2(layers=12, heads=12, channels=768, vocabulary=50257):
    t = {"wte.weight": normal(vocabulary, channels), "wpe.weight": normal(T, channels),
         "ln_f.weight": norm(channels), "ln_f.bias": normal(channels)}
    for i in range(layers):
        for name in ("ln_1", "ln_2"):
            t[f"h.{i}.{name}.weight"], t[f"h.{i}.{name}.bias"] = norm(channels), normal(channels)
        for name, rows, cols in (("attn.c_attn", 1, 3), ("attn.c_proj", 1, 1), ("mlp.c_fc", 1, 4),
                                 ("mlp.c_proj", 4, 1)):
            t[f"h.{i}.{name}.weight"] = normal(rows * channels, cols * channels)
            t[f"h.{i}.{name}.bias"] = normal(cols * channels)
        t[f"h.{i}.attn.bias"] = torch.tril(torch.ones(T, T)).view(1, 1, T, T)  # a known buffer
    return {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": vocabulary,
            "n_positions": T, "n_ctx": T, "n_embd": channels, "n_layer": layers, "n_head": heads,
            "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}, t


def llama(layers=30, heads=9, kv_heads=3, channels=576, inner=1536, vocabulary=49152):
    t = {"model.embed_tokens.weight": normal(vocabulary, channels), "model.norm.weight": norm(channels)}
    kv = channels // heads * kv_heads
    for i in range(layers):
        layer = f"model.layers.{i}."
        t[layer + "input_layernorm.weight"] = norm(channels)
        t[layer + "post_attention_layernorm.weight"] = norm(channels)
        for name, rows, cols in (("self_attn.q_proj", channels, channels),
                                 ("self_attn.k_proj", kv, channels),
                                 ("self_attn.v_proj", kv, channels),
                                 ("self_attn.o_proj", channels, channels),
                                 ("mlp.gate_proj", inner, channels),
                                 ("mlp.up_proj", inner, channels),
                                 ("mlp.down_proj", channels, inner)):
            t[layer + name + ".weight"] = normal(rows, cols)
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary,
            "max_position_embeddings": T, "hidden_size": channels, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-5,
            "rope_theta": 100000, "rope_scaling": None, "attention_bias": False,
            "tie_word_embeddings": True}, t


def write(directory, config, tensors):
    os.makedirs(directory)
    with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's spelling of bytes
    hidden = [b for b in range(256) if b not in shown]
    spelling = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    with open(f"{directory}/vocab.json", "w", encoding="utf-8") as file:
        json.dump({spelling[b]: b for b in range(256)}, file)
    with open(f"{directory}/merges.txt", "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n")
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, w in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": [end, end + 4 * w.numel()]}
        end += 4 * w.numel()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{directory}/model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for w in tensors.values():
            file.write(w.contiguous().numpy().tobytes())


def measure(directory, notch):
    """The child's own figures: its processor time, and its peak memory beside the weights'."""
    weights = os.path.getsize(f"{directory}/model.safetensors")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([notch, "sample", directory, "-p", "a", "-n", "1", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    beyond = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - weights
    print(f"loading: {min(seconds):.2f} s of processor time, {beyond / 2**20:.0f} MiB beyond the weights")
    return min(seconds) <= 1 and beyond <= 50 * 2**20


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        sys.exit(0 if measure(*sys.argv[2:4]) else 1)
    torch.manual_seed(1)
    write(sys.argv[2], *{"gpt2": gpt2, "llama": llama}[sys.argv[1]]())
