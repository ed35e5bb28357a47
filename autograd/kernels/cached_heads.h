// Attention of one query against stored keys and values of one head: the loops of decoding.
//
// Layout, chosen so that no loop folds a vector: keys lie in blocks of 16 positions,
// [block][HS][16], so that sixteen scores are built side by side; values lie row by row,
// [position][padded HS], HS padded to a multiple of 16 with zeros. Elements are real, half or int8;
// scales are the caller's (times q for keys per channel, times p for values per position). Sums run
// in `real`, four chains, in an order that depends on the sizes only. Use inside NOTCH_VECTOR
// functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/base/index.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/register_tile.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {

inline constexpr std::int64_t kKeyBlock = 16;
inline constexpr std::int64_t padded_head(std::int64_t HS) { return round_up(HS, kKeyBlock); }

typedef real HeadLanes __attribute__((vector_size(kKeyBlock * sizeof(real))));

NOTCH_INLINE void load_lanes(HeadLanes& v, const real* p) { std::memcpy(&v, p, sizeof v); }
NOTCH_INLINE void load_lanes(HeadLanes& v, const std::int8_t* p) {
  typedef std::int8_t Bytes __attribute__((vector_size(kKeyBlock)));
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  v = __builtin_convertvector(bytes, HeadLanes);
}
/// Finite halves, exactly: moved to a float's place their exponent is 112 too small. (Sign
/// extension leaves the sign in bit 31 after the shift, and copies of it to be cleared.)
NOTCH_INLINE void load_lanes(HeadLanes& v, const std::uint16_t* p) {
  typedef std::int16_t Halves __attribute__((vector_size(2 * kKeyBlock)));
  typedef std::int32_t Words __attribute__((vector_size(4 * kKeyBlock)));
  typedef float Floats __attribute__((vector_size(4 * kKeyBlock)));
  Halves halves;
  std::memcpy(&halves, p, sizeof halves);
  Words w = __builtin_convertvector(halves, Words);
  w = (w << 13) & static_cast<std::int32_t>(0x8fffffffu);
  Floats f;
  std::memcpy(&f, &w, sizeof f);
  f *= 0x1p112f;
  v = __builtin_convertvector(f, HeadLanes);
}

/// p[l] = Σ q[c] · block[c][l] for the 16 positions of a block [HS][16].
template <class T>
NOTCH_INLINE void key_scores(real* p, const real* q, const T* block, std::int64_t stride,
                             std::int64_t HS) {
  constexpr std::int64_t kChains = 4;
  HeadLanes sum[kChains] = {};
  std::int64_t c = 0;
  for (; c + kChains <= HS; c += kChains)
    for (std::int64_t i = 0; i < kChains; ++i) {
      HeadLanes k;
      load_lanes(k, block + (c + i) * stride);
      sum[i] += k * q[c + i];
    }
  for (; c < HS; ++c) {
    HeadLanes k;
    load_lanes(k, block + c * stride);
    sum[0] += k * q[c];
  }
  const HeadLanes all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  std::memcpy(p, &all, sizeof all);
}

/// kBlocks blocks of 16 channels of add_values side by side, so that rows are read once and whole.
template <int kBlocks, class T>
NOTCH_INLINE void add_value_blocks(real* out, const real* p, const T* rows, std::int64_t n,
                                   std::int64_t padded) {
  constexpr std::int64_t kChains = 4;
  HeadLanes sum[kBlocks][kChains] = {};
  for (int b = 0; b < kBlocks; ++b) load_lanes(sum[b][0], out + b * kKeyBlock);
  const auto add = [&](std::int64_t j, std::int64_t chain) __attribute__((always_inline)) {
    for (int b = 0; b < kBlocks; ++b) {
      HeadLanes v;
      load_lanes(v, rows + j * padded + b * kKeyBlock);
      sum[b][chain] += v * p[j];
    }
  };
  std::int64_t j = 0;
  for (; j + kChains <= n; j += kChains)
    for (std::int64_t i = 0; i < kChains; ++i) add(j + i, i);
  for (; j < n; ++j) add(j, 0);
  for (int b = 0; b < kBlocks; ++b) {
    const HeadLanes all = (sum[b][0] + sum[b][1]) + (sum[b][2] + sum[b][3]);
    std::memcpy(out + b * kKeyBlock, &all, sizeof all);
  }
}

/// out [padded HS] += Σ p[j] · rows[j] over n rows.
template <class T>
NOTCH_INLINE void add_values(real* out, const real* p, const T* rows, std::int64_t n,
                             std::int64_t padded) {
  constexpr std::int64_t kWide = 4 * kKeyBlock;
  std::int64_t c = 0;
  for (; c + kWide <= padded; c += kWide) add_value_blocks<4>(out + c, p, rows + c, n, padded);
  for (; c < padded; c += kKeyBlock) add_value_blocks<1>(out + c, p, rows + c, n, padded);
}

/// p = softmax of n scores, in place.
NOTCH_INLINE void softmax_scores(real* p, std::int64_t n) {
  const real m = lane_max(p, n);
  const double sum = lane_sum(n, [=](std::int64_t j) { return p[j] = vmath::exp(p[j] - m); });
  const real factor = static_cast<real>(1 / sum);
  for (std::int64_t j = 0; j < n; ++j) p[j] *= factor;
}

/// One query of one head over `seen` positions of keys and values of one element type. p holds
/// round_up(seen, 16) + 2 padded HS elements.
template <class T>
NOTCH_INLINE void attend_head(real* out, const real* q, const T* keys, const T* values,
                              std::int64_t seen, std::int64_t HS, real* p) {
  const std::int64_t padded = padded_head(HS);
  real* scaled = p + round_up(seen, kKeyBlock);
  real* sum = scaled + padded;
  const real scale = static_cast<real>(1 / std::sqrt(static_cast<double>(HS)));
  for (std::int64_t c = 0; c < HS; ++c) scaled[c] = q[c] * scale;
  for (std::int64_t j = 0; j < seen; j += kKeyBlock)
    key_scores(p + j, scaled, keys + j * HS, kKeyBlock, HS);
  softmax_scores(p, seen);
  std::fill_n(sum, padded, real{0});
  add_values(sum, p, values, seen, padded);
  std::copy_n(sum, HS, out);
}

}  // namespace notch::kernels
