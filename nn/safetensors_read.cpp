// The reader of safetensors files. Strict: every number of the header is checked against the file's
// size before anything is allocated for it, and a file with a hole, an overlap or a byte too many
// is refused. (Deviation from the format: an unknown member of a tensor's entry is an error.)
#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "autograd/base/file_form.h"
#include "autograd/base/half.h"
#include "autograd/base/json.h"
#include "autograd/base/names.h"
#include "nn/digest.h"
#include "nn/safetensors.h"
#include "nn/safetensors_limits.h"

namespace notch::nn {
namespace {

// A long or odd value of a hostile file must not flood the message.
std::string brief(const Json& value) {
  std::string text = value.dump();
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

Metadata read_metadata(const fs::path& path, const Json& value) {
  if (!value.is_object()) refuse_file(path, kMetadataKey, "is not an object", brief(value));
  Metadata metadata;
  for (const auto& [key, text] : value.as_object("")) {
    if (!text.is_string())
      refuse_file(path, kMetadataKey, "holds a value that is no string", brief(text));
    metadata.emplace(key, text.as_string(""));
  }
  return metadata;
}

DType read_dtype(const fs::path& path, const std::string& name, const Json& value) {
  const std::string text = value.is_string() ? value.as_string("") : "";
  const std::optional<DType> known = value_of<DType>(text);
  if (!known) refuse_file(path, name, "unknown dtype", brief(value), joined(words_of<DType>()));
  return *known;
}

// As brief, but a number that is no integer looks like one no more: 1.0 stays 1.0.
std::string brief_sizes(const Json& value) {
  if (!value.is_array()) return brief(value);
  std::string text;
  for (const Json& item : value.as_array("")) {
    std::string one = item.dump();
    const bool whole = one.find_first_of(".e") == std::string::npos;
    if (item.is_number() && !item.is_int() && whole) one += ".0";
    text += str(text.empty() ? "" : ",", one);
    if (text.size() > 80) return str('[', text.substr(0, 76), "...");
  }
  return str('[', text, ']');
}

// An array of integers >= 0.
std::vector<std::int64_t> read_sizes(const fs::path& path, const std::string& name,
                                     std::string_view key, const Json& value) {
  std::vector<std::int64_t> sizes;
  bool valid = value.is_array();
  if (valid) {
    for (const Json& item : value.as_array("")) {
      valid = valid && item.is_int() && item.as_int("") >= 0;
      if (valid) sizes.push_back(item.as_int(""));
    }
  }
  if (!valid) {
    refuse_file(path, name, str("bad ", key), brief_sizes(value), "an array of integers >= 0");
  }
  return sizes;
}

// Offsets of the result are relative to the data.
TensorEntry read_entry(const fs::path& path, const std::string& name, const Json& value,
                       std::uint64_t data_bytes) {
  const Json* dtype = value.find("dtype");
  const Json* shape = value.find("shape");
  const Json* offsets = value.find("data_offsets");
  if (!dtype || !shape || !offsets || value.as_object("").size() != 3) {
    refuse_file(path, name, "bad header entry", brief(value),
                "an object of dtype, shape and data_offsets");
  }
  TensorEntry entry{.name = name, .dtype = read_dtype(path, name, *dtype)};
  entry.shape = read_sizes(path, name, "shape", *shape);
  std::int64_t bytes = 0;
  if (!tensor_bytes(entry.dtype, entry.shape, bytes)) {
    refuse_file(path, name, "no size of a file",
                str(nn::name(entry.dtype), " ", to_text(entry.shape)),
                "whole bytes, and fewer than 2^60");
  }
  const std::vector<std::int64_t> range = read_sizes(path, name, "data_offsets", *offsets);
  if (range.size() != 2 || range[0] > range[1]) {
    refuse_file(path, name, "bad data_offsets", brief(*offsets), "[begin, end] with begin <= end");
  }
  if (range[1] - range[0] != bytes) {
    refuse_file(path, name, "data_offsets do not match the shape",
                str(range[1] - range[0], " bytes at ", brief(*offsets)),
                str(bytes, " bytes for ", nn::name(entry.dtype), " ", to_text(entry.shape)));
  }
  if (static_cast<std::uint64_t>(range[1]) > data_bytes) {
    refuse_file(path, name, "data is cut off", str(data_bytes, " bytes of data"),
                str("at least ", range[1]),
                "the file was not written or copied to its end; get it again");
  }
  entry.offset = static_cast<std::uint64_t>(range[0]);
  entry.bytes = static_cast<std::uint64_t>(bytes);
  return entry;
}

template <class Stored, class Convert, class Read>
void read_converted(std::span<real> out, const Convert& convert, const Read& read) {
  std::vector<Stored> piece(std::min(out.size(), kPiece));
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t n = std::min(out.size() - at, piece.size());
    read(at * sizeof(Stored), std::as_writable_bytes(std::span(piece.data(), n)));
    std::transform(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(n),
                   out.begin() + static_cast<std::ptrdiff_t>(at), convert);
    at += n;
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const fs::path& path) {
  SafetensorsFile file(path);
  file.read_header();
  return file;
}

void SafetensorsFile::read_header() {
  std::uint64_t header_bytes = 0;
  constexpr std::uint64_t kPrefix = sizeof header_bytes;
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file_.bytes(), 512)), '\0');
  file_.read_at(0, std::as_writable_bytes(std::span(head)));
  if (head.size() <= kPrefix || head[kPrefix] != '{') {
    refuse_known_form(path().string(), head, "a safetensors file");
  }
  if (file_.bytes() < kPrefix) {
    refuse_file(path(), "header", "file is cut off", str(file_.bytes(), " bytes"), "at least 8");
  }
  std::memcpy(&header_bytes, head.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    refuse_file(path(), "header", "length is not that of a safetensors file",
                str(header_bytes, " bytes"), str("at most ", kMaxHeaderBytes));
  }
  if (header_bytes > file_.bytes() - kPrefix) {
    refuse_file(path(), "header", "file is cut off", str(file_.bytes(), " bytes"),
                str("at least ", kPrefix + header_bytes));
  }
  std::string text(static_cast<std::size_t>(header_bytes), '\0');
  file_.read_at(kPrefix, std::as_writable_bytes(std::span(text)));
  if (!text.starts_with('{')) {
    refuse_file(path(), "header", "does not start with '{'", json_quote(text.substr(0, 1)), "'{'");
  }
  const Json header = Json::parse(text, path().string() + " header");
  data_begin_ = kPrefix + header_bytes;
  const std::uint64_t data_bytes = file_.bytes() - data_begin_;
  for (const auto& [name, value] : header.as_object("")) {
    if (name == kMetadataKey) {
      metadata_ = read_metadata(path(), value);
      const auto take = [&](std::string_view key) {
        const auto node = metadata_.extract(std::string(key));
        return node.empty() ? std::string() : node.mapped();
      };
      digest_kind_ = take(kDigestKey);
      digest_ = take(kSha256Key);
    } else {
      entries_.push_back(read_entry(path(), name, value, data_bytes));
    }
  }

