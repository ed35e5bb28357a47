// Sizes and positions are signed: a difference or a loop downwards needs no cast.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace notch {

using Index = std::int64_t;

/// A position as the standard library's containers take it; one below zero is the caller's mistake.
constexpr std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// The n elements of a span or vector from `first` on; that it has them is up to the caller.
template <class Elements>
constexpr auto part(Elements&& all, Index first, Index n) {
  return std::span(all).subspan(at(first), at(n));
}

}  // namespace notch
