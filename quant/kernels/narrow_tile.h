// The body of narrow_linear, compiled by each variant's file for its target: one text, so that the
// variants cannot drift apart. Before the include that file defines
//   NOTCH_ISA, NOTCH_ISA_FUNCTION    the target attribute, with and without always_inline
//   Codes                            64 bytes as a vector of 16-bit elements (for the shifts)
//   Sums, Reals                      16 int32, 16 floats
//   load(Codes&, p)
//   add_products(Sums& acc, const Codes& u, const std::int8_t* x)
//                                    acc[o] += Σ_j u[4 o + j] · x[j], j < 4; u < 128
//   prefetch(p)
//   kMostTokens                      tokens that share an unpacked block
//   NOTCH_HAS_HALVES, load_halves(Reals&, p)    16 halves as floats, where an instruction does it
// Vectors are the compiler's vector extension: sums wrap as unsigned ones do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/base/index.h"
#include "quant/kernels/narrow_isa.h"

namespace notch::quant {
namespace {

constexpr Index kChannels = IntegerShape::kPanel;
constexpr Index kBlockInputs = IntegerShape::kBlock;
constexpr Index kAhead = 1024;  // bytes of weights; without, decoding took a fifth longer

template <class Vector, class Element>
NOTCH_ISA void load16(Vector& to, const Element* from) {
  std::memcpy(&to, from, sizeof to);
}

/// Vector j of a block, shifted and masked out of its planes.
template <int kBits, int j>
NOTCH_ISA void unpack(Codes& u, const std::uint8_t* block) {
  constexpr int kPairs = kBits & 4, kBit = kBits & 6;  // where these planes' bits belong
  const auto part = [](Codes& v, auto shift, unsigned mask) {
    if constexpr (shift() > 0) v = v >> shift();
    if constexpr (shift() < 0) v = v << -shift();
    v = v & static_cast<std::uint16_t>(mask * 0x0101u);
  };
  const std::uint8_t* plane = block;
  Codes v;
  if constexpr (kBits & 4) {
    load(u, plane + j / 2 * 64);
    part(u, std::integral_constant<int, j % 2 * 4>{}, 0x0f);
    plane += 4 * 64;
  } else {
    u = Codes{};
  }
  if constexpr (kBits & 2) {
    load(v, plane + j / 4 * 64);
    part(v, std::integral_constant<int, j % 4 * 2 - kPairs>{}, 3u << kPairs);
    u = u | v;
    plane += 2 * 64;
  }
  if constexpr (kBits & 1) {
    load(v, plane);
    part(v, std::integral_constant<int, j - kBit>{}, 1u << kBit);
    u = u | v;
  }
}

/// 16 scales as floats, exactly.
NOTCH_ISA void load_scales(Reals& s, const std::uint8_t* from, StoredScale type) {
  if (type == StoredScale::f32) return load16(s, reinterpret_cast<const float*>(from));
#ifdef NOTCH_HAS_HALVES
  if (type == StoredScale::f16) return load_halves(s, from);
#endif
  typedef std::uint16_t Halves __attribute__((vector_size(32)));
  typedef std::uint32_t Words __attribute__((vector_size(64)));
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  Words w = __builtin_convertvector(halves, Words);
  if (type == StoredScale::bf16) {
    w = w << 16;
    std::memcpy(&s, &w, sizeof s);
    return;
  }
  // Moved to a float's place, the exponent of a half is 112 too small.
  const Words sign = (w & 0x8000u) << 16;
  w = (w & 0x7fffu) << 13;
  std::memcpy(&s, &w, sizeof s);
  s = s * 0x1p112f;
  std::memcpy(&w, &s, sizeof s);
  w = w | sign;
  std::memcpy(&s, &w, sizeof s);
}

template <int kBits, int R, bool kShifted, int j>
NOTCH_ISA void add_vector(Sums (&acc)[R], Sums& codes_sum, const std::uint8_t* block,
                          const std::int8_t* x, Index stride) {
  Codes u;
  unpack<kBits, j>(u, block);
  for (int r = 0; r < R; ++r) add_products(acc[r], u, x + r * stride + 4 * j);
  if constexpr (kShifted) {
    constexpr std::int8_t kOnes[4] = {1, 1, 1, 1};
    add_products(codes_sum, u, kOnes);
  }
}

/// The products of one block. Few tokens have two sums each: a chain would wait for itself.
template <int kBits, int R, bool kShifted>
NOTCH_ISA void add_block(Sums (&acc)[R], Sums (&odd)[R], Sums& codes_sum, const std::uint8_t* block,
                         const std::int8_t* x, Index stride) {
  Sums(&second)[R] = R <= 4 ? odd : acc;
  add_vector<kBits, R, kShifted, 0>(acc, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 1>(second, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 2>(acc, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 3>(second, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 4>(acc, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 5>(second, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 6>(acc, codes_sum, block, x, stride);
  add_vector<kBits, R, kShifted, 7>(second, codes_sum, block, x, stride);
}

/// R tokens times one panel. kShifted: some token has a zero point.
template <int kBits, int R, bool kShifted>
NOTCH_ISA_FUNCTION void narrow_tile(const NarrowProduct& p, Index row, Index panel) {
  const NarrowWeights& w = p.w;
  const IntegerShape& s = w.shape;
  const Index units = s.units(), blocks = s.padded_unit() / kBlockInputs, stride = s.row_codes();
  const bool groups = s.group > 0;
  const std::uint8_t* block = w.memory + panel * w.panel_bytes();
  const Index scale_bytes = kChannels * w.scale_bytes();
  const Index table_bytes = w.unit_bytes() - w.unit_codes();
  const std::int8_t* x = p.codes + row * stride;
  Reals sum[R] = {};
  for (Index unit = 0; unit < units; ++unit, block += table_bytes) {
    Sums acc[R], odd[R], codes_sum = {};
    for (int r = 0; r < R; ++r) {
      acc[r] = Sums{} + static_cast<std::uint32_t>(p.sums[(row + r) * units + unit]);
      odd[r] = Sums{};
    }
    if (s.zero_points) {
      typedef std::int8_t Zeros __attribute__((vector_size(16)));
      Zeros z;
      std::memcpy(&z, block + w.unit_codes() + scale_bytes, sizeof z);
      const Sums below = static_cast<std::uint32_t>(w.qmin) - __builtin_convertvector(z, Sums);
      for (int r = 0; r < R; ++r) acc[r] = acc[r] * below;
    }
    for (Index b = 0; b < blocks; ++b, block += kBits * 64, x += kBlockInputs) {
      if constexpr (R <= 8)
        for (int i = 0; i < kBits; ++i) prefetch(block + kAhead + 64 * i);
      add_block<kBits, R, kShifted>(acc, odd, codes_sum, block, x, stride);
    }
    Reals factor;
    load_scales(factor, block, w.scale);
    for (int r = 0; r < R; ++r) {
      Sums exact = acc[r];
      if (R <= 4) exact += odd[r];
      if constexpr (kShifted)
        exact -= codes_sum * static_cast<std::uint32_t>(std::int32_t{p.zeros[row + r]});
      if (w.step == 2)  // what was not a product has been counted once too often
        exact = exact + exact - static_cast<std::uint32_t>(p.sums[(row + r) * units + unit]);
      typedef std::int32_t Signed __attribute__((vector_size(64)));
      const Reals term = __builtin_convertvector((Signed)exact, Reals) * factor;
      sum[r] = groups ? sum[r] + term : term;
    }
  }
  const Index first = panel * kChannels, width = std::min(kChannels, s.N - first);
  for (int r = 0; r < R; ++r) {
    float* const out = p.out + (row + r) * s.N + first;
    Reals y = sum[r] * p.scales[row + r];
    if (width == kChannels) {
      if (p.bias) {
        Reals bias;
        load16(bias, p.bias + first);
        y = y + bias;
      }
      std::memcpy(out, &y, sizeof y);
    } else {
      for (Index i = 0; i < width; ++i) out[i] = p.bias ? y[i] + p.bias[first + i] : y[i];
    }
  }
}

template <int kBits, int R>
void tokens_of(const NarrowProduct& p, Index row, Index first, Index last) {
  bool shifted = false;
  for (int r = 0; r < R; ++r) shifted |= p.zeros[row + r] != 0;
  const auto tile = shifted ? narrow_tile<kBits, R, true> : narrow_tile<kBits, R, false>;
  for (Index panel = first; panel < last; ++panel) tile(p, row, panel);
}

template <int kBits>
void narrow_rows(const NarrowProduct& p, Index row, Index rows, Index first, Index last) {
  using Tokens = void (*)(const NarrowProduct& p, Index row, Index first, Index last);
  constexpr Tokens kFew[] = {tokens_of<kBits, 1>, tokens_of<kBits, 2>, tokens_of<kBits, 3>,
                             tokens_of<kBits, 4>};
  while (rows > 0) {
    const Index step = rows >= kMostTokens ? kMostTokens : std::min<Index>(rows, 4);
    if (step == kMostTokens)
      tokens_of<kBits, kMostTokens>(p, row, first, last);
    else
      kFew[step - 1](p, row, first, last);
    row += step;
    rows -= step;
  }
}

void narrow_block(const NarrowProduct& p, Index row, Index rows, Index first, Index last) {
  constexpr NarrowBlock kByBits[] = {narrow_rows<1>, narrow_rows<2>, narrow_rows<3>, narrow_rows<4>,
                                     narrow_rows<5>, narrow_rows<6>, narrow_rows<7>};
  kByBits[p.w.shape.bits - 1](p, row, rows, first, last);
}

}  // namespace
}  // namespace notch::quant