  std::sort(entries_.begin(), entries_.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    TensorEntry& entry = entries_[i];
    if (entry.offset != end) {
      refuse_file(path(), entry.name,
                  entry.offset < end ? "overlaps another tensor" : "follows a hole",
                  str("offset ", entry.offset), str("offset ", end));
    }
    end += entry.bytes;
    entry.offset += data_begin_;
    index_.emplace(entry.name, i);
  }
  if (end != data_bytes) {
    refuse_file(path(), "data", "bytes after the last tensor", str(data_bytes, " bytes of data"),
                str(end));
  }
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

void SafetensorsFile::read_bytes(const TensorEntry& entry, std::span<std::byte> out,
                                 std::uint64_t first) const {
  check(first <= entry.bytes && out.size() <= entry.bytes - first, path().string(), entry.name,
        " has ", entry.bytes, " bytes; asked for ", out.size(), " at ", first);
  file_.read_at(entry.offset + first, out);
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<real> out,
                           std::int64_t first) const {
  const auto n = static_cast<std::int64_t>(out.size());
  check(first >= 0 && first <= entry.size() && n <= entry.size() - first, path().string(),
        entry.name, " has ", entry.size(), " elements; asked for ", n, " at ", first);
  const auto begin = static_cast<std::uint64_t>(first * element_bits(entry.dtype) / 8);
  const auto read = [&](std::size_t at, std::span<std::byte> bytes) {
    read_bytes(entry, bytes, begin + at);
  };
  if (entry.dtype == kRealType) {
    read(0, std::as_writable_bytes(out));
  } else if (entry.dtype == DType::f64) {
    read_converted<double>(
        out, [](double x) { return static_cast<real>(x); }, read);
  } else if (entry.dtype == DType::f32) {
    read_converted<float>(
        out, [](float x) { return static_cast<real>(x); }, read);
  } else if (entry.dtype == DType::f16) {
    read_converted<std::uint16_t>(
        out, [](std::uint16_t x) { return static_cast<real>(from_f16(x)); }, read);
  } else if (entry.dtype == DType::bf16) {
    read_converted<std::uint16_t>(
        out, [](std::uint16_t x) { return static_cast<real>(from_bf16(x)); }, read);
  } else {
    const bool is_short = name(entry.dtype).starts_with('F');  // F8 and less
    refuse_file(path(), entry.name,
                is_short ? "has floats of 8 bits or fewer, which are not read"
                         : "is not a floating-point tensor",
                std::string(name(entry.dtype)), "F64, F32, F16 or BF16",
                is_short ? "they are codes with scales beside them: save the model dequantized, as "
                           "bfloat16 or float32"
                         : "");
  }
}

bool is_safetensors(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  std::ifstream in(path, std::ios::binary);
  std::uint64_t header_bytes = 0;
  char first = 0;
  in.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes).get(first);
  return in && first == '{' && header_bytes < fs::file_size(path, ignored);
}

}  // namespace notch::nn
