// NOTCH_CLONES: compile a kernel several times and let the loader pick by CPU.
//
// Put it before the definition of a function that contains plain loops. The compiler vectorises the
// same source for each target and an ifunc resolver chooses at load time, so one binary runs on any
// x86-64 and uses AVX2 or AVX-512 where it exists. All clones give the same bits as long as the
// loop fixes its own summation order: contraction is off, and vector division and rounding are
// IEEE. Empty where it does not work: other architectures, and sanitizers (the resolver runs before
// their runtime is up).
#pragma once

#if defined(__x86_64__) && defined(__linux__) && !defined(NOTCH_SANITIZED)
#define NOTCH_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NOTCH_CLONES
#endif
