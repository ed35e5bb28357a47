#include "quant/kernels/input_gradients.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

constexpr Index kChunk = 16384;   // elements per task
constexpr Index kLanes = 32;      // partial sums whatever the vector width
constexpr Index kLaneTerms = 64;  // terms that a lane adds in `real` before its sum goes to double
constexpr Index kMaxChunks = 64;  // partial results held at a time

NOTCH_CLONES void dequantize_row(float* values, const std::uint8_t* codes, Index n, int zero,
                                 float scale) {
  for (Index i = 0; i < n; ++i) {
    values[i] = static_cast<float>(static_cast<int>(codes[i]) - zero) * scale;
  }
}

NOTCH_CLONES void mask_chunk(real* dx, const real* x, Index n, real lowest, real highest,
                             real inverse) {
  for (Index i = 0; i < n; ++i) {
    const real v = x[i] * inverse;
    dx[i] = ((v >= lowest) & (v <= highest)) ? dx[i] : real{0};
  }
}

struct Ends {
  real lowest = 0, highest = 0;  // of v - z = x/s
  real slope_low = 0, slope_high = 0;
  real inverse = 1;
  real passed = 1;  // what is left of a gradient outside
  real inside = 1;  // what the rounding residual counts
};

/// Both sums of [0, n) and the masked gradient. `n` is at most kLanes · kLaneTerms.
NOTCH_CLONES void backward_piece(real* dx, const real* x, Index n, const Ends& e, double* sums) {
  constexpr real kNoFraction = sizeof(real) == 4 ? real(0x1.8p23) : real(0x1.8p52);
  real scale_lanes[kLanes] = {}, offset_lanes[kLanes] = {};
  const auto term = [&](Index i, Index l) {
    const real v = x[i] * e.inverse, d = dx[i];
    const bool below = v<e.lowest, above = v> e.highest;
    const real residual = ((v + kNoFraction) - kNoFraction) - v;
    const real slope = below ? e.slope_low : above ? e.slope_high : residual * e.inside;
    const real outside = (below | above) ? d : real{0};
    scale_lanes[l] += d * slope;
    offset_lanes[l] += outside;
    dx[i] = (below | above) ? d * e.passed : d;
  };
  const Index whole = n / kLanes * kLanes;
  for (Index i = 0; i < whole; i += kLanes) {
    for (Index l = 0; l < kLanes; ++l) term(i + l, l);
  }
  for (Index i = whole; i < n; ++i) term(i, i - whole);
  for (Index l = 0; l < kLanes; ++l) {
    sums[0] += static_cast<double>(scale_lanes[l]);
    sums[1] += static_cast<double>(offset_lanes[l]);
  }
}

Ends ends_of(const InputRange& r, bool mask) {
  Ends e{.lowest = static_cast<real>(r.qmin - r.zero_point),
         .highest = static_cast<real>(r.qmax - r.zero_point),
         .inverse = 1 / r.scale,
         .passed = mask ? real{0} : real{1}};
  e.slope_low = e.lowest - r.offset_steps;
  e.slope_high = e.highest - r.offset_steps;
  e.lowest *= kInside;
  e.highest *= kInside;
  if (r.clipping_only) e.inside = 0;
  if (r.low_end_held) {
    e.slope_low = 0;
    e.slope_high = static_cast<real>(r.qmax - r.qmin);
  }
  return e;
}

}  // namespace

void dequantize_rows(std::span<float> values, const ActivationCodes& codes, std::int64_t M,
                     const IntegerShape& shape) {
  check(shape.K >= 1 && shape.group >= 0, "dequantize_rows", "rows of ", shape.K,
        " inputs in groups of ", shape.group);
  const Index K = shape.K, unit = shape.unit(), padded = shape.padded_unit();
  check(std::ssize(values) == M * K && std::ssize(codes.codes) == M * shape.row_codes(),
        "dequantize_rows", values.size(), " values and ", codes.codes.size(), " codes for [", M,
        ", ", K, "]");
  const bool plain = unit == padded;  // no padding: the row is one piece
  const Index step = std::max<Index>(1, kChunk / K);
  parallel_for(quotient_up(M, step), [&](Index task) {
    for (Index t = task * step; t < std::min(M, (task + 1) * step); ++t) {
      const std::uint8_t* in = codes.codes.data() + t * shape.row_codes();
      float* out = values.data() + t * K;
      const auto row = static_cast<std::size_t>(t);
      const int zero = codes.zero_points[row];
      const float scale = codes.scales[row];
      if (plain) {
        dequantize_row(out, in, K, zero, scale);
        continue;
      }
      for (Index u = 0; u < shape.units(); ++u) {
        dequantize_row(out + u * unit, in + u * padded, unit, zero, scale);
      }
    }
  });
}

RangeSums input_backward(std::span<real> dx, std::span<const real> x, const InputRange& range,
                         bool mask) {
  require_extent("input_backward", std::ssize(x), dx);
  constexpr Index kPiece = kLanes * kLaneTerms;
  const Ends ends = ends_of(range, mask);
  const Index n = std::ssize(x), chunks = quotient_up(n, kChunk);
  RangeSums total;
  for (Index first = 0; first < chunks; first += kMaxChunks) {
    std::array<std::array<double, 2>, kMaxChunks> sums{};
    const Index count = std::min(kMaxChunks, chunks - first);
    parallel_for(count, [&](Index c) {
      const Index begin = (first + c) * kChunk, end = std::min(n, begin + kChunk);
      for (Index i = begin; i < end; i += kPiece) {
        backward_piece(dx.data() + i, x.data() + i, std::min(kPiece, end - i), ends,
                       sums[static_cast<std::size_t>(c)].data());
      }
    });
    for (Index c = 0; c < count; ++c) {
      total.scale += sums[static_cast<std::size_t>(c)][0];
      total.offset += sums[static_cast<std::size_t>(c)][1];
    }
  }
  return total;
}

void mask_input_gradient(std::span<real> dx, std::span<const real> x, const InputRange& range) {
  const Ends ends = ends_of(range, true);
  const Index n = std::ssize(x);
  parallel_for(quotient_up(n, kChunk), [&](Index c) {
    const Index begin = c * kChunk;
    mask_chunk(dx.data() + begin, x.data() + begin, std::min(kChunk, n - begin), ends.lowest,
               ends.highest, ends.inverse);
  });
}

}  // namespace notch::quant
