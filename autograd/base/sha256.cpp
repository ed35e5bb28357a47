// SHA-256 as FIPS 180-4 section 6.2 writes it, with its letters (a..h, W, K, Ch, Maj, Sigma,
// sigma). Own code because manifests and corpora are checked by it and no package beyond std is
// allowed.
#include "autograd/base/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/file_reader.h"

namespace notch {

const std::array<std::uint32_t, 64> kSha256Constants = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u,
    0xab1c5ed5u, 0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu,
    0x9bdc06a7u, 0xc19bf174u, 0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu,
    0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau, 0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u,
    0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u, 0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu,
    0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u, 0xa2bfe8a1u, 0xa81a664bu,
    0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u, 0x19a4c116u,
    0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u,
    0xc67178f2u};

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::uint32_t big_endian_word(const unsigned char* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

}  // namespace

void sha256_blocks_portable(std::uint32_t* state, const unsigned char* data, std::size_t blocks) {
  using std::rotr;
  for (; blocks > 0; --blocks, data += 64) {
    std::array<std::uint32_t, 64> W;
    for (std::size_t t = 0; t < 16; ++t) W[t] = big_endian_word(data + 4 * t);
    for (std::size_t t = 16; t < 64; ++t) {
      const std::uint32_t sigma0 = rotr(W[t - 15], 7) ^ rotr(W[t - 15], 18) ^ (W[t - 15] >> 3);
      const std::uint32_t sigma1 = rotr(W[t - 2], 17) ^ rotr(W[t - 2], 19) ^ (W[t - 2] >> 10);
      W[t] = sigma1 + W[t - 7] + sigma0 + W[t - 16];
    }
    std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (std::size_t t = 0; t < 64; ++t) {
      const std::uint32_t Sigma1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
      const std::uint32_t Ch = (e & f) ^ (~e & g);
      const std::uint32_t T1 = h + Sigma1 + Ch + kSha256Constants[t] + W[t];
      const std::uint32_t Sigma0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
      const std::uint32_t Maj = (a & b) ^ (a & c) ^ (b & c);
      const std::uint32_t T2 = Sigma0 + Maj;
      h = g;
      g = f;
      f = e;
      e = d + T1;
      d = c;
      c = b;
      b = a;
      a = T1 + T2;
    }
    const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += added[i];
  }
}

Sha256::Sha256(Sha256Blocks blocks)
    : blocks_(blocks),
      state_{0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
             0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u},
      buffer_{} {
  check(blocks != nullptr, "sha256", "no function for the blocks");
}

void Sha256::update(const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  const auto* p = static_cast<const unsigned char*>(data);
  const std::size_t held = static_cast<std::size_t>(bytes_ % 64);
  bytes_ += bytes;
  if (held > 0) {
    const std::size_t taken = std::min(bytes, 64 - held);
    std::memcpy(buffer_.data() + held, p, taken);
    if (held + taken < 64) return;
    blocks_(state_.data(), buffer_.data(), 1);
    p += taken;
    bytes -= taken;
  }
  const std::size_t whole = bytes / 64;
  if (whole > 0) blocks_(state_.data(), p, whole);
  std::memcpy(buffer_.data(), p + 64 * whole, bytes % 64);
}

std::array<unsigned char, 32> Sha256::bytes() {
  // Padding (section 5.1.1): a one bit, zeros up to 56 mod 64 bytes, the length in bits,
  // big-endian.
  const std::uint64_t bits = bytes_ * 8;
  std::array<unsigned char, 72> padding{0x80};
  const std::size_t held = static_cast<std::size_t>(bytes_ % 64);
  const std::size_t zeros_end = held < 56 ? 56 - held : 120 - held;
  for (std::size_t i = 0; i < 8; ++i) {
    padding[zeros_end + i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
  }
  update(padding.data(), zeros_end + 8);

  std::array<unsigned char, 32> out{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<unsigned char>(state_[i / 4] >> (24 - 8 * (i % 4)));
  }
  return out;
}

std::string Sha256::hex() {
  std::string text;
  for (const unsigned char byte : bytes()) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

bool is_hex(std::string_view text) { return text.find_first_not_of(kHexDigits) == text.npos; }

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& path, Sha256Blocks blocks) {
  const FileReader file(path);
  Sha256 hash(blocks);
  std::vector<std::byte> piece(std::min<std::uint64_t>(file.bytes(), std::uint64_t{1} << 16));
  for (std::uint64_t at = 0; at < file.bytes(); at += piece.size()) {
    piece.resize(std::min<std::uint64_t>(piece.size(), file.bytes() - at));
    file.read_at(at, piece);
    hash.update(piece.data(), piece.size());
  }
  return hash.hex();
}

}  // namespace notch
