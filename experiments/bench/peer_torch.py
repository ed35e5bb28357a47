#!/usr/bin/env python3
"""The peer: a GPT of the same shapes trained by PyTorch on the CPU, tuned as a user would tune it.

    /usr/bin/python3 experiments/bench/peer_torch.py --shape S --recipe fp32,w4,w4a8-token -r 5
    /usr/bin/python3 experiments/bench/peer_torch.py --gptq 768x768,3072x768

One line per recipe: shape, recipe, tokens/s, milliseconds per step (median and minimum of the rounds, each round the
minimum of --steps steps), ratio to the first recipe (median over rounds), peak memory. The recipes of one call are
interleaved round by round. One step is forward, backward, clipping to 1 and AdamW, as `notch bench train` counts it.

Written for PyTorch 1.13 (Debian's python3-torch); runs with newer ones. What was tuned, each choice by measurement:
threads set by hand (Debian's build starts with one); OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE unset; OpenMP's workers
sleep when idle, because OpenBLAS has threads of its own; AVX-512 elementwise kernels where the CPU has it (Debian's
build would take AVX2); linear layers by OpenBLAS or oneDNN, whichever is faster on this machine (--linear auto);
scores and mask in one baddbmm; nanoGPT's erf GELU (its tanh form is three times slower), layer norm and cross-entropy
as single ops; AdamW over one flat tensor, gradients accumulated in place in another, so that clipping is one norm.

Recipes: fp32; w4, w8: weights per channel, straight-through; w4g128: groups; w4a8-tensor: also activations per tensor
with a moving-average observer; w4a8-token: dynamic per token; w4a8-lsq: learned steps of weights and activations.
Block linears only: the head, the embeddings and the products of attention stay fp32. --matmul bf16: BF16 operands in
every matrix product (autocast, or oneDNN's fpmath mode where --linear onednn runs).
"""
import argparse
import os
import re
import resource
import statistics
import time

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
with open("/proc/cpuinfo") as cpuinfo:
    if " avx512f " in cpuinfo.read():
        os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx512")


