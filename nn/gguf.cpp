#include "nn/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <set>
#include <type_traits>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "nn/digest.h"
#include "nn/gguf_header.h"

namespace notch::nn {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is written as memory has it");

constexpr std::uint32_t kGgufVersion = 3;
constexpr std::uint64_t kAlignment = 32;
constexpr std::size_t kNameBytes = 64;  // of a tensor, with the terminating zero
constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignmentKey = "general.alignment";

// ggml.h and ggml-quants.h have the ids and sizes.
constexpr std::array kTypes{
    GgufType{0, "F32", 1, 4},       GgufType{1, "F16", 1, 2},       GgufType{2, "Q4_0", 32, 18},
    GgufType{3, "Q4_1", 32, 20},    GgufType{6, "Q5_0", 32, 22},    GgufType{7, "Q5_1", 32, 24},
    GgufType{8, "Q8_0", 32, 34},    GgufType{10, "Q2_K", 256, 84},  GgufType{11, "Q3_K", 256, 110},
    GgufType{12, "Q4_K", 256, 144}, GgufType{13, "Q5_K", 256, 176}, GgufType{14, "Q6_K", 256, 210},
    GgufType{20, "IQ4_NL", 32, 18}, GgufType{30, "BF16", 1, 2},     GgufType{34, "TQ1_0", 256, 54},
    GgufType{35, "TQ2_0", 256, 66}};

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

std::uint64_t bytes_of(const GgufSource& t) {
  return static_cast<std::uint64_t>(t.rows * (t.cols / t.type->block) * t.type->bytes);
}

// ---- writing ----

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put(std::string& out, const std::string& text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out += text;
}
void put(std::string& out, bool value) { out += static_cast<char>(value); }

template <class T>
constexpr std::uint32_t id_of() {
  if constexpr (std::is_same_v<T, std::string>) return kGgufString;
  if constexpr (std::is_same_v<T, std::int32_t>) return 5;
  return 6;  // float
}

void put_entry(std::string& out, const GgufEntry& entry) {
  put(out, entry.key);
  std::visit(
      [&]<class T>(const T& value) {
        if constexpr (std::is_same_v<T, std::vector<std::string>> ||
                      std::is_same_v<T, std::vector<std::int32_t>> ||
                      std::is_same_v<T, std::vector<float>>) {
          put(out, kGgufArray);
          put(out, id_of<typename T::value_type>());
          put(out, static_cast<std::uint64_t>(value.size()));
          for (const auto& each : value) put(out, each);
        } else if constexpr (!std::is_same_v<T, GgufSkipped> && !std::is_same_v<T, Nothing>) {
          put(out, kGgufIds[entry.value.index()]);
          put(out, value);
        }
      },
      entry.value);
}

void check_sources(std::span<const GgufEntry> metadata, std::span<const GgufSource> tensors) {
  std::set<std::string_view> keys, names;
  std::int64_t total = 0;
  for (const GgufEntry& e : metadata) {
    check(keys.insert(e.key).second, "gguf", "key ", e.key, " appears twice");
    const bool has_value = e.value.index() < std::variant_size_v<GgufValue> - 2;
    check(has_value, "gguf", "key ", e.key, " has no value");
  }
  for (const GgufSource& t : tensors) {
    check(names.insert(t.name).second, "gguf", "tensor ", t.name, " appears twice");
    check(t.name.size() < kNameBytes, t.name, "has a name of ", t.name.size(),
          " bytes; llama.cpp reads fewer than ", kNameBytes);
    check(t.type && t.write, t.name, "has no type, or nothing writes it");
    check(t.cols > 0 && t.rows > 0 && t.cols % t.type->block == 0, t.name, "has ", t.cols,
          " columns, and ", t.type->name, " stores blocks of ", t.type->block);
    total += extent(t.name, {t.rows, t.cols / t.type->block, t.type->bytes});
    extent("gguf", {total});
  }
}

/// All before the data, with zeros for the digest; `digest_begin` tells where they stand.
std::string header_of(std::span<const GgufEntry> metadata, std::span<const GgufSource> tensors,
                      std::uint64_t file_bytes, std::size_t& digest_begin) {
  std::string header(kMagic);
  put(header, kGgufVersion);
  put(header, static_cast<std::uint64_t>(tensors.size()));
  put(header, static_cast<std::uint64_t>(metadata.size() + 2));
  for (const GgufEntry& e : metadata) put_entry(header, e);
  const std::string size = of_bytes(file_bytes);
  put_entry(header, {std::string(kDigestKey), str(kDigestName, size)});
  put_entry(header, {std::string(kSha256Key), std::string(kHexDigits, '0') + size});
  digest_begin = header.size() - size.size() - kHexDigits;
  std::uint64_t offset = 0;
  for (const GgufSource& t : tensors) {
    put(header, t.name);
    put(header, static_cast<std::uint32_t>(t.is_vector ? 1 : 2));
    put(header, static_cast<std::uint64_t>(t.cols));
    if (!t.is_vector) put(header, static_cast<std::uint64_t>(t.rows));
    put(header, t.type->id);
    put(header, offset);
    offset += padded(bytes_of(t), kAlignment);
  }
  header.resize(padded(header.size(), kAlignment), '\0');
  return header;
}

}  // namespace

