#include "quant/store/gguf_superblocks.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/half.h"

namespace notch::quant {
namespace {

/// Bits of all codes: chunks of `width` bytes, in which run r of `width` codes has bits
/// [r·bits, (r + 1)·bits) of each byte.
struct Plane {
  std::size_t at = 0, width = 32,
              bits = 0;  // bits 0: there is none, and of `low`, digits of base 3

  std::size_t byte(std::size_t i) const { return at + i / (width * 8 / bits) * width + i % width; }
  std::size_t shift(std::size_t i) const { return i % (width * 8 / bits) / width * bits; }
  unsigned mask() const { return (1u << bits) - 1; }
};

enum class ScaleForm : std::uint8_t { none, nibbles, six_bits, six_and_six, bytes };

struct Layout {
  std::uint32_t id = 0;
  SuperRange range{};
  Plane low{}, high{};
  ScaleForm scales{};
  std::size_t scales_at = 0, d_at = 0, dmin_at = 0;  // dmin_at 0 beside d_at > 0: no minimum
};

constexpr std::array kLayouts{
    Layout{10, {0, 3, 0, 15, 15, 16}, {16, 32, 2}, {}, ScaleForm::nibbles, 0, 80, 82},
    Layout{11, {-4, 3, -32, 31, 0, 16}, {32, 32, 2}, {0, 32, 1}, ScaleForm::six_bits, 96, 108, 0},
    Layout{12, {0, 15, 0, 63, 63, 32}, {16, 32, 4}, {}, ScaleForm::six_and_six, 4, 0, 2},
    Layout{13, {0, 31, 0, 63, 63, 32}, {48, 32, 4}, {16, 32, 1}, ScaleForm::six_and_six, 4, 0, 2},
    Layout{
        14, {-32, 31, -128, 127, 0, 16}, {0, 64, 4}, {128, 32, 2}, ScaleForm::bytes, 192, 208, 0},
    Layout{34, {-1, 1, 1, 1, 0, 256}, {}, {}, ScaleForm::none, 0, 52, 0},
    Layout{35, {-1, 2, 1, 1, 0, 256}, {0, 32, 2}, {}, ScaleForm::none, 0, 64, 0},
};

/// Where TQ1_0 has weight i: digit n of a byte. Runs of 32 bytes, of 16, and of 4 with four digits.
struct Digit {
  std::size_t byte, n;
};
constexpr Digit digit_of(std::size_t i) {
  if (i < 160) return {i % 32, i / 32};
  if (i < 240) return {32 + i % 16, (i - 160) / 16};
  return {48 + i % 4, (i - 240) / 4};
}
constexpr std::array<unsigned, 5> kPowersOf3{1, 3, 9, 27, 81};

const Layout* layout_of(const nn::GgufType& type) {
  const auto at = std::ranges::find(kLayouts, type.id, &Layout::id);
  return at == kLayouts.end() ? nullptr : &*at;
}

unsigned byte_at(std::span<const std::byte> bytes, std::size_t i) {
  return std::to_integer<unsigned>(bytes[i]);
}
float half_at(std::span<const std::byte> bytes, std::size_t at) {
  std::uint16_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return from_f16(word);
}
void put_half(std::span<std::byte> bytes, std::size_t at, float value) {
  const std::uint16_t word = to_f16(value);
  std::memcpy(bytes.data() + at, &word, sizeof word);
}
void add_bits(std::span<std::byte> bytes, std::size_t at, unsigned value, std::size_t shift) {
  bytes[at] |= static_cast<std::byte>(value << shift);
}

/// The places of Q4_K's j-th six bits of scale (first) and minimum: low bits, then the others.
struct SixAndSix {
  std::size_t low, low_shift, low_bits, high, high_shift;
};
std::array<SixAndSix, 2> places(std::size_t j) {
  if (j < 4) return {{{j, 0, 6, j, 6}, {j + 4, 0, 6, j + 4, 6}}};
  return {{{j + 4, 0, 4, j - 4, 6}, {j + 4, 4, 4, j, 6}}};
}

void read_scales(const Layout& l, std::span<const std::byte> bytes, SuperBlock& block) {
  const auto s = bytes.subspan(l.scales_at);
  for (std::size_t k = 0; k < 16; ++k) {
    switch (l.scales) {
      case ScaleForm::none:
        block.scale[k] = 1;
        break;
      case ScaleForm::nibbles:
        block.scale[k] = static_cast<int>(byte_at(s, k) & 15);
        block.minimum[k] = static_cast<int>(byte_at(s, k) >> 4);
        break;
      case ScaleForm::six_bits: {
        const unsigned low = byte_at(s, k % 8) >> (k < 8 ? 0 : 4) & 15;
        const unsigned high = byte_at(s, 8 + k % 4) >> (k / 4 * 2) & 3;
        block.scale[k] = static_cast<int>(low | high << 4) - 32;
        break;
      }
      case ScaleForm::six_and_six: {
        const auto value = [&](const SixAndSix& p) {
          unsigned v = byte_at(s, p.low) >> p.low_shift & ((1u << p.low_bits) - 1);
          if (p.low_bits < 6) v |= byte_at(s, p.high) >> p.high_shift << 4;
          return static_cast<int>(v);
        };
        const auto both = places(k / 2);
        block.scale[k] = value(both[0]);
        block.minimum[k] = value(both[1]);
        break;
      }
      case ScaleForm::bytes:
        block.scale[k] = static_cast<std::int8_t>(byte_at(s, k));
        break;
    }
  }
}

void write_scales(const Layout& l, const SuperBlock& block, std::span<std::byte> bytes) {
  const auto s = bytes.subspan(l.scales_at);
  for (std::size_t k = 0; k < 16; ++k) {
    const auto scale = static_cast<unsigned>(block.scale[k]);
    switch (l.scales) {
      case ScaleForm::none:
        break;
      case ScaleForm::nibbles:
        add_bits(s, k, scale | static_cast<unsigned>(block.minimum[k]) << 4, 0);
        break;
      case ScaleForm::six_bits:
        add_bits(s, k % 8, (scale + 32) & 15, k < 8 ? 0 : 4);
        add_bits(s, 8 + k % 4, (scale + 32) >> 4 & 3, k / 4 * 2);
        break;
      case ScaleForm::six_and_six: {
        if (k % 2 != 0) break;  // a scale is of 32 weights
        const auto both = places(k / 2);
        const std::array<unsigned, 2> values{scale, static_cast<unsigned>(block.minimum[k])};
        for (std::size_t i = 0; i < 2; ++i) {
          const SixAndSix& p = both[i];
          add_bits(s, p.low, values[i] & ((1u << p.low_bits) - 1), p.low_shift);
          if (p.low_bits < 6) add_bits(s, p.high, values[i] >> 4, p.high_shift);
        }
        break;
      }
      case ScaleForm::bytes:
        s[k] = static_cast<std::byte>(scale);
        break;
    }
  }
}

/// Digit n of byte b is floor(3·(b·3^n mod 256) / 256): the byte is a fraction of 256.
unsigned read_digit(std::span<const std::byte> bytes, Digit at) {
  return (byte_at(bytes, at.byte) * kPowersOf3[at.n] % 256 * 3) >> 8;
}

void write_digits(const SuperBlock& block, int lowest, std::span<std::byte> bytes) {
  std::array<unsigned, 52> numbers{};
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const Digit at = digit_of(i);
    numbers[at.byte] += static_cast<unsigned>(block.q[i] - lowest) * kPowersOf3[4 - at.n];
  }
  constexpr unsigned kNumbers = 243;
  for (std::size_t b = 0; b < numbers.size(); ++b)
    bytes[b] = static_cast<std::byte>((numbers[b] * 256 + kNumbers - 1) / kNumbers);
}

}  // namespace

