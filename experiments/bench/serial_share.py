#!/usr/bin/env python3
"""The share of a command's instructions that no further thread can take over:

    experiments/bench/serial_share.py build/notch eval MODEL_DIR --text book.txt --windows 2

Runs the command with one thread under callgrind (valgrind), adds up what is executed inside regions of several tiles
(autograd/base/thread_pool.cpp: Pool::run_inline, the outermost), and prints the rest: what the caller does alone, and
regions of one tile. Above 2 %, a second run lists the functions that executed most outside. Counted, so the machine may be busy; some fifty
times slower than the command, so take a text of a few contexts. valgrind has no AVX-512: kernels run as AVX2, which
makes the parallel part longer than it is on such a processor, up to twice.
"""
import collections
import re
import subprocess
import sys
import tempfile

REGION = "notch::(anonymous namespace)::Pool::run_inline(long, void (*)(void const*, long), void const*)"
CALLGRIND = ["valgrind", "-q", "--tool=callgrind", f"--separate-recs2={REGION}"]


def costs(path):
    """(function, cost of its own) and (caller, callee, cost of the calls) of a callgrind file."""
    names, function, callee, calls = {}, None, None, False
    for line in open(path):
        if match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = match.groups()
            name = names.setdefault(number, name)
            if kind == "fn":
                function = name
            else:
                callee = name
        elif line.startswith("calls="):
            calls = True
        elif match := re.match(r"[+\-*\d]\S* (\d+)", line):
            yield function, callee if calls else None, int(match[1])
            calls = False


def profile(command, *flags):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([*CALLGRIND, *flags, "--callgrind-out-file=" + out.name, *command, "-t", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        return list(costs(out.name))


def main(command):
    if not command:
        sys.exit(__doc__)
    all_ = profile(command)
    total = sum(cost for _, callee, cost in all_ if callee is None)
    inside = sum(cost for _, callee, cost in all_ if callee == REGION)
    print(f"{100 - 100 * inside / total:.2f} % of {total / 1e6:.0f} million instructions are outside regions of tiles")
    if inside >= 0.98 * total:
        return
    outside = collections.Counter()
    for function, callee, cost in profile(command, f"--toggle-collect={REGION}", "--collect-atstart=yes"):
        if callee is None:
            outside[function] += cost
    for function, cost in outside.most_common(12):
        print(f"{100 * cost / total:6.2f} %  {function[:100]}")


main(sys.argv[1:])
