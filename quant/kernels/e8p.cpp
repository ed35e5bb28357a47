#include "quant/kernels/e8p.h"

#include <cmath>
#include <limits>

#include "autograd/base/simd.h"

namespace notch::quant {
namespace {

constexpr int kPatterns = 256, kColumns = static_cast<int>(kE8pColumns);
constexpr int kShiftBit = 7, kPatternBit = 8;

/// Which coordinates are 1/2 (bit i: coordinate i) in the patterns of |p|² = 12; the others are 3/2.
constexpr std::array<std::uint8_t, 29> kNorm12{
    0x0e, 0x0d, 0x0b, 0x07, 0xc8, 0xa8, 0x98, 0x68, 0x58, 0x38, 0xc4, 0xa4, 0x94, 0x64, 0x54,
    0x34, 0xc2, 0xa2, 0x92, 0x62, 0x52, 0x31, 0xc1, 0xa1, 0x91, 0x61, 0x51, 0x13, 0x8c};

/// Column by column, so that a loop over patterns is one over neighbours.
struct Patterns {
  std::array<std::array<real, kPatterns>, kColumns> halves{};  ///< |p_i|: 1/2, 3/2 or 5/2
  std::array<real, kPatterns> half_norm{};                     ///< |p|² / 2
  std::array<std::int32_t, kPatterns> odd{};  ///< 1: an odd number of signs is below 0
};

Patterns make_patterns() {
  Patterns all;
  std::size_t count = 0;
  const auto add = [&](const std::array<int, kColumns>& doubled) {
    int sum = 0, squares = 0;
    for (std::size_t i = 0; i < doubled.size(); ++i) {
      all.halves[i][count] = static_cast<real>(doubled[i]) / 2;
      sum += doubled[i];
      squares += doubled[i] * doubled[i];
    }
    all.half_norm[count] = static_cast<real>(squares) / 8;
    all.odd[count++] = sum / 2 % 2;  // every sign that turns changes the sum by an odd number
  };
  constexpr int kMostSquares = 4 * 10;
  std::array<int, kColumns> doubled{};
  const auto extend = [&](const auto& self, std::size_t column, int squares) -> void {
    if (column == doubled.size()) return add(doubled);
    const int rest = kColumns - 1 - static_cast<int>(column);  // columns after it, 1 at least
    for (const int d : {1, 3, 5}) {
      if (squares + d * d + rest > kMostSquares) break;
      doubled[column] = d;
      self(self, column + 1, squares + d * d);
    }
  };
  extend(extend, 0, 0);
  for (const std::uint8_t ones : kNorm12) {
    for (std::size_t i = 0; i < doubled.size(); ++i) doubled[i] = (ones >> i & 1) != 0 ? 1 : 3;
    add(doubled);
  }
  return all;
}

const Patterns& patterns() {
  static const Patterns all = make_patterns();
  return all;
}

/// scores[n] = <|y|, |p|> - |p|²/2 for pattern n with its best signs: where more is better, by half of
/// |y|² - |y - p|².
NOTCH_CLONES void score_patterns(real* scores, const real* magnitudes, std::int32_t odd,
                                 const Patterns& all) {
  real least[kPatterns];
  for (int n = 0; n < kPatterns; ++n) {
    scores[n] = -all.half_norm[static_cast<std::size_t>(n)];
    least[n] = std::numeric_limits<real>::infinity();
  }
  for (std::size_t i = 0; i < kColumns; ++i) {
    const real* const halves = all.halves[i].data();
    const real a = magnitudes[i];
    for (int n = 0; n < kPatterns; ++n) {
      const real product = a * halves[n];
      scores[n] += product;
      least[n] = product < least[n] ? product : least[n];
    }
  }
  for (int n = 0; n < kPatterns; ++n) {
    const bool turns = all.odd[static_cast<std::size_t>(n)] != odd;
    scores[n] -= turns ? 2 * least[n] : real{0};
  }
}

struct Found {
  real distance = 0;  ///< squared
  std::uint16_t word = 0;
};

Found nearest_shifted(const E8pPoint& v, real shift, const Patterns& all) {
  real magnitudes[kColumns], squares = 0;
  std::uint32_t signs = 0;
  std::int32_t odd = 0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const real y = v[i] - shift;
    magnitudes[i] = std::fabs(y);
    squares += y * y;
    if (y < 0) signs |= 1u << i, odd ^= 1;
  }
  real scores[kPatterns];
  score_patterns(scores, magnitudes, odd, all);
  std::size_t best = 0;
  for (std::size_t n = 1; n < kPatterns; ++n) {
    if (scores[n] > scores[best]) best = n;
  }
  if (all.odd[best] != odd) {
    std::size_t turned = 0;
    for (std::size_t i = 1; i < v.size(); ++i) {
      if (magnitudes[i] * all.halves[i][best] < magnitudes[turned] * all.halves[turned][best]) {
        turned = i;
      }
    }
    signs ^= 1u << turned;
  }
  const std::uint32_t word = (signs & 0x7f) | (shift < 0 ? 1u << kShiftBit : 0u) |
                             static_cast<std::uint32_t>(best) << kPatternBit;
  return {.distance = squares - 2 * scores[best], .word = static_cast<std::uint16_t>(word)};
}

constexpr real kQuarter = real(0.25);

}  // namespace

E8pPoint e8p_point(std::uint16_t word) {
  const Patterns& all = patterns();
  const std::size_t pattern = word >> kPatternBit;
  const real shift = (word >> kShiftBit & 1) != 0 ? -kQuarter : kQuarter;
  E8pPoint point{};
  std::int32_t odd = 0;
  for (std::size_t i = 0; i < point.size(); ++i) {
    const bool last = i + 1 == point.size();
    const bool below = last ? odd != all.odd[pattern] : (word >> i & 1) != 0;
    odd ^= below ? 1 : 0;
    const real half = all.halves[i][pattern];
    point[i] = (below ? -half : half) + shift;
  }
  return point;
}

std::uint16_t e8p_nearest(const E8pPoint& v) {
  const Patterns& all = patterns();
  const Found up = nearest_shifted(v, kQuarter, all), down = nearest_shifted(v, -kQuarter, all);
  return down.distance < up.distance ? down.word : up.word;
}

}  // namespace notch::quant
