#include "nn/gguf_header.h"

#include <type_traits>
#include <variant>

namespace notch::nn {
namespace {

template <class T>
std::vector<T> numbers(GgufHeader& in, std::uint64_t n, const char* field) {
  if (n > in.left() / sizeof(T)) {
    in.fail(field, "an array longer than the file", str(n), str("at most ", in.left() / sizeof(T)));
  }
  std::vector<T> out(n);
  in.raw(out.data(), n * sizeof(T), field);
  return out;
}

/// The bytes of a value of that type, 0 for texts and arrays, which say it themselves.
std::uint64_t bytes_of_type(GgufHeader& in, std::uint32_t type) {
  constexpr std::array<std::uint8_t, 13> kBytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  if (type >= kBytes.size()) {
    in.fail("array type", "not a type that GGUF has", str(type), "0 to 12");
  }
  return kBytes[type];
}

/// Passes over the entries of an array. Each takes a byte or more of the file, so a file asks for
/// no more steps than it has bytes.
void skip_array(GgufHeader& in, std::uint32_t type, std::uint64_t n, int depth = 1) {
  constexpr int kDeepest = 8;
  const std::uint64_t bytes = bytes_of_type(in, type);
  if (depth > kDeepest) {
    in.fail("array type", "arrays in arrays in arrays", str("more than ", kDeepest, " deep"),
            str("at most ", kDeepest));
  }
  // What an entry takes at least: a text its length, an array its type, too.
  const std::uint64_t least = bytes > 0 ? bytes : type == kGgufString ? 8 : 12;
  if (n > in.left() / least) {
    in.fail("array length", "more entries than the file can hold", str(n),
            str("at most ", in.left() / least));
  }
  if (bytes > 0) return in.skip(n * bytes, "array");
  for (std::uint64_t i = 0; i < n; ++i) {
    if (type == kGgufString) {
      in.skip(in.number<std::uint64_t>("array"), "array");
    } else {
      const auto inner = in.number<std::uint32_t>("array type");
      skip_array(in, inner, in.number<std::uint64_t>("array length"), depth + 1);
    }
  }
}

GgufValue read_array(GgufHeader& in) {
  const auto type = in.number<std::uint32_t>("array type");
  const auto n = in.number<std::uint64_t>("array length");
  if (type == 5 || type == 4) return numbers<std::int32_t>(in, n, "array");
  if (type == 6) return numbers<float>(in, n, "array");
  if (type != kGgufString) {
    skip_array(in, type, n);
    return GgufSkipped{n};
  }
  if (n > in.left() / sizeof(std::uint64_t)) {
    in.fail("array length", "more texts than the file can hold", str(n),
            str("at most ", in.left() / sizeof(std::uint64_t)));
  }
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < n; ++i) texts.push_back(in.text("array"));
  return texts;
}

template <std::size_t i = 0>
GgufValue read_plain_value(GgufHeader& in, std::uint32_t type) {
  if constexpr (i == kGgufIds.size()) {
    in.fail("value type", "not a type that GGUF has", str(type), "0 to 12");
  } else {
    if (type != kGgufIds[i]) return read_plain_value<i + 1>(in, type);
    using T = std::variant_alternative_t<i, GgufValue>;
    if constexpr (std::is_same_v<T, std::string>) {
      return in.text("value");
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = in.number<std::uint8_t>("value");
      if (byte > 1) in.fail("value", "not a bool", str(int{byte}), "0 or 1");
      return byte == 1;
    } else {
      return in.number<T>("value");
    }
  }
}

}  // namespace

GgufValue read_gguf_value(GgufHeader& in, std::uint32_t type) {
  return type == kGgufArray ? read_array(in) : read_plain_value(in, type);
}

}  // namespace notch::nn
