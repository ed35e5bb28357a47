// Linear layers on integers: y = x Wᵀ + b with 8-bit activations and 8-bit weights, exact in int32.
//
// The integer contract. Activations are unsigned codes with a scale and a zero point per token,
// weights signed codes with a scale (and a zero point, or none) per output channel or per group of
// consecutive inputs. With acc = Σ (qx - zx[t]) (qw - zw), summed exactly, and fl() one rounding to
// float:
//   per channel   y = fl(fl(fl(float(acc) · sw[o]) · sx[t]) + b[o])
//   per group g   a = fl(a + fl(float(acc_g) · sw[o, g])), g ascending from a = 0
//                 y = fl(fl(a · sx[t]) + b[o])
// (without a bias the last addition is left out). Nothing is contracted, so every kernel (portable,
// AVX2, AVX-VNNI, AVX-512 VNNI, AMX) gives the same bits for any shape and any number of threads.
//
// Signed activation codes are stored with 128 added, because the dot-product instructions want
// unsigned times signed: symmetric codes -127..127 are 1..255 with zero point 128.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "autograd/base/index.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

inline constexpr int kCodeOffset = 128;  ///< stored activation code - signed code

/// A weight matrix [N, K] = [out, in] whose rows have one scale, or one per `group` inputs.
struct IntegerShape {
  std::int64_t N = 0;
  std::int64_t K = 0;
  std::int64_t group = 0;    ///< a divisor of K; 0 for one scale per row
  bool zero_points = false;  ///< weights have zero points
  int bits = 8;              ///< of a weight; fewer than 8: quant/kernels/narrow_linear.h

  /// Inputs per scale, and scales per row.
  std::int64_t unit() const { return group > 0 ? group : K; }
  std::int64_t units() const { return K / unit(); }

  /// A unit is multiplied in `steps` pieces of `step` codes, a multiple of 4 up to 64; what that
  /// adds to the unit is filled with zeros. Nothing is added where 64 divides the unit, or the unit
  /// is 4, 8, … 60.
  std::int64_t steps() const { return (unit() + 63) / 64; }
  std::int64_t step() const { return round_up(quotient_up(unit(), steps()), 4); }
  std::int64_t padded_unit() const {
    return bits == 8 ? steps() * step() : round_up(unit(), kBlock);
  }
  std::int64_t row_codes() const { return units() * padded_unit(); }  ///< codes of one token

  /// What an activation code is stored with, see the head of this file; narrow weights want signed
  /// activations.
  int code_offset() const { return bits == 8 ? 128 : 0; }
  /// Whether the kernels need Σ codes of every token and unit.
  bool needs_sums() const { return zero_points || bits < 8; }

  /// Weights are stored in panels of 16 output channels, narrow ones in blocks of 32 inputs.
  static constexpr std::int64_t kPanel = 16, kBlock = 32;
  std::int64_t panels() const { return quotient_up(N, kPanel); }
};

/// Usage error naming `where` unless N, K >= 1, group divides K, and no sum can leave int32:
/// K <= 65536, with weight zero points unit() <= 32768 (255 · 255 per product instead of 255 ·
/// 128).
void validate(const IntegerShape& shape, const char* where);

/// Codes of M tokens. Row t of `codes` has shape.row_codes() entries: unit u starts at u ·
/// padded_unit().
struct ActivationCodes {
  std::span<std::uint8_t> codes{};        ///< [M, row_codes()]
  std::span<float> scales{};              ///< [M]
  std::span<std::uint8_t> zero_points{};  ///< [M]
  std::span<std::int32_t> sums{};         ///< [M, units()], Σ codes; only where shape.needs_sums()
};

/// Weights as the kernels read them, in memory of the caller (an arena, or a model's own block).
///   panels       [panels][row_codes / 4][16][4]  four consecutive inputs of a channel are adjacent
///   scales       [panels][units][16]
///   sums         [panels][units][16]             Σ (qw - zw) over the unit
///   zero_points  [panels][units][16]             or null
/// Channels beyond N are zeros.
struct PackedWeights {
  IntegerShape shape{};
  std::int8_t* panels = nullptr;
  float* scales = nullptr;
  std::int32_t* sums = nullptr;
  std::int32_t* zero_points = nullptr;
};

/// Bytes that lay_out needs; `memory` must have that many and start at a multiple of 64.
std::int64_t packed_bytes(const IntegerShape& shape);
PackedWeights lay_out(const IntegerShape& shape, std::span<std::byte> memory);

/// Packs codes [N, K] with scales [N · units] and zero points [N · units] (empty without). Parallel
/// over panels; pack_panel packs channels [16 · panel, 16 · panel + 16) alone.
void pack(const PackedWeights& packed, std::span<const std::int8_t> codes,
          std::span<const float> scales, std::span<const std::int8_t> zero_points);
void pack_panel(const PackedWeights& packed, std::int64_t panel, std::span<const std::int8_t> codes,
                std::span<const float> scales, std::span<const std::int8_t> zero_points);

/// Rounds weights w [N, K] straight into a panel, with the arithmetic of round.h, the given scales
/// and zero points [N · units] and a grid of every integer; `dequantized` [N, K], unless empty, gets fake_quant's
/// result for the panel's channels. Serial: training calls it per panel, right after choosing the
/// panel's scales, while the weights are in cache.
void quantize_panel(const PackedWeights& packed, std::int64_t panel, std::span<float> dequantized,
                    std::span<const float> w, std::span<const float> scales,
                    std::span<const std::int8_t> zero_points, const Grid& grid);

/// Instruction sets that integer_linear can use, slowest first.
enum class IntegerKernel : std::uint8_t { portable, avx2, avx_vnni, avx512_vnni, amx };
constexpr auto names(IntegerKernel) {
  return std::array<std::string_view, 5>{"portable", "avx2", "avx_vnni", "avx512_vnni", "amx"};
}
/// Whether this processor and operating system have it.
bool available(IntegerKernel kernel);

/// The fastest available one.
IntegerKernel best_integer_kernel();

/// out [M, N] by the contract above; bias [N], or empty for none. Usage errors for sizes that do
/// not match. Parallel, no allocation. The second form forces a kernel, which must be available.
void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M);
void integer_linear(std::span<float> out, const ActivationCodes& x, const PackedWeights& w,
                    std::span<const float> bias, std::int64_t M, IntegerKernel kernel);

}  // namespace notch::quant
