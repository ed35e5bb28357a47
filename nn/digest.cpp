#include "nn/digest.h"

#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/thread_pool.h"

namespace notch::nn {

std::string digest_hex(std::string_view header, std::span<const PieceHash> pieces) {
  kernels::Sha256 hash;
  hash.update(header);
  for (const PieceHash& piece : pieces) hash.update(piece.data(), piece.size());
  return hash.hex();
}

std::string of_bytes(std::uint64_t bytes) {
  constexpr std::size_t kPlaces = 20;
  const std::string digits = str(bytes);
  return str(" of ", std::string(kPlaces - digits.size(), '0'), digits, " bytes");
}

void PieceHasher::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kDigestPiece - held_);
    hash_.update(bytes.data(), n);
    bytes = bytes.subspan(n);
    held_ += n;
    if (held_ < kDigestPiece) return;
    done_.push_back(hash_.bytes());
    hash_ = {};
    held_ = 0;
  }
}

std::vector<PieceHash> PieceHasher::finish() {
  if (held_ > 0) done_.push_back(hash_.bytes());
  return std::move(done_);
}

std::vector<PieceHash> hash_pieces(
    std::uint64_t bytes,
    const std::function<void(std::uint64_t first, std::span<std::byte> out)>& read) {
  check(read && bytes <= std::uint64_t{1} << 60, "digest", "nothing reads the ", bytes, " bytes");
  std::vector<PieceHash> pieces((bytes + kDigestPiece - 1) / kDigestPiece);
  parallel_for(std::ssize(pieces), [&](std::int64_t i) {
    const std::uint64_t first = static_cast<std::uint64_t>(i) * kDigestPiece;
    std::vector<std::byte> piece(std::min<std::uint64_t>(kDigestPiece, bytes - first));
    read(first, piece);
    kernels::Sha256 hash;
    hash.update(piece.data(), piece.size());
    pieces[static_cast<std::size_t>(i)] = hash.bytes();
  });
  return pieces;
}

void refuse_damaged(const fs::path& path, std::string_view field, std::string what,
                    std::string found, std::string expected) {
  refuse_file(
      path, field, std::move(what), std::move(found), std::move(expected),
      "get the file again, or write it again; a command that has --no-verify takes it as it is");
}

void refuse_digest(const fs::path& path, std::string found) {
  refuse_file(path, kDigestKey, "a digest that this build does not know", std::move(found),
              std::string(kDigestName),
              "a newer build knows it; a command that has --no-verify does not ask for it");
}

}  // namespace notch::nn
