// Linear layers on integers whose weights have fewer than 8 bits: the integer contract of
// integer_linear.h, with codes that stay in `bits` bits in memory and are unpacked in registers.
//
// Layout. A panel is 16 output channels. 32 inputs of a panel are a block: eight vectors of 64
// codes, four consecutive inputs of one channel being adjacent as the dot-product instructions want
// them, and a block of b bits takes b vectors of memory. The codes u = (q - qmin) / step >= 0 are cut into
// planes of 4, 2 and 1 bits, as b has them, the lowest bits in the widest plane:
//   4 bits: vector j is nibble j mod 2 of vector j / 2 of the plane     (4 vectors)
//   2 bits: vector j is pair j mod 4 of vector j / 4                    (2 vectors)
//   1 bit:  vector j is bit j                                           (1 vector)
// A unit (what shares a scale) is filled up to whole blocks with u = 0, and so are channels beyond
// N. Behind the blocks of a unit come its 16 scales as they are stored in the file, and its 16 zero
// points: a panel is one run of memory, read in order. (Scales in a table of their own, a second
// run, cost a third of the speed.)
//
// Arithmetic. Activations are signed codes here (IntegerShape::code_offset), weights unsigned ones:
// with c = qmin - zw,  Σ (x - zx)(q - zw) = step (Σ x u - zx Σ u) + c Σ (x - zx), where the last sum
// is one number per token and unit. Sums that wrap around on the way do no harm: the result fits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/kernels/integer_linear.h"
#include "quant/kernels/packed.h"

namespace notch::quant {

/// Where a matrix lies; shape.bits is 1 … 7.
struct NarrowWeights {
  IntegerShape shape{};
  int qmin = 0;
  int step = 1;  ///< of codes; 2 has no zero points
  StoredScale scale = StoredScale::f32;
  std::uint8_t* memory = nullptr;  ///< bytes(), aligned to 64

  std::int64_t scale_bytes() const { return scale == StoredScale::f32 ? 4 : 2; }
  std::int64_t unit_codes() const { return shape.padded_unit() * 2 * shape.bits; }  ///< in bytes
  std::int64_t unit_bytes() const {
    return unit_codes() + 16 * (scale_bytes() + (shape.zero_points ? 1 : 0));
  }
  std::int64_t panel_bytes() const { return (shape.units() * unit_bytes() + 63) / 64 * 64; }
  std::int64_t bytes() const { return shape.panels() * panel_bytes(); }
};

/// Packs panel `panel`: rows [16 · panel, …) of codes [rows, K], scales [rows · units] as they are
/// stored, zero points [rows · units] or none. Fewer than 16 rows only in the last panel. Serial.
void pack_narrow_panel(const NarrowWeights& w, std::int64_t panel,
                       std::span<const std::int8_t> codes, std::span<const std::uint8_t> scales,
                       std::span<const std::int8_t> zero_points);

/// out [K] = (q - z) · scale of one row, bit for bit quant/kernels/round.h's dequantization.
void dequantize_narrow_row(std::span<float> out, const NarrowWeights& w, std::int64_t row);

/// out [M, N] by the contract; bias [N], or empty for none. x as quantize_rows makes it for
/// w.shape; its sums are used up. Parallel, no allocation. The second form forces a kernel, which
/// must be available (amx: there is none, avx512_vnni runs).
void narrow_linear(std::span<float> out, const ActivationCodes& x, const NarrowWeights& w,
                   std::span<const float> bias, std::int64_t M);
void narrow_linear(std::span<float> out, const ActivationCodes& x, const NarrowWeights& w,
                   std::span<const float> bias, std::int64_t M, IntegerKernel kernel);

}  // namespace notch::quant
