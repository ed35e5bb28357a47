#!/usr/bin/env python3
"""Whether llama.cpp finds the most likely tokens of our weights, once activations are rounded as it rounds them.

    rounded_inputs.py DIR DUMP.safetensors TOPS q8_0|q8_K

DIR has the weights in floating point (`notch export --format f32`), DUMP what `notch eval --dump-logits` wrote, TOPS
llama.cpp's most likely token at each of its positions but the last of a window. Before a matrix in blocks, ggml's
vec_dot of its type rounds the inputs to 8 bits: for blocks of 32 to Q8_0 (d = max|x| / 127, a half), for those of 256
to Q8_K (-127 / d the largest of either sign, in float). The head is Q8_0 in all formats. GELU is read from a table of
halves. PyTorch does the same to our floats, in float64 otherwise. Prints in how many positions the most likely token is
the same: ours and llama.cpp's, ours and the rounded one's, llama.cpp's and the rounded one's. Exit code 1 when the last
is below 99.9 % (a deeper model may stay below: beside a tie the last bit of a float decides a code).
"""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures"))
from compare_torch import load_model, read_safetensors  # noqa: E402


def q8_0(x):
    blocks = x.float().reshape(-1, 32)
    largest = blocks.abs().amax(1, keepdim=True)
    codes = torch.round(blocks * torch.where(largest > 0, 127 / largest, torch.zeros_like(largest)))
    return (codes * (largest / 127).half().float()).reshape(x.shape).double()


def q8_k(x):
    blocks = x.float().reshape(-1, 256)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    inverse = torch.where(extreme != 0, -127 / extreme, torch.zeros_like(extreme))
    codes = torch.round(blocks * inverse).clamp(max=127)
    d = torch.where(inverse != 0, 1 / inverse, torch.zeros_like(inverse))
    return (codes * d).reshape(x.shape).double()


class HalfGelu(torch.nn.Module):
    def forward(self, x):
        y = torch.nn.functional.gelu(x.half().double(), approximate="tanh")
        return y.half().double()


def round_inputs(model, of_blocks):
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head"):
            module.register_forward_pre_hook(lambda _, x: (of_blocks(x[0]),))
        if name in ("ln_f", "model.norm"):  # what the head reads, tied or not
            module.register_forward_hook(lambda _, x, y: q8_0(y))
        if name.endswith("mlp") and hasattr(module, "gelu"):
            module.gelu = HalfGelu()


def main():
    directory, dump_file, tops_file, kind = sys.argv[1:5]
    dump = read_safetensors(dump_file)
    model = load_model(directory)
    round_inputs(model, {"q8_0": q8_0, "q8_K": q8_k}[kind])
    with torch.no_grad():
        rounded = torch.cat([model(part.long()) for part in dump["tokens"].split(16)])
    top = lambda logits: logits[:, :-1].argmax(-1).flatten()
    ours, rounded = top(dump["logits"]), top(rounded)
    with open(tops_file, encoding="utf-8") as file:
        theirs = torch.tensor([int(line) for line in file])
    same = lambda a, b: (a == b).double().mean().item()
    print(f"inputs rounded by PyTorch: same top token in {100 * same(theirs, rounded):.2f} % of {len(ours)}, "
          f"floats beside llama.cpp {100 * same(ours, theirs):.2f} %, beside these {100 * same(ours, rounded):.2f} %")
    sys.exit(0 if same(theirs, rounded) >= 0.999 else 1)


if __name__ == "__main__":
    main()
