// How many inputs an integer product may have: quant/kernels/integer_linear.h's contract.
#pragma once

#include <cstdint>

namespace notch::quant {

/// So many inputs, and with weight zero points so many of a unit, leave every sum in int32 (255 · 255
/// per product instead of 255 · 128).
inline constexpr std::int64_t kMostInputs = 65536, kMostWithZeroPoints = 32768;

}  // namespace notch::quant
