// A differential test of portable arithmetic (base/arithmetic.h) on the machine it runs on: the
// kernels of training in every instruction set that this processor has, against plain C++, on random
// sizes. They promise the same bits. quant/kernels/self_test.h does the same for integer kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/kernel_trial.h"

namespace notch::kernels {

/// `trials` random sizes for products (forward and backward, float and double), factorizations,
/// attention and the other loops of a training step, in each variant. The same for the same seed.
/// Changes arithmetic and instruction set while it runs, so nothing else may compute meanwhile.
std::vector<KernelTrial> try_portable_kernels(std::int64_t trials, std::uint64_t seed);

}  // namespace notch::kernels
