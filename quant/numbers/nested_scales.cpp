#include "quant/numbers/nested_scales.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/names.h"

namespace notch::quant {
namespace {

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

std::uint16_t read_half(std::span<const std::uint8_t> bytes, std::size_t from) {
  return static_cast<std::uint16_t>(bytes[from] | bytes[from + 1] << 8);
}

float read(std::span<const std::uint8_t> bytes, std::size_t from) {
  std::uint32_t word = 0;
  for (std::size_t b = 0; b < 4; ++b) word |= std::uint32_t{bytes[from + b]} << (8 * b);
  return std::bit_cast<float>(word);
}

[[noreturn]] void refuse_tensor(std::string_view where, std::string field, float found,
                                std::string expected) {
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "not a valid quantized tensor",
               .field = std::move(field),
               .found = str(found),
               .expected = std::move(expected)});
}

/// Where the parts of bilevel scales are.
struct Bilevel {
  std::int64_t rows, units, row_bytes, blocks;

  Bilevel(const Spec& spec, std::int64_t matrix_rows, std::int64_t cols)
      : rows(spec.granularity == Granularity::tensor ? 1 : matrix_rows),
        units(rows == 0 ? 0 : unit_count(spec, matrix_rows, cols) / rows),
        row_bytes((units * kBilevelBits + 7) / 8),
        blocks(quotient_up(rows, kBilevelRows)) {}

  std::int64_t bytes() const { return rows * row_bytes + 4 * blocks * units; }
  std::size_t step_at(std::int64_t row, std::int64_t unit) const {
    return at(rows * row_bytes + 2 * (row / kBilevelRows * units + unit));
  }
  std::size_t minimum_at(std::int64_t row, std::int64_t unit) const {
    return step_at(row, unit) + at(2 * blocks * units);
  }
  int code(std::span<const std::uint8_t> stored, std::int64_t row, std::int64_t unit) const {
    int code = 0;
    for (int b = 0; b < kBilevelBits; ++b) {
      const std::int64_t bit = unit * kBilevelBits + b;
      code |= (stored[at(row * row_bytes + bit / 8)] >> (bit % 8) & 1) << b;
    }
    return code;
  }
  void set_code(std::span<std::uint8_t> stored, std::int64_t row, std::int64_t unit,
                int code) const {
    for (int b = 0; b < kBilevelBits; ++b) {
      const std::int64_t bit = unit * kBilevelBits + b;
      std::uint8_t& byte = stored[at(row * row_bytes + bit / 8)];
      const auto mask = static_cast<std::uint8_t>(1 << (bit % 8));
      byte = static_cast<std::uint8_t>((code >> b & 1) != 0 ? byte | mask : byte & ~mask);
    }
  }
};

constexpr int kMostCode = (1 << kBilevelBits) - 1;

std::vector<real> unnest_bilevel(std::span<const std::uint8_t> stored, const Bilevel& b,
                                 std::string_view where) {
  std::vector<real> scales;
  scales.reserve(at(b.rows * b.units));
  for (std::int64_t r = 0; r < b.rows; ++r) {
    for (std::int64_t u = 0; u < b.units; ++u) {
      const float step = from_f16(read_half(stored, b.step_at(r, u)));
      const float minimum = from_f16(read_half(stored, b.minimum_at(r, u)));
      const std::string field = str("scale ", r * b.units + u);
      if (!(minimum > 0) || !std::isfinite(minimum))
        refuse_tensor(where, field, minimum, "a minimum that is finite and positive");
      if (!(step >= 0) || !std::isfinite(step))
        refuse_tensor(where, field, step, "a step that is finite and not negative");
      scales.push_back(minimum + static_cast<float>(b.code(stored, r, u)) * step);
    }
    for (std::int64_t bit = b.units * kBilevelBits; bit < 8 * b.row_bytes; ++bit) {
      if ((stored[at(r * b.row_bytes + bit / 8)] >> (bit % 8) & 1) != 0)
        refuse_tensor(where, str("scales of row ", r), 1, "0 behind the last one");
    }
  }
  return scales;
}

std::vector<real> unnest_dynamic(std::span<const std::uint8_t> stored, std::int64_t units,
                                 std::string_view where) {
  const float mean = read(stored, at(std::ssize(stored) - 4));
  std::vector<real> scales(at(units));
  for (std::int64_t u = 0; u < units; ++u) {
    const float absmax = read(stored, at(units + u / kNestedBlock * 4));
    const float s = scale_of(stored[at(u)], absmax, mean);
    if (!(s > 0) || !std::isfinite(s))
      refuse_tensor(where, str("scale ", u), s, "finite and positive");
    scales[at(u)] = s;
  }
  return scales;
}

