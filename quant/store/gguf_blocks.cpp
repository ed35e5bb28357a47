#include "quant/store/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/half.h"

namespace notch::quant {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kSuper = 256;

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void put_half(std::vector<std::byte>& out, float v) { put(out, to_f16(v)); }

template <class T>
T get(std::span<const std::byte> bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
float get_half(std::span<const std::byte> bytes, std::size_t at) {
  return from_f16(get<std::uint16_t>(bytes, at));
}

using Codes = std::array<std::uint8_t, kBlock>;

/// Element j in the low four bits of byte j, j + 16 in the high ones; above them a word of fifth bits.
void put_codes(std::vector<std::byte>& out, const Codes& q, bool fifth) {
  if (fifth) {
    std::uint32_t high = 0;
    for (std::size_t j = 0; j < kBlock; ++j) high |= std::uint32_t{q[j]} >> 4 << j;
    put(out, high);
  }
  for (std::size_t j = 0; j < kBlock / 2; ++j)
    out.push_back(static_cast<std::byte>((q[j] & 15) | (q[j + kBlock / 2] & 15) << 4));
}

Codes get_codes(std::span<const std::byte> bytes, std::size_t at, bool fifth) {
  const auto high = fifth ? get<std::uint32_t>(bytes, at) : 0;
  if (fifth) at += 4;
  Codes q{};
  for (std::size_t j = 0; j < kBlock; ++j) {
    const auto byte = std::to_integer<unsigned>(bytes[at + j % (kBlock / 2)]);
    q[j] =
        static_cast<std::uint8_t>((j < kBlock / 2 ? byte & 15 : byte >> 4) | (high >> j & 1) << 4);
  }
  return q;
}

float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/// d·(q - 2^(bits-1)): d from the value of largest magnitude (the first on ties), which gets q = 0.
void encode_signed(std::span<const float> x, int bits, std::vector<std::byte>& out) {
  float extreme = 0;
  for (const float v : x)
    if (std::abs(v) > std::abs(extreme)) extreme = v;
  const int half = 1 << (bits - 1), top = 2 * half - 1;
  const float d = extreme / static_cast<float>(-half), id = reciprocal(d);
  put_half(out, d);
  Codes q{};
  for (std::size_t j = 0; j < kBlock; ++j) {
    const int code = static_cast<int>(x[j] * id + (static_cast<float>(half) + 0.5f));
    q[j] = static_cast<std::uint8_t>(std::min(top, code));
  }
  put_codes(out, q, bits == 5);
}

/// d·q + m, m the minimum.
void encode_offset(std::span<const float> x, int bits, std::vector<std::byte>& out) {
  const auto [low, high] = std::ranges::minmax(x);
  const int top = (1 << bits) - 1;
  const float d = (high - low) / static_cast<float>(top), id = reciprocal(d);
  put_half(out, d);
  put_half(out, low);
  Codes q{};
  for (std::size_t j = 0; j < kBlock; ++j) {
    const int code = static_cast<int>((x[j] - low) * id + 0.5f);
    q[j] = static_cast<std::uint8_t>(std::min(top, code));
  }
  put_codes(out, q, bits == 5);
}

void encode_q8(std::span<const float> x, std::vector<std::byte>& out) {
  float extent = 0;
  for (const float v : x) extent = std::max(extent, std::abs(v));
  const float d = extent / 127, id = reciprocal(d);
  put_half(out, d);
  for (const float v : x) put(out, static_cast<std::int8_t>(std::round(v * id)));
}

void encode_block(std::uint32_t type, std::span<const float> x, std::vector<std::byte>& out) {
  switch (type) {
    case 0:
      return put(out, x[0]);
    case 1:
      return put(out, to_f16(x[0]));
    case 30:
      return put(out, to_bf16(x[0]));
    case 2:
      return encode_signed(x, 4, out);
    case 3:
      return encode_offset(x, 4, out);
    case 6:
      return encode_signed(x, 5, out);
    case 7:
      return encode_offset(x, 5, out);
    default:
      return encode_q8(x, out);
  }
}

/// Where element i of a Q6_K block has its bits: ql byte and shift, qh byte and shift. A half of 128
/// is four runs of 32: low bits of ql's 64 bytes, then high ones; two bits of qh each.
struct Six {
  std::size_t low, low_shift, high, high_shift;
};
Six six_bits(std::size_t i) {
  const std::size_t half = i / 128, run = i / 32 % 4, l = i % 32;
  return {half * 64 + run % 2 * 32 + l, run / 2 * 4, half * 32 + l, run * 2};
}

void decode_q6(std::span<const std::byte> b, std::span<float> out) {
  const float d = get_half(b, 208);
  for (std::size_t i = 0; i < kSuper; ++i) {
    const Six at = six_bits(i);
    const unsigned low = std::to_integer<unsigned>(b[at.low]) >> at.low_shift & 15;
    const unsigned high = std::to_integer<unsigned>(b[128 + at.high]) >> at.high_shift & 3;
    const auto scale = static_cast<float>(get<std::int8_t>(b, 192 + i / 16));
    out[i] = d * scale * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
}

void decode_block(const nn::GgufType& type, std::span<const std::byte> b, std::span<float> out) {
  const auto codes = [&](std::size_t at, bool fifth, int offset, float d, float m) {
    const Codes q = get_codes(b, at, fifth);
    for (std::size_t j = 0; j < kBlock; ++j)
      out[j] = static_cast<float>(int{q[j]} - offset) * d + m;
  };
  switch (type.id) {
    case 0:
      out[0] = get<float>(b, 0);
      return;
    case 1:
      out[0] = get_half(b, 0);
      return;
    case 30:
      out[0] = from_bf16(get<std::uint16_t>(b, 0));
      return;
    case 2:
      return codes(2, false, 8, get_half(b, 0), 0);
    case 3:
      return codes(4, false, 0, get_half(b, 0), get_half(b, 2));
    case 6:
      return codes(2, true, 16, get_half(b, 0), 0);
    case 7:
      return codes(4, true, 0, get_half(b, 0), get_half(b, 2));
    case 8:
      for (std::size_t j = 0; j < kBlock; ++j)
        out[j] = static_cast<float>(get<std::int8_t>(b, 2 + j)) * get_half(b, 0);
      return;
    case 14:
      return decode_q6(b, out);
    default:
      throw Error({.where = "gguf",
                   .what = str("blocks of ", type.name, " are not read by this program"),
                   .expected = "F32, F16, BF16, Q8_0, Q6_K, Q5_0, Q5_1, Q4_0 or Q4_1"});
  }
}

const nn::GgufType& type_named(std::string_view name) { return *nn::gguf_type(name); }

}  // namespace

bool has_encoder(const nn::GgufType& type) {
  return std::ranges::count(std::array{0u, 1u, 2u, 3u, 6u, 7u, 8u, 30u}, type.id) > 0;
}

void encode_blocks(const nn::GgufType& type, std::span<const real> row,
                   std::vector<std::byte>& out) {
  check(has_encoder(type), type.name, "has no encoder here");
  const auto block = static_cast<std::size_t>(type.block);
  check(row.size() % block == 0, type.name, "stores blocks of ", block, ", and the row has ",
        row.size());
  std::array<float, kBlock> x{};
  for (std::size_t i = 0; i < row.size(); i += block) {
    std::ranges::transform(row.subspan(i, block), x.begin(),
                           [](real v) { return static_cast<float>(v); });
    encode_block(type.id, std::span(x).first(block), out);
  }
}

void decode_blocks(const nn::GgufType& type, std::span<const std::byte> blocks,
                   std::span<real> out) {
  const auto block = static_cast<std::size_t>(type.block),
             bytes = static_cast<std::size_t>(type.bytes);
  check(blocks.size() / bytes * block == out.size() && blocks.size() % bytes == 0, type.name,
        blocks.size(), " bytes are not ", out.size(), " weights");
  std::array<float, kSuper> x{};
  for (std::size_t i = 0; i < blocks.size() / bytes; ++i) {
    decode_block(type, blocks.subspan(i * bytes, bytes), std::span(x).first(block));
    std::ranges::copy(std::span(x).first(block),
                      out.begin() + static_cast<std::ptrdiff_t>(i * block));
  }
}

const nn::GgufType& exact_type(const QTensor& q, std::string_view where) {
  const auto refuse = [&](std::string what, std::string hint) {
    throw Error({.where = std::string(where), .what = std::move(what), .hint = std::move(hint)});
  };
  const std::int64_t unit =
      q.spec.granularity == Granularity::tensor ? q.cols : unit_size(q.spec, q.rows, q.cols);
  if (has_zero_points(q.spec)) {
    refuse("has zero points, which no GGUF block holds exactly",
           "quantize on a symmetric grid (narrow, full or signed_max)");
  }
  if (!grid_of(q.spec).levels.empty()) {
    refuse(
        str("the levels of the ", name_of(q.spec.grid), " grid are no integers, as a block's are"),
        "quantize on a symmetric grid (narrow, full or signed_max)");
  }
  if (q.cols % 32 != 0 || unit % 32 != 0) {
    refuse(str("units of ", unit, " weights in rows of ", q.cols, " do not fit blocks of 32"),
           "quantize with groups of 32, or per channel where 32 divides the inputs");
  }
  for (const real s : q.at.scales) {
    const auto f = static_cast<float>(s);
    if (from_f16(to_f16(f)) == f) continue;
    refuse(str("has the scale ", f, ", which no half is"), "quantize with scale = \"f16\"");
  }
  const auto [low, high] = std::ranges::minmax(q.codes);
  if (low >= -8 && high <= 7) return type_named("Q4_0");
  if (low >= -16 && high <= 15) return type_named("Q5_0");
  if (low >= -32 && high <= 31 && unit % 256 == 0) return type_named("Q6_K");
  return type_named("Q8_0");
}

void exact_blocks(const nn::GgufType& type, const QTensor& q, std::int64_t row,
                  std::vector<std::byte>& out) {
  const std::int64_t unit = q.spec.granularity == Granularity::tensor
                                ? q.rows * q.cols
                                : unit_size(q.spec, q.rows, q.cols);
  const auto block = static_cast<std::int64_t>(type.block);
  for (std::int64_t at = row * q.cols; at < (row + 1) * q.cols; at += block) {
    const std::int8_t* const codes = q.codes.data() + at;
    const auto scale = static_cast<float>(q.at.scales[static_cast<std::size_t>(at / unit)]);
    if (type.id == 14) {
      std::array<std::uint8_t, 192> bits{};
      for (std::size_t i = 0; i < kSuper; ++i) {
        const Six to = six_bits(i);
        const unsigned code = static_cast<unsigned>(codes[i] + 32);
        bits[to.low] = static_cast<std::uint8_t>(bits[to.low] | (code & 15) << to.low_shift);
        bits[128 + to.high] =
            static_cast<std::uint8_t>(bits[128 + to.high] | code >> 4 << to.high_shift);
      }
      put(out, bits);
      for (int i = 0; i < 16; ++i) put(out, std::int8_t{1});
      put_half(out, scale);
      continue;
    }
    put_half(out, scale);
    if (type.id == 8) {
      for (std::size_t j = 0; j < kBlock; ++j) put(out, codes[j]);
      continue;
    }
    Codes shifted{};
    const int half = type.id == 6 ? 16 : 8;
    for (std::size_t j = 0; j < kBlock; ++j)
      shifted[j] = static_cast<std::uint8_t>(codes[j] + half);
    put_codes(out, shifted, type.id == 6);
  }
}

}  // namespace notch::quant