const GgufType* gguf_type(std::uint32_t id) {
  const auto at = std::ranges::find(kTypes, id, &GgufType::id);
  return at == kTypes.end() ? nullptr : &*at;
}

const GgufType* gguf_type(std::string_view name) {
  const auto at = std::ranges::find(kTypes, name, &GgufType::name);
  return at == kTypes.end() ? nullptr : &*at;
}

void write_gguf(const fs::path& path, std::span<const GgufEntry> metadata,
                std::span<const GgufSource> tensors, Existing existing) {
  check_sources(metadata, tensors);
  std::uint64_t data_bytes = 0;
  for (const GgufSource& t : tensors) data_bytes += padded(bytes_of(t), kAlignment);
  std::size_t digest_begin = 0;  // the header is as long, whatever the size of the file
  const std::uint64_t file_bytes =
      header_of(metadata, tensors, 0, digest_begin).size() + data_bytes;
  const std::string header = header_of(metadata, tensors, file_bytes, digest_begin);

  FileWriter out(path, existing);
  PieceHasher hasher;
  const auto put_bytes = [&](std::span<const std::byte> bytes) {
    out.write(bytes.data(), bytes.size());
    hasher.update(bytes);
  };
  put_bytes(std::as_bytes(std::span(header)));
  constexpr std::int64_t kPieceWeights = 1 << 20;
  std::vector<std::byte> piece;
  for (const GgufSource& t : tensors) {
    const std::uint64_t begin = out.bytes_written(), bytes = bytes_of(t);
    const std::int64_t rows = std::max<std::int64_t>(1, kPieceWeights / t.cols);
    for (std::int64_t first = 0; first < t.rows; first += rows) {
      piece.clear();
      t.write(first, std::min(rows, t.rows - first), piece);
      put_bytes(piece);
    }
    check(out.bytes_written() - begin == bytes, t.name, "wrote ", out.bytes_written() - begin,
          " bytes, and its shape has ", bytes);
    piece.assign(padded(bytes, kAlignment) - bytes, std::byte{0});
    put_bytes(piece);
  }
  out.overwrite(digest_begin, digest_hex("", hasher.finish()));
  out.commit();
}

