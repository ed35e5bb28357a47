// GGUF's blocks of weights: what llama.cpp computes with, and how its encoders choose it.
//
// Type    block        layout (d, m IEEE half)                     value
// Q8_0    32 weights   d, int8 q[32]                               d·q
// Q4_0    32           d, 16 bytes: q[j] low, q[j + 16] high       d·(q - 8)
// Q4_1    32           d, m, 16 bytes as Q4_0                      d·q + m
// Q5_0    32           d, u32 of fifth bits, 16 bytes as Q4_0      d·(q - 16)
// Q5_1    32           d, m, u32, 16 bytes                         d·q + m
// Q6_K    256          ql[128], qh[64], int8 sc[16], d             d·sc[i / 16]·(q - 32)
// Source: ggml-quants.c of llama.cpp (layouts, and the rules of the first five encoders; their bytes
// were not compared with llama-quantize's). Comparisons between methods never use these encoders
// (quant/numbers/qtensor.h has the project's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "nn/gguf.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// Whether `encode_blocks` has llama.cpp's encoder of this type.
bool has_encoder(const nn::GgufType& type);

/// `row` (whole blocks) by llama.cpp's rules, appended to `out`: F32, F16 and BF16 rounded
/// half to even; Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 with the f32 reciprocal of the unrounded d.
void encode_blocks(const nn::GgufType& type, std::span<const real> row,
                   std::vector<std::byte>& out);

/// The values of whole blocks, in float as llama.cpp's dequantize_row. Usage error for a type that is
/// not in the table above nor F32, F16, BF16.
void decode_blocks(const nn::GgufType& type, std::span<const std::byte> blocks,
                   std::span<real> out);

/// The type that holds every code and scale of `q` exactly, the smallest there is: Q4_0 for codes in
/// -8 … 7, Q5_0 in -16 … 15, Q6_K in -32 … 31 where 256 weights share a scale, Q8_0 for the others. A
/// usage error naming `where` says why there is none: scales that are no halves, zero points, a
/// codebook, units that a block straddles.
const nn::GgufType& exact_type(const QTensor& q, std::string_view where);

/// Row `row` of q in blocks of a type that holds it: its own codes, never rounded again.
void exact_blocks(const nn::GgufType& type, const QTensor& q, std::int64_t row,
                  std::vector<std::byte>& out);

}  // namespace notch::quant
