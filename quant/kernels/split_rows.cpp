#include "quant/kernels/split_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/quantize_rows.h"

namespace notch::quant {
namespace {

constexpr Index kChunk = 16384;              // elements per task
constexpr std::int32_t kLargest = 8355711;   // 127 · 65536 + 127 · 256 + 127
constexpr std::int32_t kOffsets = 0x808080;  // 128 in every digit: no digit borrows

/// log2 s. A float is below 2^23 times the power of two that this begins with.
int exponent_of(float largest) {
  if (largest == 0) return 0;
  int e = 0;
  std::frexp(largest, &e);
  e = std::max(e - 23, -126);
  return std::ldexp(largest, -e) > static_cast<float>(kLargest) ? e + 1 : e;
}

/// The three digits of n elements, with 128 added and then `flip` applied.
NOTCH_CLONES void split(std::uint8_t* high, std::uint8_t* middle, std::uint8_t* low, const float* x,
                        Index n, float inverse, std::uint8_t flip) {
  for (Index i = 0; i < n; ++i) {
    const auto q = static_cast<std::int32_t>(std::rint(x[i] * inverse)) + kOffsets;
    high[i] = static_cast<std::uint8_t>((q >> 16) ^ flip);
    middle[i] = static_cast<std::uint8_t>((q >> 8) ^ flip);
    low[i] = static_cast<std::uint8_t>(q ^ flip);
  }
}

/// Σ codes of n units that begin `padded` codes apart.
NOTCH_CLONES void add_units(std::int32_t* sums, const std::uint8_t* codes, Index n, Index unit,
                            Index padded, std::int32_t offset, std::uint8_t flip) {
  for (Index u = 0; u < n; ++u) {
    std::int32_t sum = 0;
    for (Index i = 0; i < unit; ++i) sum += codes[u * padded + i] ^ flip;
    sums[u] = sum - offset * static_cast<std::int32_t>(unit);
  }
}

NOTCH_CLONES void join(float* y, const float* products, const float* bias, Index N) {
  const float *const high = products, *const middle = products + N, *const low = products + 2 * N;
  if (bias)
    for (Index i = 0; i < N; ++i) y[i] = ((high[i] + middle[i]) + low[i]) + bias[i];
  else
    for (Index i = 0; i < N; ++i) y[i] = (high[i] + middle[i]) + low[i];
}

}  // namespace

void split_rows(const ActivationCodes& out, std::span<const float> x, Index M,
                const IntegerShape& shape) {
  check(shape.K >= 1 && shape.group >= 0, "split_rows", "rows of ", shape.K,
        " inputs in groups of ", shape.group);
  const Index K = shape.K, row = shape.row_codes(), units = shape.units(), tokens = kDigits * M;
  check(M >= 0 && std::ssize(x) == M * K && std::ssize(out.codes) == tokens * row &&
            std::ssize(out.scales) == tokens && std::ssize(out.zero_points) == tokens &&
            std::ssize(out.sums) >= (shape.needs_sums() ? tokens * units : 0),
        "split_rows", "x has ", x.size(), " values, the codes ", out.codes.size(), " with ",
        out.scales.size(), " scales; wanted [", M, ", ", K, "] and [", tokens, ", ", row, "]");
  const int offset = shape.code_offset();
  const auto flip = static_cast<std::uint8_t>(kCodeOffset - offset);  // signed codes: 128 off again
  // A row without padding is split in one go.
  const bool whole = row == K;
  const Index runs = whole ? 1 : units, run = whole ? K : shape.unit();
  const Index padded = whole ? K : shape.padded_unit();
  const Index step = std::max<Index>(1, kChunk / K);
  parallel_for(quotient_up(M, step), [&](Index task) {
    for (Index t = task * step; t < std::min(M, (task + 1) * step); ++t) {
      const float* const in = x.data() + t * K;
      const auto largest = std::bit_cast<float>(largest_magnitude(in, K));
      const bool broken = !std::isfinite(largest);
      const int e = broken ? 0 : exponent_of(largest);
      std::uint8_t* const codes = out.codes.data() + kDigits * t * row;
      for (Index d = 0; d < kDigits; ++d) {
        const auto token = static_cast<std::size_t>(kDigits * t + d);
        out.scales[token] = broken ? std::numeric_limits<float>::quiet_NaN()
                                   : std::ldexp(1.0f, e + static_cast<int>(8 * (2 - d)));
        out.zero_points[token] = static_cast<std::uint8_t>(offset);
      }
      if (broken) std::ranges::fill_n(codes, kDigits * row, static_cast<std::uint8_t>(offset));
      const float inverse = std::ldexp(1.0f, -e);
      for (Index u = 0; !broken && u < runs; ++u) {
        std::uint8_t* const at = codes + u * padded;
        split(at, at + row, at + 2 * row, in + u * run, run, inverse, flip);
        for (Index d = 0; d < kDigits; ++d)
          std::fill_n(at + d * row + run, padded - run, std::uint8_t{0});
      }
      if (!shape.needs_sums()) continue;
      for (Index d = 0; d < kDigits; ++d)
        add_units(out.sums.data() + (kDigits * t + d) * units, codes + d * row, units, shape.unit(),
                  shape.padded_unit(), flip, flip);
    }
  });
}

void join_rows(std::span<float> y, std::span<const float> products, std::span<const float> bias,
               Index M, Index N) {
  check(std::ssize(y) == M * N && std::ssize(products) == kDigits * M * N &&
            (bias.empty() || std::ssize(bias) == N),
        "join_rows", "y has ", y.size(), " values, the products ", products.size(), ", the bias ",
        bias.size(), "; wanted [", M, ", ", N, "], three times that, and ", N, " or none");
  const Index step = std::max<Index>(1, kChunk / std::max<Index>(1, N));
  parallel_for(quotient_up(M, step), [&](Index task) {
    for (Index t = task * step; t < std::min(M, (task + 1) * step); ++t)
      join(y.data() + t * N, products.data() + kDigits * t * N,
           bias.empty() ? nullptr : bias.data(), N);
  });
}

}  // namespace notch::quant
