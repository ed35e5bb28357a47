#include "quant/store/gguf_blocks.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/store/gguf_superblocks.h"

namespace notch::quant {
namespace {

struct Small {
  std::uint32_t id = 0;
  int bits = 0;          // of a code
  int offset = 0;        // a stored code is q + offset
  bool minimum = false;  // m follows d
};
constexpr std::array kSmall{Small{2, 4, 8, false}, Small{3, 4, 0, true},  Small{6, 5, 16, false},
                            Small{7, 5, 0, true},  Small{8, 8, 0, false}, Small{20, 4, 0, false}};
constexpr std::uint32_t kUneven = 20;

const Small* small_of(const nn::GgufType& type) {
  const auto at = std::ranges::find(kSmall, type.id, &Small::id);
  return at == kSmall.end() ? nullptr : &*at;
}

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <class T>
T get(std::span<const std::byte> bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
float get_half(std::span<const std::byte> bytes, std::size_t at) {
  return from_f16(get<std::uint16_t>(bytes, at));
}

SmallBlock unpack_small(const Small& type, std::span<const std::byte> b) {
  SmallBlock block{.d = get_half(b, 0)};
  std::size_t at = 2;
  if (type.minimum) block.m = get_half(b, at), at += 2;
  if (type.bits == 8) {
    for (std::size_t j = 0; j < kSmallBlock; ++j) block.q[j] = get<std::int8_t>(b, at + j);
    return block;
  }
  std::uint32_t fifth = 0;
  if (type.bits == 5) fifth = get<std::uint32_t>(b, at), at += 4;
  for (std::size_t j = 0; j < kSmallBlock; ++j) {
    const auto byte = std::to_integer<unsigned>(b[at + j % (kSmallBlock / 2)]);
    const unsigned low = j < kSmallBlock / 2 ? byte & 15 : byte >> 4;
    block.q[j] = static_cast<int>(low | (fifth >> j & 1) << 4) - type.offset;
    if (type.id == kUneven) block.q[j] = kIq4NlLevels[low];
  }
  return block;
}

void decode_block(const nn::GgufType& type, std::span<const std::byte> b, std::span<float> out) {
  if (const Small* small = small_of(type)) {
    const SmallBlock block = unpack_small(*small, b);
    for (std::size_t j = 0; j < kSmallBlock; ++j)
      out[j] = static_cast<float>(block.q[j]) * block.d + block.m;
  } else if (type.name == "F32") {
    out[0] = get<float>(b, 0);
  } else if (type.name == "F16") {
    out[0] = get_half(b, 0);
  } else if (type.name == "BF16") {
    out[0] = from_bf16(get<std::uint16_t>(b, 0));
  } else {
    decode_super(unpack_super(type, b), out);
  }
}

}  // namespace

void pack_small(const nn::GgufType& type, const SmallBlock& block, std::vector<std::byte>& out) {
  const Small* const small = small_of(type);
  check(small != nullptr, type.name, "is no type of blocks of 32");
  put(out, to_f16(block.d));
  if (small->minimum) put(out, to_f16(block.m));
  if (small->bits == 8) {
    for (const int q : block.q) put(out, static_cast<std::int8_t>(q));
    return;
  }
  const auto code = [&](std::size_t j) {
    if (small->id != kUneven) return static_cast<unsigned>(block.q[j] + small->offset);
    const auto level = std::ranges::find(kIq4NlLevels, block.q[j]);
    check(level != kIq4NlLevels.end(), type.name, "has no level ", block.q[j]);
    return static_cast<unsigned>(level - kIq4NlLevels.begin());
  };
  if (small->bits == 5) {
    std::uint32_t fifth = 0;
    for (std::size_t j = 0; j < kSmallBlock; ++j) fifth |= (code(j) >> 4 & 1) << j;
    put(out, fifth);
  }
  for (std::size_t j = 0; j < kSmallBlock / 2; ++j)
    out.push_back(static_cast<std::byte>((code(j) & 15) | (code(j + kSmallBlock / 2) & 15) << 4));
}

void decode_blocks(const nn::GgufType& type, std::span<const std::byte> blocks,
                   std::span<real> out) {
  const auto block = static_cast<std::size_t>(type.block),
             bytes = static_cast<std::size_t>(type.bytes);
  check(block > 0 && bytes > 0, type.name, "has blocks of ", block, " weights in ", bytes,
        " bytes");
  check(blocks.size() / bytes * block == out.size() && blocks.size() % bytes == 0, type.name,
        blocks.size(), " bytes are not ", out.size(), " weights");
  std::array<float, kSuperBlock> x{};
  for (std::size_t i = 0; i < blocks.size() / bytes; ++i) {
    decode_block(type, blocks.subspan(i * bytes, bytes), std::span(x).first(block));
    std::ranges::copy(std::span(x).first(block),
                      out.begin() + static_cast<std::ptrdiff_t>(i * block));
  }
}

}  // namespace notch::quant
