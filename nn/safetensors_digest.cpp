// The digest of a safetensors file: see the head of safetensors.h.
#include "autograd/base/error.h"
#include "nn/digest.h"
#include "nn/safetensors_limits.h"

namespace notch::nn {
namespace {

constexpr std::string_view kDigestOf = "sha256 of ";
constexpr std::size_t kDigits = kDigestName.size() - kDigestOf.size();  // no file is longer by it

bool names_size(std::string_view kind) {
  return kind.starts_with(kDigestOf) && kind.size() == kDigestName.size() &&
         kind.find_first_not_of("0123456789", kDigestOf.size()) == kind.npos;
}

}  // namespace

std::string digest_kind(std::string_view header, std::uint64_t data_bytes) {
  const std::size_t text = header.find_last_not_of(' ') + 1;
  const std::string digits = str(sizeof(std::uint64_t) + text + data_bytes);
  check(digits.size() <= kDigits, "safetensors", "a file of ", digits, " bytes is too long");
  return str(kDigestOf, std::string(kDigits - digits.size(), '0'), digits);
}

Metadata with_digest(Metadata metadata, std::string kind) {
  metadata[std::string(kDigestKey)] = std::move(kind);
  metadata[std::string(kSha256Key)] = std::string(kHexDigits, '0');
  return metadata;
}

std::string digest_header(const fs::path& path, const std::vector<TensorSource>& tensors,
                          Metadata metadata) {
  metadata[std::string(kDigestKey)] = kDigestName;
  return header_text(path, tensors, metadata);
}

Digest SafetensorsFile::verify() const {
  if (digest_kind_.empty() && digest_.empty()) return Digest::none;
  if (digest_kind_.empty() || digest_.empty()) {
    refuse_damaged(path(), digest_.empty() ? kSha256Key : kDigestKey,
                   "damaged: one half of its digest is missing", "", "both");
  }
  const bool is_earlier = digest_kind_ == kDigestName;
  if (!is_earlier && !names_size(digest_kind_)) refuse_digest(path(), digest_kind_);
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
  // As we would write it, and as it is: another program may have laid out the header in its own way.
  const std::uint64_t data_bytes = file_.bytes() - data_begin_;
  const std::string ours =
      digest_kind(header_text(path(), outline, with_digest(metadata_, digest_kind_)), data_bytes);
  const bool is_ours = is_earlier || digest_kind_ == ours;
  if (found == digest_ && is_ours) return Digest::holds;
  if (found == digest_) {
    refuse_damaged(path(), kDigestKey, "damaged: it names another size", digest_kind_, ours);
  }
  std::string header(data_begin_ - sizeof(std::uint64_t), '\0');
  file_.read_at(sizeof(std::uint64_t), std::as_writable_bytes(std::span(header)));
  if (!is_ours && digest_kind_ != digest_kind(header, data_bytes)) return Digest::rewritten;
  refuse_damaged(path(), kSha256Key, "damaged: its bytes are not those that were written", found,
                 digest_);
}

}  // namespace notch::nn
