// safetensors: named tensors in one file, the format of Hugging Face models.
//
// File: u64 header length n (little-endian), n bytes of JSON, the data. The header maps each name
// to {"dtype", "shape", "data_offsets": [begin, end)} relative to the data, and "__metadata__" to a
// map of strings (https://github.com/huggingface/safetensors, "Format"). Data is row-major and
// little-endian; the tensors fill it without holes or overlaps. The writer lays the tensors out by
// element size, largest first, and then by name, as the reference implementation does: every tensor
// is aligned to its element, which PyTorch's loader needs. The header has the same order.
//
// Our files tell whether they are whole. Two members of the metadata, so that no flipped bit makes
// the digest vanish:
//   notch.digest  "sha256 of N": N the bytes of the file without the padding of its header, in 12
//                 digits; earlier builds wrote "sha256 of 1 MiB pieces", and no size
//   notch.sha256  what nn/digest.h says, in hexadecimal, of the tensors' data; the header is the one
//                 that the writer makes without notch.sha256 and with the words of earlier builds, so
//                 that another program may lay its text out anew
// Who edits tensors and copies the metadata, as many scripts do, has a file of another size than N, of
// which the digest says nothing. (A flipped bit does not change the size, and what is cut off is missed.)
// It tells of damage, not of who wrote the file: that takes a signature.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/file_reader.h"
#include "autograd/tensor.h"
#include "nn/digest.h"

namespace notch::nn {

/// Every element type that the format defines, in the order of the data: largest first.
enum class DType {
  f64,
  i64,
  u64,
  c64,
  f32,
  i32,
  u32,
  f16,
  bf16,
  i16,
  u16,
  i8,
  u8,
  boolean,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e3m2,
  f6_e2m3,
  f4
};
constexpr auto names(DType) {
  return std::array<std::string_view, 22>{
      "F64",     "I64",         "U64",         "C64",     "F32",     "I32",  "U32",     "F16",
      "BF16",    "I16",         "U16",         "I8",      "U8",      "BOOL", "F8_E4M3", "F8_E5M2",
      "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E3M2", "F6_E2M3", "F4"};
}

std::string_view name(DType dtype);      ///< "F32", "BF16", "BOOL", …
std::int64_t element_bits(DType dtype);  ///< 64, 32, 16, 8, 6 or 4
bool is_real(DType dtype);               ///< f64, f32, f16 or bf16: those that are read as reals

/// The type that holds `real` exactly: f32, in the double build f64.
inline constexpr DType kRealType = sizeof(real) == 8 ? DType::f64 : DType::f32;

/// Extents of a tensor in a file, of any rank; [] is a scalar.
using FileShape = std::vector<std::int64_t>;
FileShape file_shape(const Shape& shape);
std::string to_text(const FileShape& shape);  ///< "[2, 3]"

using Metadata = std::map<std::string, std::string>;

// ---- writing ----

/// Takes a tensor's bytes piece by piece, in order.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// A tensor to be written. `write` is called when its turn comes and must hand the sink exactly
/// the bytes of `shape`; what it refers to must live until write_safetensors returns.
struct TensorSource {
  std::string name{};
  DType dtype = DType::f32;
  FileShape shape{};
  std::function<void(const ByteSink&)> write{};
};

/// `values` stored as f64, f32, f16 or bf16. Rounds half to even; what is too large becomes
/// infinite; 16-bit types are rounded from float.
TensorSource real_tensor(std::string name, FileShape shape, std::span<const real> values,
                         DType dtype = DType::f32);

/// Elements as they are in memory.
TensorSource raw_tensor(std::string name, DType dtype, FileShape shape,
                        std::span<const std::byte> bytes);

/// The conversion of real_tensor, for sources that produce their values in pieces.
void put_reals(const ByteSink& sink, DType dtype, std::span<const real> values);

/// Whether a regular file begins as the format does: the length of a header that it can hold, and a brace.
bool is_safetensors(const fs::path& path);

/// Bytes of the file that write_safetensors would write, header included. `write` is not called.
std::int64_t safetensors_bytes(std::vector<TensorSource> tensors, const Metadata& metadata = {});

/// Writes `path` atomically, holding no more than a piece of a tensor. Throws Fault::usage for a
/// name that is empty, repeated, reserved or not UTF-8, and for a source that hands over another
/// number of bytes than its shape has; Fault::io. The digest is added to the metadata.
void write_safetensors(const fs::path& path, std::vector<TensorSource> tensors,
                       const Metadata& metadata = {}, Existing existing = Existing::replace);

// ---- reading ----

struct TensorEntry {
  std::string name{};
  DType dtype = DType::f32;
  FileShape shape{};
  std::uint64_t offset = 0;  ///< of the first byte, from the start of the file
  std::uint64_t bytes = 0;

  std::int64_t size() const { return 8 * static_cast<std::int64_t>(bytes) / element_bits(dtype); }
};

/// An open file whose header is valid and whose size is exactly what the header says.
class SafetensorsFile {
 public:
  /// Checks everything before it allocates for it. Throws Fault::input (where = path, field = the
  /// tensor's name, found, expected) or Fault::io.
  static SafetensorsFile open(const fs::path& path);

  const fs::path& path() const { return file_.path(); }
  const std::vector<TensorEntry>& entries() const& { return entries_; }  ///< in the data's order
  void entries() const&& = delete;  // a loop over a temporary's entries would dangle
  const TensorEntry* find(std::string_view name) const;   ///< nullptr when absent
  const Metadata& metadata() const { return metadata_; }  ///< without the digest
  /// notch.sha256, or "": another program's file, or an earlier build's.
  const std::string& digest() const { return digest_; }

  /// Reads all of the file and compares it with its digest. Throws Fault::input when they differ.
  Digest verify() const;

  /// Elements [first, first + out.size()) as reals. Exact, but f64 read into float is rounded half
  /// to even (too large: infinite). Throws Fault::input when the type is not a floating one, and
  /// Fault::usage when the range is not inside the tensor.
  void read(const TensorEntry& entry, std::span<real> out, std::int64_t first = 0) const;
  /// The tensor's bytes [first, first + out.size()).
  void read_bytes(const TensorEntry& entry, std::span<std::byte> out,
                  std::uint64_t first = 0) const;

 private:
  explicit SafetensorsFile(const fs::path& path) : file_(path) {}
  void read_header();

  FileReader file_;
  std::uint64_t data_begin_ = 0;
  std::vector<TensorEntry> entries_;                       // by offset
  std::map<std::string, std::size_t, std::less<>> index_;  // name -> entries_
  Metadata metadata_;
  std::string digest_kind_, digest_;
};

}  // namespace notch::nn
