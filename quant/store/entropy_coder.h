// Entropy coder: codes in about as many bits as their distribution needs.
//
// Trained codes are far from uniform: 4-bit ones carry some 3.3 bits. This is a static order-0
// range variant of asymmetric numeral systems: the frequency of every code is written first, then
// one number that grows with each symbol by the factor 1/p.
// Source: Duda 2013 (arXiv:1311.2540); 32-bit state with output byte by byte as in Giesen's
// rans_byte (https://github.com/rygorous/ryg_rans, public domain; the code here is our own).
// Deviation: frequencies are stored as logarithms, in 1/1, 1/2 or 1/4 of an octave, as differences
// from the code below: a table of 255 frequencies takes 55 to 100 bytes instead of 450, and what
// its rounding costs is counted when the step is chosen.
//
// Stream, for n > 0 codes (none: no bytes):
//   byte 0     bits 0-1 steps per octave 1, 2, 4 as 0, 1, 2;  bits 2-4 order k;  bits 5-7 zero
//   table      for each code from qmin to qmax: its level minus the one before it (0 at the start),
//              zigzag, exponential Golomb of order k, least significant bit first; zeros up to a
//              whole byte.  Level 0: the code does not occur; level l: weight 2^((l - 1) / steps)
//   state      4 bytes, little-endian: where decoding starts
//   bytes      in the order in which decoding takes them
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "quant/numbers/spec.h"

namespace notch::quant {

/// The stream of `codes`, all inside `grid`; of all tables that the format can write, one that
/// makes it short.
std::vector<std::uint8_t> encode_codes(std::span<const std::int8_t> codes, const Grid& grid);

/// The reverse: `count` codes. Fault::input naming `where` for a stream that no encoder wrote: a
/// table that does not end or holds no code, a stream that is too short or too long, or a state
/// that does not come back to where encoding began (which finds almost every changed byte).
std::vector<std::int8_t> decode_codes(std::span<const std::uint8_t> stream, std::int64_t count,
                                      const Grid& grid, std::string_view where);

/// Bytes of a stream that are not its symbols': head, table and state.
std::int64_t table_bytes(std::span<const std::uint8_t> stream, const Grid& grid,
                         std::string_view where);

}  // namespace notch::quant
