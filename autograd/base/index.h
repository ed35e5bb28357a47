// Sizes and positions are signed: a difference or a loop downwards needs no cast.
#pragma once

#include <cstddef>
#include <cstdint>

namespace notch {

using Index = std::int64_t;

/// A position as the standard library's containers take it; one below zero is the caller's mistake.
constexpr std::size_t at(Index i) { return static_cast<std::size_t>(i); }

}  // namespace notch
