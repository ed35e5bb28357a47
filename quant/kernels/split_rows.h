// Floats that meet integer weights: a row of x becomes three rows of 8-bit digits, and the integer
// products of quant/kernels/integer_linear.h serve them too.
//
//   x[k] ~ (65536 d2[k] + 256 d1[k] + d0[k]) · s,   d in [-128, 127]
// s is the smallest power of two, at least 2^-126, with which the row's largest magnitude fits (127
// in every digit): x in fixed point, of which 23 bits and a sign are kept. |error| <= s/2, less than
// max|x| / 8355711. Each digit is a token of the integer contract, with scale 65536 s, 256 s and s
// (exact) and symmetric codes:
//   y = fl(fl(y2 + y1) + y0) + bias
// What the sums of digits round comes to less than what a float sum over K does. Integers add up in
// any order: the result has the same bits in every variant, for any number of rows and threads. And
// a weight is unpacked once for three 8-bit products of 64 lanes; as a float it takes, in 16 lanes,
// four conversions and four multiply-adds.
//
// A row with a NaN or an infinity becomes NaN in every output, as quantize_rows.h has it.
#pragma once

#include <cstdint>
#include <span>

#include "quant/kernels/integer_linear.h"

namespace notch::quant {

inline constexpr std::int64_t kDigits = 3;

/// Digits of x [M, K], K = shape.K: tokens 3 t, 3 t + 1 and 3 t + 2 of `out` are d2, d1 and d0 of
/// row t, laid out as quantize_rows does. `out` has room for 3 M tokens. Parallel, vectorised.
void split_rows(const ActivationCodes& out, std::span<const float> x, std::int64_t M,
                const IntegerShape& shape);

/// y [M, N] from the products [3 M, N] of the digits; bias [N], or empty for none. Parallel.
void join_rows(std::span<float> y, std::span<const float> products, std::span<const float> bias,
               std::int64_t M, std::int64_t N);

}  // namespace notch::quant
