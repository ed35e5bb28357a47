// Asking for weights ahead of their use, in the kernels of x86-64.
#pragma once

namespace notch::quant {

/// As __builtin_prefetch, which GCC takes for a reader of all memory: it would store the sums of a
/// tile in every iteration. For no instruction set, so that code for any can have it inlined.
__attribute__((always_inline)) inline void prefetch(const void* at) {
  asm volatile("prefetcht0 (%0)" : : "r"(at));
}

}  // namespace notch::quant
