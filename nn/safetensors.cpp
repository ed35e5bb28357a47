// Element types and the writer of safetensors files; the reader is safetensors_read.cpp.
#include "nn/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <set>
#include <utility>

#include "autograd/base/half.h"
#include "autograd/base/json.h"
#include "autograd/base/names.h"
#include "nn/digest.h"
#include "nn/safetensors_limits.h"

namespace notch::nn {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

template <class Stored, class Convert>
void put_converted(const ByteSink& sink, std::span<const real> values, const Convert& convert) {
  std::vector<Stored> piece(std::min(values.size(), kPiece));
  while (!values.empty()) {
    const std::size_t n = std::min(values.size(), piece.size());
    std::transform(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n), piece.begin(),
                   convert);
    sink(std::as_bytes(std::span(piece.data(), n)));
    values = values.subspan(n);
  }
}

void check_source(const fs::path& path, const TensorSource& t) {
  check(!t.name.empty() && is_utf8(t.name) && t.name != kMetadataKey, path.string(),
        "cannot hold a tensor named ", json_quote(t.name));
  std::int64_t bytes = 0;
  check(tensor_bytes(t.dtype, t.shape, bytes), path.string(), t.name, " has the shape ",
        to_text(t.shape), " of ", name(t.dtype), ", which is no size of a file");
}

}  // namespace

std::string header_text(const fs::path& path, const std::vector<TensorSource>& tensors,
                        const Metadata& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json::Object strings;
    for (const auto& [key, value] : metadata) strings.emplace_back(key, value);
    header.set(kMetadataKey, Json(std::move(strings)));
  }
  Json::Object members = header.as_object("");
  std::int64_t begin = 0;
  for (const TensorSource& t : tensors) {
    std::int64_t bytes = 0;
    const bool fits = tensor_bytes(t.dtype, t.shape, bytes) &&
                      bytes <= std::numeric_limits<std::int64_t>::max() - begin;
    check(fits, path.string(), "the tensors' total size does not fit 63 bits");
    Json shape = Json::array();
    for (const std::int64_t extent : t.shape) shape.push(extent);
    Json entry = Json::object();
    entry.set("dtype", name(t.dtype)).set("shape", shape);
    entry.set("data_offsets", Json(Json::Array{begin, begin + bytes}));
    members.emplace_back(t.name, std::move(entry));
    begin += bytes;
  }
  std::string text = Json(std::move(members)).dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check(text.size() <= kMaxHeaderBytes, path.string(), "the header of ", tensors.size(),
        " tensors has ", text.size(), " bytes; readers take at most ", kMaxHeaderBytes);
  return text;
}

// Larger elements first, then by name: see the head of safetensors.h.
void sort_for_file(std::vector<TensorSource>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSource& a, const TensorSource& b) {
    const std::int64_t a_bits = element_bits(a.dtype), b_bits = element_bits(b.dtype);
    return a_bits != b_bits ? a_bits > b_bits : a.name < b.name;
  });
}

std::string_view name(DType dtype) { return word_of(dtype); }

std::int64_t element_bits(DType dtype) {
  constexpr std::array<std::int64_t, names(DType{}).size()> kBits{
      64, 64, 64, 64, 32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8, 8, 8, 8, 8, 6, 6, 4};
  return kBits[static_cast<std::size_t>(dtype)];
}

