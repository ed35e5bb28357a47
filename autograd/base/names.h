// Enumerations as words: one list of names per enumeration, in the order of its values, beside it.
//
//   enum class Ste { clipped, plain };
//   constexpr auto names(Ste) { return std::array<std::string_view, 2>{"clipped", "plain"}; }
//
// Configurations, flags, files and help texts all read that list.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

namespace notch {

template <class E>
concept Named = std::is_enum_v<E> && requires(E e) {
  names(e);
};

template <Named E>
constexpr std::string_view word_of(E value) {
  return names(value)[static_cast<std::size_t>(value)];
}

template <Named E>
std::vector<std::string_view> words_of() {
  constexpr auto all = names(E{});
  return {all.begin(), all.end()};
}

/// The value of that name, or nothing.
template <Named E>
std::optional<E> value_of(std::string_view word) {
  constexpr auto all = names(E{});
  const auto at = std::find(all.begin(), all.end(), word);
  if (at == all.end()) return std::nullopt;
  return static_cast<E>(at - all.begin());
}

}  // namespace notch
