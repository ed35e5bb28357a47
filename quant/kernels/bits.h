// One row of codes as a string of bits, least significant first: the byte layout of quant/store/pack.h.
//
// Serial. `bits` is 1..8, a row has ceil(codes·bits / 8) bytes; trits: ceil(codes / 5).
#pragma once

#include <cstdint>
#include <span>

#include "quant/kernels/grid.h"

namespace notch::quant {

/// Writes (q - qmin) / step < 2^bits of each code; unused bits of the last byte are 0.
void pack_row(std::span<std::uint8_t> bytes, std::span<const std::int8_t> codes, int bits,
              const Grid& grid);

/// Reads them back. Returns whether the unused bits of the last byte are 0.
bool unpack_row(std::span<std::int8_t> codes, std::span<const std::uint8_t> bytes, int bits,
                const Grid& grid);

/// Codes -1, 0, 1 in base 3, five to a byte: Σ (q_i + 1)·3^i; what is missing in the last byte
/// counts as digits 0. Unpacking gives a code of 2 for bytes above 242, and returns whether the
/// unused digits are 0.
void pack_trits(std::span<std::uint8_t> bytes, std::span<const std::int8_t> codes);
bool unpack_trits(std::span<std::int8_t> codes, std::span<const std::uint8_t> bytes);

}  // namespace notch::quant
