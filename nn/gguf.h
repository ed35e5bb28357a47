// GGUF: the file of llama.cpp: a model's numbers, its configuration and its vocabulary in one.
//
// Layout, little-endian (version 3; ggml-org/ggml, docs/gguf.md): "GGUF", u32 version, u64 number of
// tensors, u64 number of key-values; the key-values; for each tensor its name, extents (the first one
// is contiguous), u32 type and u64 offset; then, at the next multiple of the alignment (32, or
// "general.alignment"), the data. Every offset is the sum of the padded sizes before it.
//
// Files of ours tell whether they are whole (nn/digest.h), by two texts in the metadata:
//   notch.digest  "sha256 of 1 MiB pieces of N bytes", N in 20 digits
//   notch.sha256  the digest in hexadecimal, then " of N bytes": of the whole file, those 64 digits
//                 being zeros, without a header of its own
// A file of another size than both say is another program's, which copied our metadata.
//
// What the numbers of a type mean is quant/store/gguf_blocks.h's business: here a type is its id and
// the bytes of a block.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "autograd/base/file_reader.h"
#include "autograd/base/nothing.h"
#include "nn/digest.h"

namespace notch::nn {

/// An array of another type than those that models are read from: only its length is kept.
struct GgufSkipped {
  std::uint64_t length = 0;
  std::uint64_t size() const { return length; }
};

/// A value of the metadata. Numbers keep their width: llama.cpp reads counts as u32 and eps as f32.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t,
                               std::uint32_t, std::int32_t, float, bool, std::string, std::uint64_t,
                               std::int64_t, double, std::vector<std::string>,
                               std::vector<std::int32_t>, std::vector<float>, GgufSkipped, Nothing>;

struct GgufEntry {
  std::string key{};
  GgufValue value{};
};

/// How many weights a type stores together, and in how many bytes.
struct GgufType {
  std::uint32_t id = 0;
  std::string_view name{};
  std::int64_t block = 1, bytes = 4;
};

/// Every type of a model's tensors that this program knows, by id; nullptr for any other.
const GgufType* gguf_type(std::uint32_t id);
/// The type of that name ("F32", "Q4_0"); nullptr: there is none.
const GgufType* gguf_type(std::string_view name);

/// A tensor to be written: row-major [rows][cols]; a vector has one row.
struct GgufSource {
  std::string name{};
  const GgufType* type = nullptr;
  std::int64_t rows = 1, cols = 0;
  bool is_vector = false;
  /// The bytes of rows [first, first + n), appended to `out`.
  std::function<void(std::int64_t first, std::int64_t n, std::vector<std::byte>& out)> write{};
};

/// Writes `path` atomically, a piece of a tensor at a time, with its digest last in the metadata.
/// Usage error for a repeated name or key, a value that was skipped, a name of 64 bytes or more, or
/// columns that the type's block does not divide; Fault::io.
void write_gguf(const fs::path& path, std::span<const GgufEntry> metadata,
                std::span<const GgufSource> tensors, Existing existing = Existing::replace);

struct GgufTensor {
  std::string name{};
  const GgufType* type = nullptr;
  std::vector<std::int64_t> extents{};  ///< the contiguous one first
  std::uint64_t offset = 0;             ///< from the start of the file
  std::uint64_t bytes = 0;
};

/// A file whose header has been read and checked: sizes, offsets, names and the file's length agree.
class GgufFile {
 public:
  /// Fault::input (where = path, field, found, expected) or Fault::io. Nothing is allocated for a
  /// length that the file cannot hold.
  static GgufFile open(const fs::path& path);

  const fs::path& path() const { return file_.path(); }
  std::uint64_t file_bytes() const { return file_.bytes(); }
  const std::vector<GgufEntry>& metadata() const { return metadata_; }  ///< with the digest
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufValue* find(std::string_view key) const;
  const GgufTensor* tensor(std::string_view name) const;
  /// Bytes [first, first + out.size()) of the tensor.
  void read(const GgufTensor& tensor, std::span<std::byte> out, std::uint64_t first = 0) const;

  /// Reads all of the file and compares it with its digest, which says the size of its file, too:
  /// in one of another size it is a copy. Throws Fault::input when they differ.
  Digest verify() const;

 private:
  explicit GgufFile(const fs::path& path) : file_(path) {}

  FileReader file_;
  std::uint64_t digest_begin_ = 0;  // where the text of notch.sha256 stands
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
};

/// Whether the file begins as GGUF files do. False for what cannot be read.
bool is_gguf(const fs::path& path);

}  // namespace notch::nn
