// binary16 ("f16", IEEE 754) and bfloat16 as bit patterns: 2 bytes in files, float in memory.
//
// Conversion to 16 bits rounds half to even, including into and inside the subnormals; values that
// round above the largest finite number become infinity (f16: |x| >= 65520); NaN stays a quiet NaN.
// Conversion to float is exact. In base because both model files and quantizers store them.
#pragma once

#include <bit>
#include <cstdint>

namespace notch {

constexpr float kMaxF16 = 65504.0f;      // (2 - 2^-10) * 2^15
constexpr float kMinF16 = 0x1p-24f;      // smallest subnormal
constexpr float kMaxBf16 = 0x1.fep127f;  // (2 - 2^-7) * 2^127
constexpr float kMinBf16 = 0x1p-133f;    // smallest subnormal

namespace detail {
/// bits >> shift, rounded half to even.
constexpr std::uint32_t shift_half_even(std::uint32_t bits, std::uint32_t shift) {
  const std::uint32_t half = std::uint32_t{1} << (shift - 1);
  const std::uint32_t odd = (bits >> shift) & 1u;
  return (bits + (half - 1) + odd) >> shift;
}
}  // namespace detail

constexpr std::uint16_t to_f16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t out = 0;
  if (magnitude > 0x7f800000u) {
    out = 0x7e00u;  // NaN
  } else if (magnitude >= 0x477ff000u) {
    out = 0x7c00u;                        // >= 65520 rounds to infinity
  } else if (magnitude >= 0x38800000u) {  // normal in f16: rebias 127 -> 15, 23 -> 10 fraction bits
    out = detail::shift_half_even(magnitude - 0x38000000u, 13);
  } else if (magnitude >= 0x33000000u) {             // subnormal: fraction in units of 2^-24
    const std::uint32_t exponent = magnitude >> 23;  // 102 .. 112
    out = detail::shift_half_even((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);
  }  // below 2^-25: zero
  return static_cast<std::uint16_t>(sign | out);
}

constexpr float from_f16(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * kMinF16;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t rebiased = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (rebiased << 23) | (fraction << 13));
}

constexpr std::uint16_t to_bf16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>(detail::shift_half_even(bits & 0x7fffffffu, 16) |
                                    ((bits >> 16) & 0x8000u));
}

constexpr float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

}  // namespace notch
