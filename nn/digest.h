// What files of ours say of their own bytes, so that damage is noticed; who wrote them it does not tell.
//
// Large data is hashed in pieces of 2^20 bytes, for several threads to read it:
//   SHA-256(header || SHA-256(piece 0) || SHA-256(piece 1) || ...)
// The format says what its header and its data are (safetensors.h, gguf.h). Two members of its
// metadata hold the digest, so that no flipped bit makes it vanish.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"
#include "autograd/kernels/sha256.h"

namespace notch::nn {

inline constexpr std::string_view kDigestKey = "notch.digest", kSha256Key = "notch.sha256";
inline constexpr std::string_view kDigestName = "sha256 of 1 MiB pieces";
inline constexpr std::size_t kDigestPiece = std::size_t{1} << 20, kHexDigits = 64;
using PieceHash = std::array<unsigned char, 32>;

/// What a digest says of its file.
enum class Digest {
  holds,     ///< the file is as it was written
  none,      ///< it has none: another program's file, or an earlier build's
  rewritten  ///< it came with a copy of the metadata into a file of other tensors, or by an edit
};

/// notch.sha256 of a header and the hashes of the pieces.
std::string digest_hex(std::string_view header, std::span<const PieceHash> pieces);

/// " of N bytes", N in 20 digits: how both texts end in a format whose metadata other programs copy
/// into files of their own.
std::string of_bytes(std::uint64_t bytes);

/// The hashes of data that come in any portions.
class PieceHasher {
 public:
  void update(std::span<const std::byte> bytes);
  std::vector<PieceHash> finish();

 private:
  kernels::Sha256 hash_{};
  std::size_t held_ = 0;  // bytes in it
  std::vector<PieceHash> done_{};
};

/// The same of `bytes` that `read` fetches from any offset on, in any thread.
std::vector<PieceHash> hash_pieces(
    std::uint64_t bytes,
    const std::function<void(std::uint64_t first, std::span<std::byte> out)>& read);

/// Throws Fault::input: the file is not what was written.
[[noreturn]] void refuse_damaged(const fs::path& path, std::string_view field, std::string what,
                                 std::string found, std::string expected);
/// The same for a kind of digest that only other builds know.
[[noreturn]] void refuse_digest(const fs::path& path, std::string found);

}  // namespace notch::nn
