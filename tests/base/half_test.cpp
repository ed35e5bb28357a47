// f16 and bf16 conversions against tables that are built from the formats' definitions with ldexp,
// and against values from IEEE 754 itself (largest, smallest, the tie to infinity).
#include "autograd/base/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace half_test {

using namespace notch;

/// The non-negative finite values of a 16-bit format, by bit pattern, from its definition.
std::vector<double> values(int fraction_bits, int exponent_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int patterns = ((1 << exponent_bits) - 1) << fraction_bits;
  std::vector<double> table;
  for (int p = 0; p < patterns; ++p) {
    const int exponent = p >> fraction_bits, fraction = p & ((1 << fraction_bits) - 1);
    table.push_back(exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                  : std::ldexp(fraction + (1 << fraction_bits),
                                               exponent - bias - fraction_bits));
  }
  return table;
}

/// Bit pattern of the nearest table value to x >= 0, even pattern on a tie; past the middle between
/// the largest value and the next power of two: one more, which is infinity.
int nearest(std::vector<double>& table, double x) {
  table.push_back(2 * table.back() - table[table.size() - 2]);  // where the next value would be
  const auto up = std::lower_bound(table.begin(), table.end(), x);
  int p = static_cast<int>(up - table.begin());
  if (up == table.end()) {
    p = static_cast<int>(table.size()) - 1;
  } else if (p > 0) {
    const double above = *up - x, below = x - *(up - 1);
    if (below < above || (below == above && (p - 1) % 2 == 0)) --p;
  }
  table.pop_back();
  return p;
}

template <class To, class From>
void check_format(std::vector<double> table, To to, From from) {
  int wrong = 0;
  for (std::size_t p = 0; p < table.size(); ++p) {
    const auto bits = static_cast<std::uint16_t>(p);
    wrong += from(bits) != table[p];
    wrong += from(static_cast<std::uint16_t>(bits | 0x8000u)) != -table[p];
    wrong += to(from(bits)) != bits;
    const float middle =
        static_cast<float>((table[p] + table[std::min(p + 1, table.size() - 1)]) / 2);
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e38f)}) {
      wrong += to(x) != nearest(table, static_cast<double>(x));
      wrong += to(-x) != (nearest(table, static_cast<double>(x)) | 0x8000);
    }
  }
  Rng rng(7);
  for (int i = 0; i < 20000; ++i) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(rng.next()) & 0x7fffffffu);
    if (!std::isfinite(x)) continue;
    wrong += to(x) != nearest(table, static_cast<double>(x));
  }
  CHECK(wrong == 0);
}

TEST_CASE("f16 rounds to nearest, ties to even, subnormals included") {
  check_format(values(10, 5), to_f16, from_f16);
}

TEST_CASE("bf16 rounds to nearest, ties to even, subnormals included") {
  check_format(values(7, 8), to_bf16, from_bf16);
}

TEST_CASE("16-bit formats keep their limits, infinities and NaN") {
  CHECK(from_f16(0x7bff) == 65504.0f);
  CHECK(kMaxF16 == 65504.0f);
  CHECK(from_f16(0x0001) == kMinF16);
  CHECK(from_bf16(0x7f7f) == kMaxBf16);
  CHECK(from_bf16(0x0001) == kMinBf16);
  CHECK(to_f16(65519.996f) == 0x7bff);
  CHECK(to_f16(65520.0f) == 0x7c00);  // the tie goes to the even neighbour, infinity
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(to_f16(-inf) == 0xfc00);
  CHECK(to_bf16(-inf) == 0xff80);
  CHECK(from_f16(0x7c00) == inf);
  CHECK(std::isnan(from_f16(to_f16(std::nanf("")))));
  CHECK(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001u)))));
  CHECK(std::signbit(from_f16(to_f16(-0.0f))));
}

}  // namespace half_test
