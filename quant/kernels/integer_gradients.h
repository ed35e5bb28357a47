// The gradient of a product's input on integers: dx = dy ŵ by the 8-bit products of
// integer_linear.h, which are several times as fast as those of floats.
//
// Wortsman et al. 2023 (SwitchBack, arXiv:2304.13013), section 2.2: 8 bits forward and for dx, dW in
// floating point, because it sums over tokens and so meets the largest noise. Deviations: dy is
// rounded stochastically (there to nearest), so that dx is unbiased over its rounding; a weight has
// the scale of its input feature (there one for the tensor). Weights are rounded to nearest, a
// second time where ŵ has 8 bits or fewer.
#pragma once

#include <cstdint>
#include <span>

#include "quant/kernels/integer_linear.h"

namespace notch::quant {

/// The shape of ŵᵀ for w [N, K]: dy [M, N] times it is dx [M, K].
constexpr IntegerShape transposed_shape(std::int64_t N, std::int64_t K) { return {.N = K, .K = N}; }

/// Rounds wᵀ into `out`, of transposed_shape(N, K): a row's scale is max|w| / 127, codes lie in
/// [-127, 127]. `scratch` has room for transpose_scratch(N, K) floats. Parallel over panels of 16
/// input features, which are transposed in cache.
void transpose_weights(const PackedWeights& out, std::span<const float> w,
                       std::span<float> scratch);
std::int64_t transpose_scratch(std::int64_t N, std::int64_t K);

/// Codes of dy [M, N], N = shape.K, for shape without groups: scale = max|dy| / 127 of the row, and
///   q = floor(dy / scale + u),   u uniform in [0, 1) in steps of 2^-16, a pure function of (key,
///                                row, column)
/// so the expectation of q · scale is dy to a step's 2^-16. A row of zeros gets scale 1; one with a NaN or an infinity
/// scale NaN. Parallel, vectorised, same bits for every instruction set and number of threads.
void round_gradients(const ActivationCodes& out, std::span<const float> dy, std::int64_t M,
                     const IntegerShape& shape, std::uint64_t key);

}  // namespace notch::quant
