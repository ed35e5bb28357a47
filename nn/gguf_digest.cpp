// The digest of a GGUF file: see the head of gguf.h.
#include "nn/digest.h"
#include "nn/gguf.h"

namespace notch::nn {

Digest GgufFile::verify() const {
  const GgufValue *kind = find(kDigestKey), *digest = find(kSha256Key);
  if (!kind && !digest) return Digest::none;
  const std::size_t size = of_bytes(0).size();
  const auto text_of = [size](const GgufValue* value) {
    const auto* text = value ? std::get_if<std::string>(value) : nullptr;
    return text && text->size() > size ? *text : std::string(size, ' ');
  };
  const std::string name = text_of(kind), expected = text_of(digest);
  const std::size_t name_end = name.size() - size, hex_end = expected.size() - size;
  if (name.substr(name_end) != expected.substr(hex_end) || hex_end != kHexDigits) {
    refuse_damaged(path(), kDigestKey, "damaged: the halves of its digest do not agree", name,
                   expected);
  }
  if (name.substr(0, name_end) != kDigestName) refuse_digest(path(), name);
  if (name.substr(name_end) != of_bytes(file_bytes())) return Digest::rewritten;
  const auto read = [&](std::uint64_t first, std::span<std::byte> out) {
    file_.read_at(first, out);
    for (std::uint64_t at = digest_begin_; at < digest_begin_ + kHexDigits; ++at) {
      if (at >= first && at < first + out.size()) out[at - first] = std::byte{'0'};
    }
  };
  const std::string found = digest_hex("", hash_pieces(file_bytes(), read));
  if (found != expected.substr(0, kHexDigits)) {
    refuse_damaged(path(), kSha256Key, "damaged: its bytes are not those that were written", found,
                   expected.substr(0, kHexDigits));
  }
  return Digest::holds;
}

}  // namespace notch::nn