/// Of each unit, whether its scale matters: whether a code of it stands for something.
std::vector<std::uint8_t> units_that_count(const QTensor& q) {
  const Grid grid = grid_of(q.spec);
  const std::int64_t size = unit_size(q.spec, q.rows, q.cols);
  std::vector<std::uint8_t> counts(q.at.scales.size());
  for (std::int64_t u = 0; u < std::ssize(counts); ++u) {
    const int zero = q.at.zero_points.empty() ? 0 : q.at.zero_points[at(u)];
    const auto codes = std::span(q.codes).subspan(at(u * size), at(size));
    counts[at(u)] =
        std::ranges::any_of(codes, [&](std::int8_t c) { return grid.level(c, zero) != 0; });
  }
  return counts;
}

}  // namespace

const std::array<float, 256>& nested_levels() {
  static const std::array<float, 256> levels = make_levels();
  return levels;
}

void nest_scales(QTensor& q) {
  if (!has_scales_of_scales(q.spec.scale)) return;
  require_whole(q, "nested scales");
  std::vector<real>& scales = q.at.scales;
  const std::int64_t units = std::ssize(scales);
  const auto unnested = [&] {
    return unnest_scales(q.at.nested, q.spec, q.rows, q.cols, "nested scales");
  };
  // Nested again they would move again, and the codes were chosen for these.
  if (!q.at.nested.empty() && unnested() == scales) return;
  const std::vector<std::uint8_t> counts = units_that_count(q);
  if (q.spec.scale == ScaleType::bilevel) {
    const Bilevel b(q.spec, q.rows, q.cols);
    reserve_bilevel(q);
    for (std::int64_t first = 0; first < b.rows; first += kBilevelRows) {
      for (std::int64_t u = 0; u < b.units; ++u) {
        std::array<std::uint8_t, kBilevelRows> of{};
        for (std::int64_t r = first; r < std::min(b.rows, first + kBilevelRows); ++r)
          of[at(r - first)] = counts[at(r * b.units + u)];
        round_bilevel(q, first, u, of);
      }
    }
    return;
  }
  double sum = 0;
  std::int64_t counted = 0;
  for (std::int64_t u = 0; u < units; ++u) {
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
  scales = unnested();
}

std::vector<real> unnest_scales(std::span<const std::uint8_t> stored, const Spec& spec,
                                std::int64_t rows, std::int64_t cols, std::string_view where) {
  const std::int64_t bytes = storage_bytes(spec, rows, cols).scales;
  check(std::ssize(stored) == bytes, where, "got ", stored.size(), " bytes of ",
        word_of(spec.scale), " scales, which have ", bytes);
  if (stored.empty()) return {};
  if (spec.scale == ScaleType::bilevel)
    return unnest_bilevel(stored, Bilevel(spec, rows, cols), where);
  return unnest_dynamic(stored, unit_count(spec, rows, cols), where);
}

void reserve_bilevel(QTensor& q) {
  q.at.nested.assign(at(Bilevel(q.spec, q.rows, q.cols).bytes()), 0);
}

void round_bilevel(QTensor& q, std::int64_t first, std::int64_t unit,
                   std::span<const std::uint8_t> counts) {
  const Bilevel b(q.spec, q.rows, q.cols);
  check(first >= 0 && first % kBilevelRows == 0 && first < b.rows && unit >= 0 && unit < b.units &&
            std::ssize(q.at.scales) == b.rows * b.units && std::ssize(q.at.nested) == b.bytes(),
        "bilevel scales", "row ", first, " and unit ", unit, " of [", b.rows, ", ", b.units,
        "] with ", q.at.scales.size(), " scales in ", q.at.nested.size(), " bytes");
  const std::int64_t n = std::min(kBilevelRows, b.rows - first);
  require_extent("bilevel scales", n, counts);
  const auto scale = [&](std::int64_t r) -> real& {
    return q.at.scales[at((first + r) * b.units + unit)];
  };
  float lo = kMaxF16, hi = 0;
  for (std::int64_t r = 0; r < n; ++r) {
    if (counts[at(r)] == 0) continue;
    lo = std::min(lo, static_cast<float>(scale(r)));
    hi = std::max(hi, static_cast<float>(scale(r)));
  }
  if (hi == 0) lo = hi = 1;
  const std::uint16_t minimum = to_f16(std::max(lo, kMinF16));
  const float low = from_f16(minimum);
  const std::uint16_t step =
      to_f16(std::min(std::max(hi - low, 0.0f) / static_cast<float>(kMostCode), kMaxF16));
  const float width = from_f16(step);
  const auto store = [&](std::size_t to, std::uint16_t half) {
    q.at.nested[to] = static_cast<std::uint8_t>(half & 0xff);
    q.at.nested[to + 1] = static_cast<std::uint8_t>(half >> 8);
  };
  store(b.step_at(first, unit), step);
  store(b.minimum_at(first, unit), minimum);
  for (std::int64_t r = 0; r < n; ++r) {
    const float steps = width > 0 ? (static_cast<float>(scale(r)) - low) / width : 0;
    const int code =
        static_cast<int>(std::nearbyint(std::clamp(steps, 0.0f, static_cast<float>(kMostCode))));
    b.set_code(q.at.nested, first + r, unit, code);
    scale(r) = low + static_cast<float>(code) * width;
  }
}

}  // namespace notch::quant
