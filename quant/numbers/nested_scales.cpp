#include "quant/numbers/nested_scales.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "autograd/base/error.h"

namespace notch::quant {
namespace {

constexpr std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::array<float, 256> make_levels() {
  constexpr int kPowers = 7;
  std::array<float, 256> levels{};
  std::size_t n = 0;
  for (int i = 0; i < kPowers; ++i) {
    const int parts = 1 << i;
    const double power = std::pow(10.0, i - (kPowers - 1));
    for (int k = 0; k < parts; ++k) {
      const double centre = 0.1 + 0.9 * (k + 0.5) / parts;
      levels[n++] = static_cast<float>(power * centre);
      levels[n++] = static_cast<float>(-power * centre);
    }
  }
  levels[n++] = 0;
  levels[n++] = 1;
  std::ranges::sort(levels);
  return levels;
}

float scale_of(std::uint8_t code, float absmax, float mean) {
  return nested_levels()[code] * absmax + mean;
}

/// The byte of the level nearest to v, or above it the first whose scale is positive.
std::uint8_t code_of(float v, float absmax, float mean) {
  const auto& levels = nested_levels();
  const auto above = std::ranges::lower_bound(levels, v);
  auto i = above == levels.end() ? levels.size() - 1 : at(above - levels.begin());
  if (i > 0 && v - levels[i - 1] <= levels[i] - v) --i;
  while (i + 1 < levels.size() && !(scale_of(static_cast<std::uint8_t>(i), absmax, mean) > 0)) {
    ++i;
  }
  return static_cast<std::uint8_t>(i);
}

void append(std::vector<std::uint8_t>& bytes, float v) {
  const auto word = std::bit_cast<std::uint32_t>(v);
  for (int b = 0; b < 4; ++b) bytes.push_back(static_cast<std::uint8_t>(word >> (8 * b)));
}

float read(std::span<const std::uint8_t> bytes, std::size_t from) {
  std::uint32_t word = 0;
  for (std::size_t b = 0; b < 4; ++b) word |= std::uint32_t{bytes[from + b]} << (8 * b);
  return std::bit_cast<float>(word);
}

}  // namespace

const std::array<float, 256>& nested_levels() {
  static const std::array<float, 256> levels = make_levels();
  return levels;
}

void nest_scales(QTensor& q) {
  if (q.spec.scale != ScaleType::nested) return;
  std::vector<real>& scales = q.at.scales;
  const std::int64_t units = std::ssize(scales);
  // Nested again they would move again, and the codes were chosen for these.
  if (!q.at.nested.empty() && unnest_scales(q.at.nested, units, "nested scales") == scales) return;
  const Grid grid = grid_of(q.spec);
  const std::int64_t size = unit_size(q.spec, q.rows, q.cols);
  std::vector<std::uint8_t> counts(scales.size());
  double sum = 0;
  std::int64_t counted = 0;
  for (std::int64_t u = 0; u < units; ++u) {
    const int zero = q.at.zero_points.empty() ? 0 : q.at.zero_points[at(u)];
    const auto codes = std::span(q.codes).subspan(at(u * size), at(size));
    counts[at(u)] =
        std::ranges::any_of(codes, [&](std::int8_t c) { return grid.level(c, zero) != 0; });
    if (counts[at(u)] == 0) continue;
    sum += static_cast<double>(scales[at(u)]);
    ++counted;
  }
  const float mean = counted == 0 ? 1 : static_cast<float>(sum / static_cast<double>(counted));
  const auto offset = [&](std::int64_t u) {
    return counts[at(u)] == 0 ? 0 : static_cast<float>(scales[at(u)]) - mean;
  };
  std::vector<std::uint8_t>& stored = q.at.nested;
  stored.clear();
  std::vector<float> largest;
  for (std::int64_t first = 0; first < units; first += kNestedBlock) {
    const std::int64_t end = std::min(units, first + kNestedBlock);
    float absmax = 0;
    for (std::int64_t u = first; u < end; ++u) absmax = std::max(absmax, std::fabs(offset(u)));
    largest.push_back(absmax);
    for (std::int64_t u = first; u < end; ++u)
      stored.push_back(code_of(absmax > 0 ? offset(u) / absmax : 0, absmax, mean));
  }
  for (const float a : largest) append(stored, a);
  append(stored, mean);
  scales = unnest_scales(stored, units, "nested scales");
}

std::vector<real> unnest_scales(std::span<const std::uint8_t> stored, std::int64_t units,
                                std::string_view where) {
  const std::int64_t bytes = units + 4 * nested_blocks(units) + 4;
  check(std::ssize(stored) == bytes, where, "got ", stored.size(), " bytes of ", units,
        " nested scales, which have ", bytes);
  const float mean = read(stored, at(bytes - 4));
  std::vector<real> scales(at(units));
  for (std::int64_t u = 0; u < units; ++u) {
    const float absmax = read(stored, at(units + u / kNestedBlock * 4));
    const float s = scale_of(stored[at(u)], absmax, mean);
    if (!(s > 0) || !std::isfinite(s)) {
      throw Error({.fault = Fault::input,
                   .where = std::string(where),
                   .what = "not a valid quantized tensor",
                   .field = str("scale ", u),
                   .found = str(s),
                   .expected = "finite and positive"});
    }
    scales[at(u)] = s;
  }
  return scales;
}

}  // namespace notch::quant
