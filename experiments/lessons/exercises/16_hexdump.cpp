// Exercise 16. Read a packed tensor.
//
//   notch lesson check 16                 judges this file
//   notch lesson check 16 mine.cpp        judges a copy of it
//
// A code q of `bits` bits is stored as q + qmax, qmax = 2^(bits - 1) - 1 (4 bits: 0 … 14 for
// -7 … 7). The stored numbers of a row stand one behind the other, least significant bit first: the
// first code begins at bit 0 (the lowest) of the row's first byte, and what does not fit goes on at
// bit 0 of the next. Every row begins a new byte. Each row has one scale of 16 bits, low byte first:
// 1 sign, 5 exponent and 10 mantissa bits, (1 + m/1024) · 2^(e - 15). Replace every BLANK.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Bytes;

/// For 0 < e < 31; the other floats of 16 bits do not occur here.
double f16(std::uint8_t low, std::uint8_t high) {
  const int word = low + 256 * high;
  BLANK("the lowest 10 bits of word are m, the next 5 are e, the last is the sign");
}

/// q · scale of every code, row-major.
std::vector<double> weights(const Bytes& codes, const Bytes& scales, std::size_t rows,
                            std::size_t cols, int bits) {
  const std::size_t width = static_cast<std::size_t>(bits), row_bytes = (cols * width + 7) / 8;
  const int qmax = (1 << (bits - 1)) - 1;
  std::vector<double> w;
  for (std::size_t r = 0; r < rows; ++r) {
    const double scale = f16(scales[2 * r], scales[2 * r + 1]);
    for (std::size_t c = 0; c < cols; ++c) {
      int stored = 0;
      BLANK("bit k of stored is bit c · width + k of the row; bit n is in the row's byte n / 8");
      w.push_back((stored - qmax) * scale);
    }
  }
  return w;
}

}  // namespace

EXERCISE(judge_hexdump, f16, weights)
