// Spec: how a matrix is put on integers; the one place that decides grids, units and sizes.
//
// "INT4" names several different grids, and a table that mixes them measures the convention instead
// of the method. So the grid has a name, its row of quant/numbers/format.h alone turns it into numbers,
// and `name_of(spec)` is printed in every report.
//
// Matrices are row-major [rows, cols] = [out, in] (a token table: [vocabulary, channels]). Weights
// that share a scale are a *unit*. Units are contiguous and numbered in storage order:
//   tensor   one unit of rows·cols weights
//   channel  one unit per row
//   group    cols / group_size units per row
// so unit u covers weights [u·unit_size, (u+1)·unit_size) whatever the granularity.
//
// quant/numbers/ is what a quantized matrix is: specs, formats, ranges, scales, QTensor.
// May include: quant/kernels, autograd.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "autograd/base/real.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

enum class Granularity : std::uint8_t { tensor, channel, group };
constexpr auto names(Granularity) {
  return std::array<std::string_view, 3>{"tensor", "channel", "group"};
}

enum class GridKind : std::uint8_t {
  narrow,  ///< [-(2^(b-1)-1), 2^(b-1)-1], scale = max|w| / qmax; symmetric about 0
  full,    ///< [-2^(b-1), 2^(b-1)-1], scale = max|w| / qmax; the lowest code is for clipped values
  signed_max,  ///< [-2^(b-1), 2^(b-1)-1], scale = (value of largest magnitude) / qmin; may be
               ///< negative
  asymmetric,  ///< [-2^(b-1), 2^(b-1)-1] with a zero point; the range always includes 0
  ternary,     ///< {-1, 0, 1}, stored five to a byte (1.6 bits); the levels of narrow at 2 bits,
               ///< but the range includes the outer cells: ±1.5
  seq,  ///< the odd numbers ±1, ±3, …, ±(2^b-1): 2^b evenly spread levels and no zero, 1 to 4 bits;
        ///< 1 bit is the sign. Stretched elastic quantization, ParetoQ (arXiv:2502.02631), eq. 5-6
  nf4,  ///< 4-bit NormalFloat: sixteen quantiles of the normal distribution, 0 among them, scale =
        ///< max|w|; published with groups of 64. QLoRA, Dettmers et al. 2023 (arXiv:2305.14314)
  fp4,  ///< E2M1: 0, ±0.5, ±1, ±1.5, ±2, ±3, ±4, ±6; with scales e8m0 in groups of 32 it is MXFP4.
        ///< OCP Microscaling Formats 1.0, 2023
  e4m3,  ///< FP8 of 4 exponent bits, up to 448; E4M3 has a NaN and no infinity (Micikevicius et al.
         ///< 2022, arXiv:2209.05433). A code is the byte without its sign, and the sign
  e5m2,  ///< FP8 of 5 exponent bits, up to 57344
  learned,  ///< 2^b levels of each unit's own, stored where others have its scale; of 2 to 4 bits.
            ///< SqueezeLLM, Kim et al. 2023 (arXiv:2306.07629)
  e8p,  ///< 2 bits: eight columns share a word, one of 65,536 points of a lattice. QuIP#, Tseng et
        ///< al. 2024 (arXiv:2402.04396)
  additive,  ///< eight columns share a word of indices into the matrix's codebooks, whose vectors
             ///< are added. AQLM, Egiazarian et al. 2024 (arXiv:2401.06118)
};

/// The type in which scales are stored; they are rounded to it before they are used.
enum class ScaleType : std::uint8_t {
  f32,
  f16,
  bf16,
  f16_7,  ///< halves of seven significant bits: times a zero point of four bits they are halves still,
          ///< and GGUF's Q4_1 holds scale and minimum
  /// Powers of two, one byte each (OCP Microscaling Formats 1.0): s becomes the 2^k with |s/2^k - 1|
  /// <= 1/3. Of E2M1 with absmax ranges that is the standard's k = floor(log2 max|w|) - 2.
  e8m0,
  /// Double quantization: eight bits each, with the largest of each 256 and the mean of all in f32;
  /// chosen after the codes, of scales that were f32 till then (quant/numbers/nested_scales.h).
  nested,
  /// SpQR's scales of scales: three bits each, with a step and a minimum in f16 for those of 16 rows
  /// (the same file). A sweep of GPTQ chooses them before its codes, other methods as nested ones.
  bilevel,
};
constexpr auto names(ScaleType) {
  return std::array<std::string_view, 7>{"f32",  "f16",    "bf16",   "f16_7",
                                         "e8m0", "nested", "bilevel"};
}
inline constexpr std::int64_t kNestedBlock = 256;  ///< nested scales that share their own scale
std::int64_t nested_blocks(std::int64_t units);
inline constexpr std::int64_t kBilevelRows = 16;  ///< rows whose bilevel scales share theirs
inline constexpr int kBilevelBits = 3;
/// Whether scales are stored with scales of their own.
constexpr bool has_scales_of_scales(ScaleType type) {
  return type == ScaleType::nested || type == ScaleType::bilevel;
}

