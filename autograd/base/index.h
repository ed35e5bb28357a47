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

/// The same of what may be left out: nothing of nothing.
template <class T>
constexpr std::span<T> part_if_any(std::span<T> all, Index first, Index n) {
  return all.empty() ? all : part(all, first, n);
}

/// a / b rounded up, for a >= 0 and b > 0.
constexpr Index quotient_up(Index a, Index b) { return (a + b - 1) / b; }

/// The least multiple of `step` > 0 that is not below a >= 0.
constexpr Index round_up(Index a, Index step) { return quotient_up(a, step) * step; }

}  // namespace notch