bool is_real(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

FileShape file_shape(const Shape& shape) {
  FileShape extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

std::string to_text(const FileShape& shape) { return "[" + joined(shape) + "]"; }

bool tensor_bytes(DType dtype, const FileShape& shape, std::int64_t& bytes) {
  std::int64_t bits = element_bits(dtype);
  for (const std::int64_t extent : shape) {
    if (extent < 0) return false;
    if (extent > 0 && bits > std::numeric_limits<std::int64_t>::max() / extent) return false;
    bits *= extent;
  }
  bytes = bits / 8;
  return bits % 8 == 0;
}

void put_reals(const ByteSink& sink, DType dtype, std::span<const real> values) {
  check(sink != nullptr, "safetensors", "nothing takes the bytes");
  if (dtype == kRealType) {
    sink(std::as_bytes(values));
  } else if (dtype == DType::f64) {
    put_converted<double>(sink, values, [](real x) { return static_cast<double>(x); });
  } else if (dtype == DType::f32) {
    put_converted<float>(sink, values, [](real x) { return static_cast<float>(x); });
  } else if (dtype == DType::f16) {
    put_converted<std::uint16_t>(sink, values,
                                 [](real x) { return to_f16(static_cast<float>(x)); });
  } else if (dtype == DType::bf16) {
    put_converted<std::uint16_t>(sink, values,
                                 [](real x) { return to_bf16(static_cast<float>(x)); });
  } else {
    check(false, "safetensors", "reals cannot be stored as ", name(dtype));
  }
}

TensorSource real_tensor(std::string name, FileShape shape, std::span<const real> values,
                         DType dtype) {
  return {std::move(name), dtype, std::move(shape),
          [values, dtype](const ByteSink& sink) { put_reals(sink, dtype, values); }};
}

TensorSource raw_tensor(std::string name, DType dtype, FileShape shape,
                        std::span<const std::byte> bytes) {
  return {std::move(name), dtype, std::move(shape), [bytes](const ByteSink& sink) { sink(bytes); }};
}

namespace {

std::int64_t data_bytes(const std::vector<TensorSource>& tensors) {
  std::int64_t total = 0;
  for (const TensorSource& t : tensors) {
    std::int64_t bytes = 0;
    check(tensor_bytes(t.dtype, t.shape, bytes), t.name, "has the impossible shape ",
          to_text(t.shape));
    total += bytes;
  }
  return total;
}

}  // namespace

std::int64_t safetensors_bytes(std::vector<TensorSource> tensors, const Metadata& metadata) {
  sort_for_file(tensors);
  const Metadata all = with_digest(metadata, std::string(kDigestName));  // as long as any
  return data_bytes(tensors) + std::ssize(header_text("safetensors_bytes", tensors, all)) +
         static_cast<std::int64_t>(sizeof(std::uint64_t));
}

void write_safetensors(const fs::path& path, std::vector<TensorSource> tensors,
                       const Metadata& metadata, Existing existing) {
  std::set<std::string_view> names;
  for (const TensorSource& t : tensors) {
    check_source(path, t);
    check(t.write != nullptr, path.string(), "nothing writes ", t.name);
    check(names.insert(t.name).second, path.string(), "two tensors are named ", t.name);
  }
  names.clear();  // the views die in the sort
  sort_for_file(tensors);
  // The digest is known when all has been written, and then takes the place of its zeros.
  const std::string outline =
      header_text(path, tensors, with_digest(metadata, std::string(kDigestName)));
  const std::uint64_t bytes = static_cast<std::uint64_t>(data_bytes(tensors));
  const Metadata all = with_digest(metadata, digest_kind(outline, bytes));
  const std::string header = header_text(path, tensors, all);

  FileWriter file(path, existing);
  const std::uint64_t header_bytes = header.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(header);
  PieceHasher hasher;
  for (const TensorSource& t : tensors) {
    std::int64_t expected = 0, written = 0;
    tensor_bytes(t.dtype, t.shape, expected);
    t.write([&](std::span<const std::byte> piece) {
      file.write(piece.data(), piece.size());
      hasher.update(piece);
      written += static_cast<std::int64_t>(piece.size());
    });
    check(written == expected, path.string(), t.name, " ", to_text(t.shape), " has ", expected,
          " bytes, but ", written, " were given");
  }
  const std::string member = json_quote(kSha256Key) + ": \"";
  const std::size_t at = header.find(member + all.at(std::string(kSha256Key)));
  check(at != header.npos, path.string(), "has no place for its digest");
  const std::vector<PieceHash> pieces = hasher.finish();
  file.overwrite(sizeof header_bytes + at + member.size(),
                 digest_hex(digest_header(path, tensors, metadata), pieces));
  file.commit();
}

}  // namespace notch::nn
