// GGUF's blocks of 256 weights: codes in planes of bits, scales of 16 or 32 weights that are small
// integers themselves, one half (or two) over all.
//
//   value = d · scale · q - dmin · minimum
// Type    bytes  q          scale (weights)   minimum   where
// Q2_K    84     0 … 3      0 … 15 (16)       0 … 15    sc[16], qs[64], d, dmin
// Q3_K    110    -4 … 3     -32 … 31 (16)     -         hmask[32], qs[64], sc[12], d
// Q4_K    144    0 … 15     0 … 63 (32)       0 … 63    d, dmin, sc[12], qs[128]
// Q5_K    176    0 … 31     0 … 63 (32)       0 … 63    d, dmin, sc[12], qh[32], qs[128]
// Q6_K    210    -32 … 31   -128 … 127 (16)   -         ql[128], qh[64], sc[16], d
// TQ2_0   66     -1 … 2     1                 -         qs[64], d
// TQ1_0   54     -1 … 1     1                 -         qs[48], qh[4], d
// A byte of TQ1_0 has five codes, one of qh four and the code -1: base 3, the first weighs most, the number n below
// 243 stored as ceil(n · 256 / 243).
// Source: ggml-common.h and ggml-quants.c of llama.cpp, the dequantize_row functions.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "nn/gguf.h"

namespace notch::quant {

inline constexpr std::size_t kSuperBlock = 256;

struct SuperBlock {
  float d = 0, dmin = 0;
  std::array<int, 16> scale{}, minimum{};  ///< of 16 weights each
  std::array<int, kSuperBlock> q{};
};

/// What a type's fields can hold; both ends belong to the range.
struct SuperRange {
  int q_low = 0, q_high = 0;
  int scale_low = 1, scale_high = 1;
  int minimum_high = 0;                ///< 0: the type has no minimum
  std::size_t weights_per_scale = 16;  ///< 256: one for the whole block, the half itself
};

/// nullptr for a type that is not in the table.
const SuperRange* super_range(const nn::GgufType& type);

/// One block of a type of the table.
SuperBlock unpack_super(const nn::GgufType& type, std::span<const std::byte> bytes);

/// The bytes of a block, appended. Fields lie inside super_range(type), d and dmin are halves.
void pack_super(const nn::GgufType& type, const SuperBlock& block, std::vector<std::byte>& out);

/// The weights, in float: (d · scale) · q - dmin · minimum, as dequantize_row does.
void decode_super(const SuperBlock& block, std::span<float> out);

}  // namespace notch::quant
