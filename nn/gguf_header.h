// The header of a GGUF file and the values of its metadata. Internal to nn/gguf.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/error.h"
#include "nn/gguf.h"

namespace notch::nn {

/// Ids of the metadata's types, in the order of GgufValue's first twelve alternatives.
inline constexpr std::array<std::uint32_t, 12> kGgufIds{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12};
inline constexpr std::uint32_t kGgufString = 8, kGgufArray = 9;

/// Reads the header, within the file's bytes. Fault::input where it would go beyond them.
class GgufHeader {
 public:
  explicit GgufHeader(const FileReader& file) : file_(file) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return file_.bytes() - position_; }

  void raw(void* to, std::uint64_t n, const char* field) {
    if (n > left()) fail(field, "the file ends", str(left(), " bytes"), str(n, " bytes"));
    std::span<std::byte> out(static_cast<std::byte*>(to), n);
    while (!out.empty()) {
      if (position_ < begin_ || position_ >= begin_ + piece_.size()) {
        piece_.resize(std::min<std::uint64_t>(kPiece, left()));
        begin_ = position_;
        file_.read_at(begin_, piece_);
      }
      const std::size_t at = position_ - begin_, some = std::min(out.size(), piece_.size() - at);
      std::copy_n(piece_.begin() + static_cast<std::ptrdiff_t>(at), some, out.begin());
      out = out.subspan(some);
      position_ += some;
    }
  }
  void skip(std::uint64_t n, const char* field) {
    if (n > left()) fail(field, "longer than the file", str(n, " bytes"), str("at most ", left()));
    position_ += n;
  }
  template <class T>
  T number(const char* field) {
    T value{};
    raw(&value, sizeof value, field);
    return value;
  }
  std::string text(const char* field) {
    const auto n = number<std::uint64_t>(field);
    if (n > left()) fail(field, "a text longer than the file", str(n), str("at most ", left()));
    std::string out(n, '\0');
    raw(out.data(), n, field);
    return out;
  }
  [[noreturn]] void fail(std::string field, std::string what, std::string found,
                         std::string expected) const {
    throw Error({.fault = Fault::input,
                 .where = str(file_.path().string(), ": byte ", position_),
                 .what = std::move(what),
                 .field = std::move(field),
                 .found = std::move(found),
                 .expected = std::move(expected)});
  }

 private:
  static constexpr std::size_t kPiece = std::size_t{1} << 16;

  const FileReader& file_;
  std::uint64_t position_ = 0, begin_ = 0;  // of the file; where the piece begins
  std::vector<std::byte> piece_{};
};

/// A value of that type. Arrays that no model is read from are passed over (GgufSkipped).
GgufValue read_gguf_value(GgufHeader& in, std::uint32_t type);

}  // namespace notch::nn
