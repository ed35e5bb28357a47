// The single changes that mutate() is made of. Internal to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "autograd/base/json.h"
#include "autograd/base/rng.h"

namespace notch::test::fuzz {

template <class List>
const auto& one_of(const List& list, Rng& rng) {
  return list[rng.below(std::size(list))];
}

inline bool coin(Rng& rng, std::uint64_t one_in = 2) { return rng.below(one_in) == 0; }

/// Positions near the ends are as likely as all the others.
inline std::size_t place(std::size_t size, Rng& rng) {
  if (size == 0) return 0;
  switch (rng.below(4)) {
    case 0:
      return rng.below(std::min<std::size_t>(size, 32));
    case 1:
      return size - 1 - rng.below(std::min<std::size_t>(size, 32));
    default:
      return rng.below(size);
  }
}

/// A word that parsers have stumbled over.
std::string_view odd_word(Rng& rng);
/// A number beside n, or at the edge of a type.
std::uint64_t edge(std::uint64_t n, Rng& rng);

/// A bit, a byte, a range, a piece of `other`, or a little-endian number that could be a length.
std::string change_bytes(std::string bytes, std::string_view other, Rng& rng);
/// A token, or several: replaced, repeated, swapped, left out.
std::string change_text(std::string_view text, std::string_view other, Rng& rng);
/// A value, a key, or a place.
Json change_json(const Json& json, const std::optional<Json>& other, Rng& rng);
/// Nothing for what is not JSON, or no object or list.
std::optional<Json> json_of(std::string_view text);

}  // namespace notch::test::fuzz