const SuperRange* super_range(const nn::GgufType& type) {
  const Layout* l = layout_of(type);
  return l ? &l->range : nullptr;
}

SuperBlock unpack_super(const nn::GgufType& type, std::span<const std::byte> bytes) {
  check(std::ssize(bytes) == type.bytes, type.name, "a block has ", type.bytes, " bytes, not ",
        bytes.size());
  const Layout* l = layout_of(type);
  check(l != nullptr, type.name, "is no type of blocks of 256");
  SuperBlock block{.d = half_at(bytes, l->d_at)};
  if (l->range.minimum_high > 0) block.dmin = half_at(bytes, l->dmin_at);
  read_scales(*l, bytes, block);
  const auto part = [&](const Plane& p, std::size_t i) {
    return byte_at(bytes, p.byte(i)) >> p.shift(i) & p.mask();
  };
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    unsigned q = l->low.bits > 0 ? part(l->low, i) : read_digit(bytes, digit_of(i));
    if (l->high.bits > 0) q |= part(l->high, i) << l->low.bits;
    block.q[i] = static_cast<int>(q) + l->range.q_low;
  }
  return block;
}

void pack_super(const nn::GgufType& type, const SuperBlock& block, std::vector<std::byte>& out) {
  const Layout* l = layout_of(type);
  check(l != nullptr, type.name, "is no type of blocks of 256");
  const std::size_t begin = out.size();
  out.resize(begin + static_cast<std::size_t>(type.bytes));
  const auto bytes = std::span(out).subspan(begin);
  put_half(bytes, l->d_at, block.d);
  if (l->range.minimum_high > 0) put_half(bytes, l->dmin_at, block.dmin);
  write_scales(*l, block, bytes);
  if (l->low.bits == 0) return write_digits(block, l->range.q_low, bytes);
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const auto q = static_cast<unsigned>(block.q[i] - l->range.q_low);
    add_bits(bytes, l->low.byte(i), q & l->low.mask(), l->low.shift(i));
    if (l->high.bits > 0) {
      add_bits(bytes, l->high.byte(i), q >> l->low.bits & l->high.mask(), l->high.shift(i));
    }
  }
}

void decode_super(const SuperBlock& block, std::span<float> out) {
  require_extent("gguf", std::int64_t{kSuperBlock}, out);
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const float scale = block.d * static_cast<float>(block.scale[i / 16]);
    const float minimum = block.dmin * static_cast<float>(block.minimum[i / 16]);
    out[i] = scale * static_cast<float>(block.q[i]) - minimum;
  }
}

}  // namespace notch::quant