def parse():
    p = argparse.ArgumentParser(description="GPT training steps by PyTorch on the CPU")
    p.add_argument("--shape", default="T", help="of N T S M, comma-separated")
    p.add_argument("--recipe", default="fp32", help="comma-separated, interleaved")
    p.add_argument("-r", "--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=0, help="per round; default: about half a second's worth")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--matmul", choices=("fp32", "bf16"), default="fp32")
    p.add_argument("--linear", choices=("auto", "blas", "onednn"), default="auto")
    p.add_argument("--gptq", metavar="LAYERS", help="time GPTQ of layers instead: rows x columns, as in 768x3072,384x1536")
    return p.parse_args()


ARGS = parse()
if ARGS.matmul == "bf16":  # read when oneDNN is loaded; older versions know the first name only
    os.environ["DNNL_DEFAULT_FPMATH_MODE"] = os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "BF16"

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.manual_seed(1337)

#        layers heads channels context batch vocabulary (M: GPT-2's 50257 padded as nanoGPT does)
SHAPES = {"N": (4, 4, 128, 64, 12, 65), "T": (4, 4, 128, 128, 16, 256), "S": (6, 6, 384, 256, 8, 256),
          "M": (12, 12, 768, 256, 4, 50304)}


# ---- quantizers; weights are [out, in], the grid is narrow: [-Q, Q] ----

class RoundRows(torch.autograd.Function):
    """Dynamic absmax per row; the gradient passes straight through (nothing is clipped)."""

    @staticmethod
    def forward(ctx, x, q):
        s = x.abs().amax(-1, keepdim=True).div_(q).clamp_(min=1e-12)
        return (x / s).round_().mul_(s)

    @staticmethod
    def backward(ctx, g):
        return g, None


class Quantizer:
    """weight(w) and activation(x) of one layer as the recipe's name says."""

    def __init__(self, recipe):
        m = re.fullmatch(r"w(\d)(?:g(\d+))?(?:a(\d)-(tensor|token|lsq))?|fp32", recipe)
        if not m:
            raise SystemExit(f"unknown recipe: {recipe}")
        self.wbits, self.group, self.abits = (int(m[i] or 0) for i in (1, 2, 3))
        self.kind = m[4]
        self.range = torch.zeros(())
        self.steps = []

    def attach(self, w):
        """LSQ: 2 mean|w| / sqrt(Q) per channel (Esser et al. 2020, section 2.1); the activations' at first sight."""
        if self.kind == "lsq":
            q = 2 ** (self.wbits - 1) - 1
            self.steps = [torch.nn.Parameter(2 * w.detach().abs().mean(1) / q ** 0.5), torch.nn.Parameter(torch.tensor([0.05]))]
            self.zeros, self.zero = torch.zeros(w.shape[0]), torch.zeros(1)
        return self.steps

    def weight(self, w):
        if not self.wbits:
            return w
        q = 2 ** (self.wbits - 1) - 1
        if self.kind == "lsq":
            return torch._fake_quantize_learnable_per_channel_affine(w, self.steps[0], self.zeros, 0, -q, q,
                                                                     1 / (w.shape[1] * q) ** 0.5)
        if self.group:
            return RoundRows.apply(w.view(-1, self.group), q).view_as(w)
        return RoundRows.apply(w, q)

    def activation(self, x):
        if not self.abits:
            return x
        q = 2 ** (self.abits - 1) - 1
        if self.kind == "token":
            return RoundRows.apply(x, q)
        if self.kind == "lsq":
            return torch._fake_quantize_learnable_per_tensor_affine(x, self.steps[1], self.zero, -q, q,
                                                                    1 / (x.numel() * q) ** 0.5)
        with torch.no_grad():
            top = torch.maximum(*(v.abs() for v in torch.aminmax(x)))
            self.range = top if self.range == 0 else self.range.lerp(top, 0.01)
        return torch.fake_quantize_per_tensor_affine(x, float(self.range) / q, 0, -q, q)


# ---- the model: functions over one flat parameter ----

def linear(x, w, b=None):
    if LINEAR == "onednn":
        return torch._C._nn.mkldnn_linear(x.to_mkldnn(), w, b).to_dense()
    return F.linear(x, w, b)


LINEAR = "blas"


class Gpt:
    def __init__(self, shape, recipe):
        self.L, self.H, self.C, self.T, self.B, self.V = SHAPES[shape]
        C = self.C
        sizes = [("wte", (self.V, C)), ("wpe", (self.T, C))]
        for i in range(self.L):
            sizes += [(f"{i}.qkv", (3 * C, C)), (f"{i}.proj", (C, C)), (f"{i}.fc", (4 * C, C)), (f"{i}.out", (C, 4 * C))]
        decayed = sum(a * b for _, (a, b) in sizes)
        for i in range(self.L):
            sizes += [(f"{i}.{n}", (k * C,)) for n, k in
                      (("ln1", 1), ("ln1b", 1), ("ln2", 1), ("ln2b", 1), ("qkvb", 3), ("projb", 1), ("fcb", 4), ("outb", 1))]
        sizes += [("lnf", (C,)), ("lnfb", (C,))]
        total = sum(torch.Size(s).numel() for _, s in sizes)
        flat, grad = torch.empty(total), torch.zeros(total)
        self.p, at = {}, 0
        for name, size in sizes:
            n = torch.Size(size).numel()
            view = flat[at:at + n].view(size)
            short = name.split(".")[-1]
            view.fill_(1) if short in ("ln1", "ln2", "lnf") else view.zero_() if len(size) == 1 else view.normal_(0, 0.02)
            leaf = view.detach().requires_grad_()
            leaf.grad = grad[at:at + n].view(size)
            self.p[name] = leaf
            at += n
        self.grad = grad
        groups = []
        for part, decay in ((slice(0, decayed), 0.1), (slice(decayed, total), 0.0)):
            leaf = flat[part].detach().requires_grad_()
            leaf.grad = grad[part]
            groups.append({"params": [leaf], "weight_decay": decay})
        self.q = {n: Quantizer(recipe) for n in self.p if n.split(".")[-1] in ("qkv", "proj", "fc", "out")}
        self.steps = [s for n, q in self.q.items() for s in q.attach(self.p[n])]
        if self.steps:
            groups.append({"params": self.steps, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.99))
        self.mask = torch.full((self.T, self.T), float("-inf")).triu_(1)
        self.x = torch.randint(self.V, (self.B, self.T))
        self.y = torch.randint(self.V, (self.B, self.T))

    def layer(self, x, name, bias):
        q = self.q[name]
        return linear(q.activation(x), q.weight(self.p[name]), self.p[bias])

    def loss(self):
        p, B, T, C, H = self.p, self.B, self.T, self.C, self.H
        x = (F.embedding(self.x, p["wte"]) + p["wpe"]).view(B * T, C)
        for i in range(self.L):
            h = F.layer_norm(x, (C,), p[f"{i}.ln1"], p[f"{i}.ln1b"])
            q, k, v = self.layer(h, f"{i}.qkv", f"{i}.qkvb").view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4).reshape(
                3, B * H, T, C // H).unbind(0)
            s = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=(C // H) ** -0.5)
            a = torch.bmm(F.softmax(s, -1), v).view(B, H, T, C // H).transpose(1, 2).reshape(B * T, C)
            x = x + self.layer(a, f"{i}.proj", f"{i}.projb")
            h = F.layer_norm(x, (C,), p[f"{i}.ln2"], p[f"{i}.ln2b"])
            h = F.gelu(self.layer(h, f"{i}.fc", f"{i}.fcb"))
            x = x + self.layer(h, f"{i}.out", f"{i}.outb")
        x = F.layer_norm(x, (C,), p["lnf"], p["lnfb"])
        return F.cross_entropy(linear(x, p["wte"]), self.y.view(-1))

    def step(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=ARGS.matmul == "bf16" and LINEAR == "blas"):
            loss = self.loss()
        self.grad.zero_()
        for s in self.steps:
            s.grad = None
        loss.backward()
        self.grad.mul_((1 / (self.grad.norm() + 1e-6)).clamp_(max=1))
        self.optimizer.step()
        return loss.item()


def timed(model, steps):
    """Milliseconds of the fastest of `steps` steps."""
    best = float("inf")
    for _ in range(steps):
        start = time.perf_counter()
        model.step()
        best = min(best, 1e3 * (time.perf_counter() - start))
    return best


def choose_linear(model):
    """The faster of OpenBLAS and oneDNN for this model's steps."""
    global LINEAR
    if ARGS.linear != "auto":
        LINEAR = ARGS.linear
        return
    times = {}
    for _ in range(2):
        for LINEAR in ("blas", "onednn"):
            timed(model, 1)
            times[LINEAR] = min(times.get(LINEAR, float("inf")), timed(model, 2))
    LINEAR = min(times, key=times.get)


def bench(shape, recipes):
    models = [Gpt(shape, r) for r in recipes]
    choose_linear(models[0])
    first = [timed(m, 2) for m in models]
    steps = ARGS.steps or max(1, min(20, round(500 / first[0])))
    rounds = [[timed(m, steps) for m in models] for _ in range(ARGS.rounds)]
    L, H, C, T, B, V = SHAPES[shape]
    for i, recipe in enumerate(recipes):
        times = [r[i] for r in rounds]
        median = statistics.median(times)
        ratio = statistics.median(r[i] / r[0] for r in rounds)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{shape},{recipe},{ARGS.matmul},{LINEAR},{1e3 * B * T / median:.0f},{median:.2f},{min(times):.2f},"
              f"{ratio:.3f},{memory:.0f}", flush=True)


# ---- GPTQ (Frantar et al. 2022), as the authors' code blocks it: Hessian, factorization, column loop ----

def gptq(rows, columns, tokens=32768, chunk=2048, group=128, bits=4):
    w = torch.randn(rows, columns)
    q_max = 2 ** (bits - 1) - 1
    x = torch.randn(chunk, columns)
    start = time.perf_counter()
    h = torch.zeros(columns, columns)
    for _ in range(tokens // chunk):
        h.addmm_(x.t(), x, alpha=2 / tokens)
    hessian = time.perf_counter() - start
    start = time.perf_counter()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    factor = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(0, columns, group):
        block, error, u = w[:, i:i + group].clone(), torch.empty(rows, group), inverse[i:i + group, i:i + group]
        s = block.abs().amax(1).div_(q_max)
        for j in range(group):
            c = block[:, j]
            e = (c - (c / s).round_().clamp_(-q_max, q_max).mul_(s)).div_(u[j, j])
            block[:, j:].sub_(torch.outer(e, u[j, j:]))
            error[:, j] = e
        w[:, i + group:].sub_(error @ inverse[i:i + group, i + group:])
    return hessian, factor, time.perf_counter() - start


if __name__ == "__main__":
    if ARGS.gptq:
        print("rows,columns,hessian_s,factorization_s,columns_s")
        for rows, columns in (map(int, layer.split("x")) for layer in ARGS.gptq.split(",")):
            with torch.no_grad():
                best = [min(t) for t in zip(*(gptq(rows, columns) for _ in range(ARGS.rounds)))]
            print(f"{rows},{columns},{best[0]:.3f},{best[1]:.3f},{best[2]:.3f}", flush=True)
    else:
        print("shape,recipe,matmul,linear,tokens_per_s,ms_median,ms_min,ratio,peak_mb")
        for name in ARGS.shape.split(","):
            bench(name, ARGS.recipe.split(","))
