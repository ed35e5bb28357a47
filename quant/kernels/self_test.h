// A differential test of the kernels on the machine they run on: every variant that this processor
// has against the portable one, which is plain C++, on random products. They promise the same bits;
// a compiler's, a hypervisor's or a processor's mistake is found here before a model is.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/kernel_trial.h"

namespace notch::quant {

using notch::KernelTrial;

/// `products` random products for every kernel and variant: sizes, widths of 1 to 8 bits, groups,
/// zero points, codebooks, types of scales. And as many rows through the roundings of activations,
/// against their definition. The same for the same seed.
std::vector<KernelTrial> try_kernels(std::int64_t products, std::uint64_t seed);

}  // namespace notch::quant