struct Spec {
  int bits = 8;  ///< 2 .. 8 on most grids
  GridKind grid = GridKind::narrow;
  Granularity granularity = Granularity::channel;
  std::int64_t group_size = 0;  ///< weights per scale within a row; only for Granularity::group
  ScaleType scale = ScaleType::f32;
  bool operator==(const Spec&) const = default;
};

/// The codes of a spec. 4 bits: narrow [-7, 7], seq -15, -13, …, 15, every other integer grid
/// [-8, 7].
Grid grid_of(const Spec& spec);

bool has_zero_points(const Spec& spec);

/// The spec under which a matrix is held to be multiplied: kernels read scales as f32, f16 or bf16,
/// and bf16 holds every power of two of e8m0.
Spec held_spec(Spec spec);

/// `spec` with other bits; a grid that does not have so many (ternary, seq) gives way to narrow.
Spec with_bits(Spec spec, int bits);

/// Usage error naming `where` when the grid does not have so many bits, or a group size is given
/// without Granularity::group, the group size does not divide `in_features` (the matrix's cols), or
/// columns that share a word are not all in one group.
void validate(const Spec& spec, std::int64_t in_features, std::string_view where);

/// Weights per scale, and number of scales, of a [rows, cols] matrix.
std::int64_t unit_size(const Spec& spec, std::int64_t rows, std::int64_t cols);
std::int64_t unit_count(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// Numbers that a unit stores: its scale, or the 2^bits levels of the learned grid, ascending.
std::int64_t scales_per_unit(const Spec& spec);
/// Numbers in the codebooks of a matrix: 0 unless they are additive (quant/numbers/additive_codes.h). From
/// kManyWeights on a codebook has 256 vectors, below 16.
inline constexpr std::int64_t kManyWeights = 131072;
std::int64_t codebook_numbers(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// Bytes of `n` packed codes: ceil(n·bits / 8), ternary ceil(n / 5).
std::int64_t packed_bytes(const Spec& spec, std::int64_t n);

/// The stored size of a quantized matrix in bytes (layout: quant/store/pack.h), exactly.
struct StorageBytes {
  std::int64_t codes = 0;        ///< rows · packed_bytes(cols)
  std::int64_t scales = 0;       ///< units · 4, 2 or 1; nested: and 4 for each 256 and 4; bilevel:
                                 ///< packed like zero points, and 4 for each 16 rows of a column;
                                 ///< learned levels: of each level
  std::int64_t codebooks = 0;    ///< two for each number
  std::int64_t zero_points = 0;  ///< packed like codes, one row per matrix row; 0 if symmetric
  std::int64_t total() const { return codes + scales + codebooks + zero_points; }
};
StorageBytes storage_bytes(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// 8 · total bytes / (rows · cols): bits per weight with scales and zero points.
/// Without padding, on grids of plain integers and with plain scales, this is
///   bits + (scale bits + zero-point bits) / unit_size.
double bits_per_weight(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// `s` as it is stored: rounded half to even to the type, then kept usable: what would round to
/// zero becomes the smallest subnormal of the type with the sign of `s`, what would overflow the
/// largest finite number. So a stored scale is never 0 and never infinite. NaN stays NaN. There is
/// no other floor: an absolute one (1e-8, 1/31) would change small matrices. In the double build
/// the scale is a number of `real` whatever the type: rounding would hide the derivatives that
/// build exists to check.
real round_scale(real s, ScaleType type);

/// The same of a level, which may be 0.
real round_level(real level, ScaleType type);

/// The largest finite number of a scale type, as `real`.
real max_scale(ScaleType type);

/// Bytes of a stored scale: 4 for f32, 2 for f16, bf16 and f16_7, 1 for e8m0 and nested. Not of
/// bilevel ones.
std::int64_t scale_bytes(ScaleType type);

std::string_view name_of(GridKind grid);  ///< "narrow", "full", …
/// The grid with its codes: "narrow [-7,7]", "seq ±1,3" (the odd numbers from -3 to 3); a codebook
/// has its name alone.
std::string grid_text(const Spec& spec);
/// A spec in words: "int4 narrow [-7,7] group 32 f16", "int8 narrow [-127,127] channel f32"; a
/// codebook: "4-bit NAME group 64 f32".
std::string name_of(const Spec& spec);

/// The grid of that name; usage error naming `where`, with a suggestion, for any other text. (Of enums with
/// words: parse_name, quant/numbers/names.h.)
GridKind parse_grid(std::string_view text, std::string_view where);

/// {"bits":4,"grid":"narrow","granularity":"group","group_size":32,"scale":"f16"}; group_size only
/// with groups. Reading checks keys and values (Fault::input naming `where`).
Json to_json(const Spec& spec);
Spec spec_from_json(const Json& json, std::string_view where);

/// Scales as they are stored, and back; not of those with scales of their own.
std::vector<std::uint8_t> pack_scales(std::span<const real> scales, ScaleType type);
std::vector<real> unpack_scales(std::span<const std::uint8_t> bytes, ScaleType type);

}  // namespace notch::quant