GgufFile GgufFile::open(const fs::path& path) {
  GgufFile file(path);
  GgufHeader in(file.file_);
  std::string magic(kMagic.size(), '\0');
  in.raw(magic.data(), magic.size(), "magic");
  if (magic != kMagic) in.fail("magic", "not a GGUF file", "other bytes", std::string(kMagic));
  const auto version = in.number<std::uint32_t>("version");
  if (version != 2 && version != kGgufVersion) {
    in.fail("version", "not a version this program reads", str(version), "2 or 3");
  }
  const auto n_tensors = in.number<std::uint64_t>("n_tensors");
  const auto n_entries = in.number<std::uint64_t>("n_kv");
  std::set<std::string, std::less<>> keys, names;
  for (std::uint64_t i = 0; i < n_entries; ++i) {
    std::string key = in.text("key");
    if (!keys.insert(key).second) in.fail(key, "a key that appears twice", "twice", "once");
    const auto type = in.number<std::uint32_t>("value type");
    GgufValue value = read_gguf_value(in, type);
    if (const auto* text = std::get_if<std::string>(&value); text && key == kSha256Key) {
      file.digest_begin_ = in.position() - text->size();
    }
    file.metadata_.push_back({std::move(key), std::move(value)});
  }
  std::uint64_t alignment = kAlignment;
  if (const GgufValue* own = file.find(kAlignmentKey)) {
    const auto* number = std::get_if<std::uint32_t>(own);
    if (!number || *number == 0 || *number > 65536 || !std::has_single_bit(*number)) {
      in.fail(std::string(kAlignmentKey), "no alignment",
              number ? str(*number) : "a value of another type", "a power of two up to 65536");
    }
    alignment = *number;
  }
  std::uint64_t expected = 0;
  for (std::uint64_t i = 0; i < n_tensors; ++i) {
    GgufTensor t{.name = in.text("tensor name")};
    if (!names.insert(t.name).second)
      in.fail(t.name, "a tensor that appears twice", "twice", "once");
    const auto rank = in.number<std::uint32_t>("n_dims");
    if (rank < 1 || rank > 4)
      in.fail(t.name, "a tensor without a shape", str(rank), "1 to 4 extents");
    std::uint64_t rest = 1;
    for (std::uint32_t d = 0; d < rank; ++d) {
      const auto extent = in.number<std::uint64_t>("extent");
      // A product above the file's bits is no tensor of this file, whatever its type.
      if (extent == 0 || extent > 8 * file.file_bytes() / rest) {
        in.fail(t.name, "an extent that the file cannot hold", str(extent),
                str("1 to ", 8 * file.file_bytes() / rest));
      }
      rest *= extent;
      t.extents.push_back(static_cast<std::int64_t>(extent));
    }
    const auto type = in.number<std::uint32_t>("tensor type");
    t.type = gguf_type(type);
    if (!t.type) {
      std::string known;
      for (const GgufType& each : kTypes) known.append(known.empty() ? "" : ", ").append(each.name);
      in.fail(t.name, "a type that this program does not know", str(type), known);
    }
    if (t.extents[0] % t.type->block != 0) {
      in.fail(t.name, "a row that its blocks do not divide", str(t.extents[0]),
              str("a multiple of ", t.type->block));
    }
    t.bytes = rest / static_cast<std::uint64_t>(t.type->block) *
              static_cast<std::uint64_t>(t.type->bytes);
    t.offset = in.number<std::uint64_t>("offset");
    if (t.offset != expected)
      in.fail(t.name, "another offset than its predecessors leave", str(t.offset), str(expected));
    if (t.bytes > file.file_bytes())
      in.fail(t.name, "larger than the file", str(t.bytes), str("at most ", file.file_bytes()));
    expected += padded(t.bytes, alignment);
    file.tensors_.push_back(std::move(t));
  }
  const std::uint64_t data = padded(in.position(), alignment);
  for (GgufTensor& t : file.tensors_) {
    t.offset += data;
    if (t.offset + t.bytes > file.file_bytes()) {
      in.fail(t.name, "data beyond the end of the file", str("up to byte ", t.offset + t.bytes),
              str("a file of ", file.file_bytes()));
    }
  }
  if (file.file_bytes() > data + expected)
    in.fail("", "bytes after the last tensor", str("a file of ", file.file_bytes()),
            str("at most ", data + expected));
  return file;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto at = std::ranges::find(metadata_, key, &GgufEntry::key);
  return at == metadata_.end() ? nullptr : &at->value;
}

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  const auto at = std::ranges::find(tensors_, name, &GgufTensor::name);
  return at == tensors_.end() ? nullptr : &*at;
}

void GgufFile::read(const GgufTensor& t, std::span<std::byte> out, std::uint64_t first) const {
  check(first <= t.bytes && out.size() <= t.bytes - first, t.name, "has ", t.bytes, " bytes, not ",
        out.size(), " from ", first);
  file_.read_at(t.offset + first, out);
}

bool is_gguf(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  std::ifstream in(path, std::ios::binary);
  std::string magic(kMagic.size(), '\0');
  in.read(magic.data(), static_cast<std::streamsize>(magic.size()));
  return in && magic == kMagic;
}

}  // namespace notch::nn
