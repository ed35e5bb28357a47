// What the reader and the writer of safetensors files share. Internal to the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/safetensors.h"

namespace notch::nn {

inline constexpr std::string_view kMetadataKey = "__metadata__";
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's

inline constexpr std::size_t kPiece = std::size_t{1} << 15;  // elements converted at a time

/// The order of a file's tensors.
void sort_for_file(std::vector<TensorSource>& tensors);
/// The header of tensors in that order, padded. An error is about `path`.
std::string header_text(const fs::path& path, const std::vector<TensorSource>& tensors,
                        const Metadata& metadata);

/// notch.digest: the bytes of a file whose header, which may be padded, is in front of so many of data.
std::string digest_kind(std::string_view header, std::uint64_t data_bytes);
/// `metadata` with both members of the digest, zeros for the hash.
Metadata with_digest(Metadata metadata, std::string kind);
/// The header that the digest is of, from metadata without the digest.
std::string digest_header(const fs::path& path, const std::vector<TensorSource>& tensors,
                          Metadata metadata);

/// Bytes of a tensor; false when an extent is negative, when the last byte would be shared with
/// another tensor, or when the size in bits does not fit 63 bits.
bool tensor_bytes(DType dtype, const FileShape& shape, std::int64_t& bytes);

}  // namespace notch::nn
