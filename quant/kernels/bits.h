// One row of codes as a string of bits, least significant first: the byte layout of quant/pack.h.
//
// Serial. `bits` is 2..8, a row has ceil(codes·bits / 8) bytes.
#pragma once

#include <cstdint>
#include <span>

namespace notch::quant {

/// Writes q - qmin, 0 <= q - qmin < 2^bits, for each code; unused bits of the last byte are 0.
void pack_row(std::span<std::uint8_t> bytes, std::span<const std::int8_t> codes, int bits,
              int qmin);

/// Reads them back. Returns whether the unused bits of the last byte are 0.
bool unpack_row(std::span<std::int8_t> codes, std::span<const std::uint8_t> bytes, int bits,
                int qmin);

}  // namespace notch::quant
