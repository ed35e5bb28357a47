#include "quant/kernels/integer_gradients.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/quantize_rows.h"

namespace notch::quant {
namespace {

constexpr Index kChunk = 16384;  // elements per task
constexpr Index kPanel = IntegerShape::kPanel;
constexpr float kLargest = 127;

float scale_of(float largest) { return largest == 0 ? 1 : std::max(largest / kLargest, FLT_MIN); }

/// 32 random bits of a counter: two multiplications and three shifts ("lowbias32", found by
/// C. Wellons' search for the least biased such function), which vectorise.
__attribute__((always_inline)) inline std::uint32_t random_bits(std::uint32_t counter) {
  counter ^= counter >> 16;
  counter *= 0x7feb352du;
  counter ^= counter >> 15;
  counter *= 0x846ca68bu;
  counter ^= counter >> 16;
  return counter;
}

/// Stored codes. Truncation is the floor of what 128 has made positive, where floats are multiples of
/// 2^-16: so 0 stays 0.
NOTCH_CLONES void round_row(std::uint8_t* codes, const float* x, Index n, float inverse,
                            std::uint32_t key) {
  for (Index i = 0; i < n; ++i) {
    const std::uint32_t bits = random_bits(key + static_cast<std::uint32_t>(i));
    const float u = static_cast<float>(static_cast<std::int32_t>(bits >> 16)) * 0x1p-16f;
    const float v = (x[i] * inverse + static_cast<float>(kCodeOffset)) + u;
    codes[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(v < 255.0f ? v : 255.0f));
  }
}

/// out [cols, N] = columns [first, first + cols) of w [N, K], transposed.
NOTCH_CLONES void gather_columns(float* out, const float* w, Index N, Index K, Index first,
                                 Index cols) {
  constexpr Index kRows = 16;  // a strip of them is written while its lines are in cache
  for (Index n = 0; n < N; n += kRows) {
    const Index rows = std::min(kRows, N - n);
    for (Index c = 0; c < cols; ++c)
      for (Index r = 0; r < rows; ++r) out[c * N + n + r] = w[(n + r) * K + first + c];
  }
}

}  // namespace

Index transpose_scratch(Index N, Index K) { return round_up(K, kPanel) * N; }

void transpose_weights(const PackedWeights& out, std::span<const float> w,
                       std::span<float> scratch) {
  const Index N = out.shape.K, K = out.shape.N;
  check(out.shape.group == 0 && std::ssize(w) == N * K &&
            std::ssize(scratch) >= transpose_scratch(N, K),
        "transpose_weights", w.size(), " weights and ", scratch.size(), " floats for [", N, ", ", K,
        "]");
  parallel_for(out.shape.panels(), [&](Index panel) {
    const Index first = panel * kPanel, cols = std::min(kPanel, K - first);
    float* const block = scratch.data() + first * N;
    gather_columns(block, w.data(), N, K, first, cols);
    float scales[kPanel];
    for (Index c = 0; c < cols; ++c)
      scales[c] = scale_of(std::bit_cast<float>(largest_magnitude(block + c * N, N)));
    // A panel is a matrix of its own.
    PackedWeights piece = out;
    piece.shape.N = cols;
    piece.panels += first * out.shape.row_codes();
    piece.scales += first;
    piece.sums += first;
    const auto n = static_cast<std::size_t>(cols);
    quantize_panel(piece, 0, {}, {block, n * static_cast<std::size_t>(N)}, {scales, n}, {},
                   {.qmin = -127, .qmax = 127});
  });
}

void round_gradients(const ActivationCodes& out, std::span<const float> dy, Index M,
                     const IntegerShape& shape, std::uint64_t key) {
  check(shape.K >= 1 && shape.group >= 0, "round_gradients", "rows of ", shape.K,
        " inputs in groups of ", shape.group);
  const Index N = shape.K, row = shape.row_codes();
  check(shape.group == 0 && std::ssize(dy) == M * N && std::ssize(out.codes) == M * row &&
            std::ssize(out.scales) == M && std::ssize(out.zero_points) == M,
        "round_gradients", "dy has ", dy.size(), " values, the codes ", out.codes.size(),
        "; wanted [", M, ", ", N, "] and [", M, ", ", row, "]");
  const Index step = std::max<Index>(1, kChunk / N);
  parallel_for(quotient_up(M, step), [&](Index task) {
    for (Index t = task * step; t < std::min(M, (task + 1) * step); ++t) {
      const float* const in = dy.data() + t * N;
      const auto largest = std::bit_cast<float>(largest_magnitude(in, N));
      const bool broken = !std::isfinite(largest);
      const float scale = broken ? std::numeric_limits<float>::quiet_NaN() : scale_of(largest);
      const auto at = static_cast<std::size_t>(t);
      out.scales[at] = scale;
      out.zero_points[at] = static_cast<std::uint8_t>(kCodeOffset);
      std::uint8_t* const codes = out.codes.data() + t * row;
      const std::uint64_t of_row = mix64(key ^ mix64(static_cast<std::uint64_t>(t)));
      if (broken)
        std::fill_n(codes, N, static_cast<std::uint8_t>(kCodeOffset));
      else
        round_row(codes, in, N, 1 / scale, static_cast<std::uint32_t>(of_row));
      std::fill_n(codes + N, row - N, std::uint8_t{0});
    }
  });
}

}  // namespace notch::quant
