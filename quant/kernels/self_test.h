// A differential test of the kernels on the machine they run on: every variant that this processor
// has against the portable one, which is plain C++, on random products. They promise the same bits;
// a compiler's, a hypervisor's or a processor's mistake is found here before a model is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace notch::quant {

struct KernelTrial {
  std::string kernel{};       ///< "integer avx512_vnni", "narrow avx2", "lanes avx512", …
  std::int64_t products = 0;  ///< that were compared
  std::string difference{};   ///< the first product that was not the same; empty: none
};

/// `products` random products for every kernel and variant: sizes, widths of 1 to 8 bits, groups,
/// zero points, codebooks, types of scales. And as many rows through the roundings of activations,
/// against their definition. The same for the same seed.
std::vector<KernelTrial> try_kernels(std::int64_t products, std::uint64_t seed);

}  // namespace notch::quant
