// SHA-256 (FIPS 180-4), for manifests, corpora and cache keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace notch {

/// Takes `blocks` blocks of 64 bytes into the eight words of a hash (section 6.2.2). The portable
/// one is below; autograd/kernels/sha256.h has the processor's.
using Sha256Blocks = void (*)(std::uint32_t* state, const unsigned char* data, std::size_t blocks);
void sha256_blocks_portable(std::uint32_t* state, const unsigned char* data, std::size_t blocks);

/// The constants K (section 4.2.2), for implementations.
extern const std::array<std::uint32_t, 64> kSha256Constants;

class Sha256 {
 public:
  explicit Sha256(Sha256Blocks blocks = sha256_blocks_portable);
  void update(const void* data, std::size_t bytes);
  void update(std::string_view bytes) { update(bytes.data(), bytes.size()); }
  std::array<unsigned char, 32> bytes();  ///< finishes
  std::string hex();                      ///< finishes; 64 lower-case hexadecimal digits

 private:
  Sha256Blocks blocks_;
  std::array<std::uint32_t, 8> state_;
  std::array<unsigned char, 64> buffer_;
  std::uint64_t bytes_ = 0;
};

/// Whether all of it are hexadecimal digits as hashes are written: 0-9 and a-f.
bool is_hex(std::string_view text);

std::string sha256(std::string_view bytes);
std::string sha256_file(const std::filesystem::path& path,
                        Sha256Blocks blocks = sha256_blocks_portable);

}  // namespace notch
