// The digest of a safetensors file: see the head of safetensors.h.
#include "nn/digest.h"
#include "nn/safetensors_limits.h"

namespace notch::nn {

std::string digest_header(const fs::path& path, const std::vector<TensorSource>& tensors,
                          Metadata metadata) {
  metadata[std::string(kDigestKey)] = kDigestName;
  return header_text(path, tensors, metadata);
}

bool SafetensorsFile::verify() const {
  if (digest_kind_.empty() && digest_.empty()) return false;
  if (digest_kind_.empty() || digest_.empty()) {
    refuse_damaged(path(), digest_.empty() ? kSha256Key : kDigestKey,
                   "damaged: one half of its digest is missing", "", "both");
  }
  if (digest_kind_ != kDigestName) refuse_digest(path(), digest_kind_);
  std::vector<TensorSource> outline;
  for (const TensorEntry& e : entries_) {
    outline.push_back({.name = e.name, .dtype = e.dtype, .shape = e.shape});
  }
  sort_for_file(outline);
  const std::vector<PieceHash> pieces =
      hash_pieces(file_.bytes() - data_begin_, [&](std::uint64_t first, std::span<std::byte> out) {
        file_.read_at(data_begin_ + first, out);
      });
  const std::string found = digest_hex(digest_header(path(), outline, metadata_), pieces);
  if (found != digest_) {
    refuse_damaged(path(), kSha256Key, "damaged: its bytes are not those that were written", found,
                   digest_);
  }
  return true;
}

}  // namespace notch::nn
