// GGUF's blocks of 32 weights, and the values of blocks of any type.
//
// Type    bytes  layout (d, m IEEE half)                          value
// Q8_0    34     d, int8 q[32]                                    d·q
// Q4_0    18     d, 16 bytes: q[j] + 8 low, q[j + 16] + 8 high    d·q
// Q4_1    20     d, m, 16 bytes, without the 8                    d·q + m
// Q5_0    22     d, u32 of fifth bits, 16 bytes, 16 for the 8     d·q
// Q5_1    24     d, m, u32, 16 bytes                              d·q + m
// IQ4_NL  18     d, 16 bytes of places in kIq4NlLevels            d·q, q one of these levels
// Those of 256 weights are in quant/store/gguf_superblocks.h, what llama.cpp would write for weights
// in gguf_encode.h, a quantized matrix's own codes in gguf_exact.h.
// Source: ggml-common.h and ggml-quants.c of llama.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "nn/gguf.h"

namespace notch::quant {

inline constexpr std::size_t kSmallBlock = 32;

/// A block as numbers: value = d·q + m.
struct SmallBlock {
  float d = 0, m = 0;
  std::array<int, kSmallBlock> q{};
};

/// Of IQ4_NL: finer about 0, which is none of them (kvalues_iq4nl).
inline constexpr std::array<int, 16> kIq4NlLevels{-127, -104, -83, -65, -49, -35, -22, -10,
                                                  1,    13,   25,  38,  53,  69,  89,  113};

/// The bytes of a block of a type above, appended; q fits (of IQ4_NL it is a level, else it throws) and
/// d and m are rounded to halves.
void pack_small(const nn::GgufType& type, const SmallBlock& block, std::vector<std::byte>& out);

/// The values of whole blocks, in float as llama.cpp's dequantize_row. Any type of nn::gguf_type.
void decode_blocks(const nn::GgufType& type, std::span<const std::byte> blocks,
                   std::span<real> out);

}  // namespace notch::quant
