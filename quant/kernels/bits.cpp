#include "quant/kernels/bits.h"

#include <algorithm>

#include "autograd/base/extents.h"

namespace notch::quant {
namespace {

// Eight codes of b bits fill b bytes: the unit of both loops. It passes through a 64-bit word.
constexpr std::size_t kCodes = 8;
constexpr std::size_t kTrits = 5;  // 3^5 = 243 <= 256

std::uint64_t load_bytes(const std::uint8_t* bytes, std::size_t n) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < n; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
  return word;
}

void require_bits(std::string_view where, std::span<const std::uint8_t> bytes,
                  std::span<const std::int8_t> codes, int bits) {
  check(bits >= 1 && bits <= 8, where, "codes of ", bits, " bits");
  require_extent(where, (std::ssize(codes) * bits + 7) / 8, bytes);
}

}  // namespace

void pack_row(std::span<std::uint8_t> bytes, std::span<const std::int8_t> codes, int bits,
              const Grid& grid) {
  require_bits("pack", bytes, codes, bits);
  const int qmin = grid.qmin, step = grid.step;
  const std::size_t width = static_cast<std::size_t>(bits);
  for (std::size_t first = 0, byte = 0; first < codes.size(); first += kCodes, byte += width) {
    const std::size_t n = std::min(kCodes, codes.size() - first);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < n; ++i) {
      word |= static_cast<std::uint64_t>((codes[first + i] - qmin) / step) << (width * i);
    }
    const std::size_t end = std::min(byte + width, bytes.size());
    for (std::size_t b = byte; b < end; ++b, word >>= 8) {
      bytes[b] = static_cast<std::uint8_t>(word & 255u);
    }
  }
}

bool unpack_row(std::span<std::int8_t> codes, std::span<const std::uint8_t> bytes, int bits,
                const Grid& grid) {
  require_bits("unpack", bytes, codes, bits);
  const int qmin = grid.qmin, step = grid.step;
  const std::size_t width = static_cast<std::size_t>(bits);
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  std::uint64_t word = 0;
  for (std::size_t first = 0, byte = 0; first < codes.size(); first += kCodes, byte += width) {
    const std::size_t n = std::min(kCodes, codes.size() - first);
    word = load_bytes(bytes.data() + byte, std::min(width, bytes.size() - byte));
    for (std::size_t i = 0; i < n; ++i) {
      codes[first + i] =
          static_cast<std::int8_t>(static_cast<int>((word >> (width * i)) & mask) * step + qmin);
    }
    word = n * width < 64 ? word >> (n * width) : 0;
  }
  return word == 0;
}

void pack_trits(std::span<std::uint8_t> bytes, std::span<const std::int8_t> codes) {
  require_extent("pack", (std::ssize(codes) + 4) / 5, bytes);
  for (std::size_t first = 0, byte = 0; first < codes.size(); first += kTrits, ++byte) {
    int value = 0;
    for (std::size_t i = std::min(first + kTrits, codes.size()); i-- > first;) {
      value = 3 * value + codes[i] + 1;
    }
    bytes[byte] = static_cast<std::uint8_t>(value);
  }
}

bool unpack_trits(std::span<std::int8_t> codes, std::span<const std::uint8_t> bytes) {
  require_extent("unpack", (std::ssize(codes) + 4) / 5, bytes);
  int value = 0;
  for (std::size_t first = 0, byte = 0; first < codes.size(); first += kTrits, ++byte) {
    value = bytes[byte];
    const std::size_t end = std::min(first + kTrits, codes.size());
    for (std::size_t i = first; i < end; ++i) {
      const bool last_digit = i + 1 == first + kTrits;  // of a full byte: takes what is left
      codes[i] = static_cast<std::int8_t>((last_digit ? value : value % 3) - 1);
      value = last_digit ? 0 : value / 3;
    }
  }
  return value == 0;
}

}  // namespace notch::quant
