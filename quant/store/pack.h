// Packed storage of codes, scales and zero points: what is written to disk and read back.
//
// Codes: row-major [rows, cols]; each code as the unsigned q - qmin in `bits` bits, least
// significant bits first, filling bytes from bit 0 upwards; every row starts on a byte, unused bits
// of its last byte are 0. (6 bits: four codes in three bytes; 3 bits: eight in three.) Odd codes are
// stored as (q - qmin) / 2, the codes of ternary as base-3 digits, five to a byte.
// Zero points: the same layout with one row per matrix row and one column per unit of the row (per
// tensor: one row of one). Scales: little-endian f32, f16, bf16 or e8m0 in the order of units; nested
// and bilevel ones as quant/numbers/nested_scales.h has them. Of the learned grid levels stand in their place, and
// a word of eight columns takes `bits` bytes, lowest first. Codebooks: f16 [codebooks, vectors, 8]. Readers
// check everything: a code outside the grid (15 on the narrow 4-bit grid), a padding bit set and a
// wrong length are Fault::input naming the tensor.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "quant/numbers/qtensor.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// codes [rows, cols] on the spec's grid -> rows · packed_bytes(spec, cols) bytes. Parallel.
std::vector<std::uint8_t> pack_codes(std::span<const std::int8_t> codes, std::int64_t rows,
                                     std::int64_t cols, const Spec& spec);
/// The reverse. Fault::input naming `where`, row and column. Parallel.
std::vector<std::int8_t> unpack_codes(std::span<const std::uint8_t> bytes, std::int64_t rows,
                                      std::int64_t cols, const Spec& spec, std::string_view where);

/// The stored parts; their sizes are storage_bytes(spec, rows, cols).
struct PackedTensor {
  Spec spec{};
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes{};
  std::vector<std::uint8_t> scales{};
  std::vector<std::uint8_t> zero_points{};  ///< empty for the symmetric grids
  std::vector<std::uint8_t> codebooks{};    ///< of the whole matrix; empty unless they are additive
};

/// Exact both ways: unpack(pack(q)) == q. (In the double build scales are rounded to the type.)
PackedTensor pack(const QTensor& q);
/// Validates as quant/numbers/qtensor.h's validate does; Fault::input naming `where`.
QTensor unpack(const PackedTensor& packed, std::string_view where);

/// Order-0 entropy of the codes in bits per weight: -Σ p log2 p over the code values that occur.
/// What an ideal entropy coder without context would need; 0 for no codes.
double code_entropy(std::span<const std::int8_t> codes);

}  // namespace notch::quant
