// Weight-only integer inference: products of floats with packed codes that are unpacked in
// registers.
//
// Codes are repacked once at load into the layout that every kernel here reads. A row of K codes is
// dealt to 16 lanes like cards: code k goes to lane k mod 16, so that x is read as it lies and one
// vector instruction gives 16 neighbouring weights. A lane's codes, u = q - qmin in `bits` bits,
// are a string of 32-bit words, least significant bits first; word d of lane l is word 16 d + l of
// the row. (8 bits: signed bytes in the order of k.) What completes the last words is 0. A codebook's
// codes are in 4 bits, and its levels in a table of 16 floats.
//
// Numerics, the same bits in every variant (AVX-512, AVX2, portable):
//   Σ are the lanes of autograd/kernels/gemv.h and their fold, over fma(w[k], x[k], ·)
//   tensor, channel:  w[k] = float(q[k] - z)              y = fl(fl(Σ) · scale) + bias
//   groups:           w[k] = fl(float(q[k] - z) · scale)  y = Σ + bias
// where a codebook has its level in place of float(q[k] - z). Levels of a unit's own come with scales of 1.
// So in groups the result equals, bit for bit, gemv's on the dequantized weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "autograd/base/arithmetic.h"

namespace notch::quant {

enum class StoredScale : std::uint8_t { f32, f16, bf16 };

/// A repacked matrix [rows, cols]. `unit` columns share a scale and a zero point.
struct PackedRows {
  const std::uint8_t* codes = nullptr;  ///< repacked_row_bytes apart, aligned to 64
  const std::byte* scales = nullptr;    ///< [rows, cols / unit], as `scale` says
  const std::int8_t* zeros = nullptr;   ///< likewise; null: all 0
  const float* levels =
      nullptr;  ///< of a codebook, by q - qmin: [16], with 8 bits [256]; null: integers
  std::int64_t level_step =
      0;  ///< 16: every unit has its own levels, in the order of scales; 0: all the same
  StoredScale scale = StoredScale::f32;
  int bits = 8;
  int qmin = -127;
  std::int64_t rows = 0, cols = 0, unit = 0;
};

/// Bytes of one repacked row: a multiple of 64.
std::int64_t repacked_row_bytes(std::int64_t cols, int bits);

/// One row of codes q, qmin <= q < qmin + 2^bits, in the layout above.
void repack_row(std::span<std::uint8_t> out, std::span<const std::int8_t> codes, int bits,
                int qmin);

/// out [cols] = the weights of one row: level(q - z) · scale, bit for bit quant/kernels/round.h's.
void dequantize_row(std::span<float> out, const PackedRows& w, std::int64_t row,
                    Isa isa = notch::isa());

/// out[m · ld_out + n] = x [M, cols] · wᵀ + bias for n in [begin, end). Rows of x lie ld_x apart,
/// ld_x a multiple of 16 and at least cols; the elements after cols are 0. bias may be null, or
/// [rows]. Serial: the caller cuts the rows of w.
void packed_gemv(float* out, std::int64_t ld_out, const float* x, std::int64_t ld_x, std::int64_t M,
                 const PackedRows& w, const float* bias, std::int64_t begin, std::int64_t end,
                 Isa isa = notch::isa());

}  // namespace notch::quant
