#include "quant/store/gguf_exact.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_superblocks.h"

namespace notch::quant {
namespace {

bool is_half(float v) { return std::isfinite(v) && from_f16(to_f16(v)) == v; }

/// What a matrix's weights are made of.
class StoredLevels {
 public:
  explicit StoredLevels(const QTensor& q)
      : q_(q), grid_(grid_of(q.spec)), unit_(unit_size(q.spec, q.rows, q.cols)) {}

  std::int64_t weights() const { return q_.rows * q_.cols; }
  /// Consecutive weights of a row that share a scale.
  std::int64_t run() const { return std::min(unit_, q_.cols); }
  int step() const { return grid_.step; }
  /// Levels of a unit, less one, in steps.
  int top() const { return grid_.size() - 1; }
  std::size_t unit(std::int64_t i) const { return static_cast<std::size_t>(i / unit_); }
  float scale(std::int64_t i) const { return static_cast<float>(q_.at.scales[unit(i)]); }
  int zero(std::int64_t i) const {
    return q_.at.zero_points.empty() ? 0 : q_.at.zero_points[unit(i)];
  }
  int lowest(std::int64_t i) const { return grid_.qmin - zero(i); }
  int level(std::int64_t i) const { return q_.codes[static_cast<std::size_t>(i)] - zero(i); }
  /// Steps above the lowest level.
  int steps(std::int64_t i) const { return (level(i) - lowest(i)) / grid_.step; }
  std::pair<int, int> range() const {
    int low = 0, high = 0;
    for (std::int64_t i = 0; i < weights(); ++i) {
      low = std::min(low, level(i)), high = std::max(high, level(i));
    }
    return {low, high};
  }

 private:
  const QTensor& q_;
  Grid grid_;
  std::int64_t unit_;
};

/// A half of which all of the scales, halves too, are multiples, the largest there is.
float common_divisor(std::span<const float, 16> scales) {
  constexpr float kUnit = 0x1p24f;  // every half is a multiple of 2^-24
  std::uint64_t divisor = 0;
  bool negative = true;
  for (const float s : scales) {
    divisor = std::gcd(divisor, static_cast<std::uint64_t>(std::abs(s) * kUnit));
    negative &= s < 0;
  }
  const float d = static_cast<float>(divisor) / kUnit;
  return negative ? -d : d;
}

/// Weights i … i + 255 in a block of the type; nothing if one of its fields is too narrow.
std::optional<SuperBlock> super_block(const SuperRange& range, const StoredLevels& w,
                                      std::int64_t i) {
  std::array<float, 16> scales{};
  for (std::int64_t k = 0; k < 16; ++k) scales[static_cast<std::size_t>(k)] = w.scale(i + 16 * k);
  SuperBlock block{.d = common_divisor(scales)};
  const bool from_lowest = range.minimum_high > 0;
  if (from_lowest) block.dmin = block.d;
  for (std::size_t k = 0; k < 16; ++k) {
    const std::int64_t at = i + 16 * static_cast<std::int64_t>(k);
    const float times = scales[k] / block.d;
    const float scale = from_lowest ? times * static_cast<float>(w.step()) : times;
    const float minimum = from_lowest ? -times * static_cast<float>(w.lowest(at)) : 0;
    if (scale < static_cast<float>(range.scale_low) ||
        scale > static_cast<float>(range.scale_high) || minimum < 0 ||
        minimum > static_cast<float>(range.minimum_high)) {
      return {};
    }
    block.scale[k] = static_cast<int>(scale), block.minimum[k] = static_cast<int>(minimum);
    for (std::int64_t j = 0; j < 16; ++j) {
      const int q = from_lowest ? w.steps(at + j) : w.level(at + j);
      if (q < range.q_low || q > range.q_high) return {};
      block.q[16 * k + static_cast<std::size_t>(j)] = q;
    }
  }
  return block;
}

bool holds_super(const nn::GgufType& type, const StoredLevels& w) {
  const SuperRange& range = *super_range(type);
  const auto shared = static_cast<std::int64_t>(range.weights_per_scale);
  if (w.weights() % 256 != 0 || w.run() % shared != 0) return false;
  for (std::int64_t i = 0; i < w.weights(); i += 256)
    if (!super_block(range, w, i)) return false;
  return true;
}

/// d·q + m of 32 weights.
bool holds_minimum(const StoredLevels& w) {
  for (std::int64_t i = 0; i < w.weights(); i += w.run()) {
    if (!is_half(w.scale(i) * static_cast<float>(w.step())) ||
        !is_half(w.scale(i) * static_cast<float>(w.lowest(i))))
      return false;
  }
  return true;
}

}  // namespace

const nn::GgufType& exact_type(const QTensor& q, std::string_view where,
                               const nn::GgufType* wanted) {
  const auto refuse = [&](std::string what, const std::string& hint) {
    throw Error({.where = std::string(where),
                 .what = std::move(what),
                 .hint = hint + ", or --requantize rounds the weights once more"});
  };
  if (!grid_of(q.spec).levels.empty()) {
    refuse(
        str("the levels of the ", name_of(q.spec.grid), " grid are no integers, as a block's are"),
        "quantize on a grid of integers (narrow, full or signed_max)");
  }
  const StoredLevels w(q);
  const bool small = q.cols % 32 == 0 && w.run() % 32 == 0;
  const bool whole = q.cols % 256 == 0 && w.run() % 16 == 0;
  const auto refuse_units = [&] {
    refuse(str("units of ", w.run(), " weights in rows of ", q.cols, " do not fit blocks of 32"),
           "quantize with groups of 32, or per channel where 32 divides the inputs");
  };
  if (!small && !whole) refuse_units();
  for (const real s : q.at.scales) {
    if (is_half(static_cast<float>(s))) continue;
    refuse(str("has the scale ", s, ", which no half is"), "quantize with scale = \"f16\"");
  }
  const std::pair<int, int> range = w.range();
  const int low = range.first, high = range.second;
  const auto super = [&](std::string_view name) {
    return whole && holds_super(*nn::gguf_type(name), w);
  };
  const auto within = [&](int bits) {
    return small && low >= -(1 << (bits - 1)) && high < 1 << (bits - 1);
  };
  const auto minimum = [&](int bits) { return small && w.top() < 1 << bits && holds_minimum(w); };
  // By bytes per weight.
  if (wanted && wanted->name == "TQ1_0" && super(wanted->name)) return *wanted;
  if (super("TQ2_0")) return *nn::gguf_type("TQ2_0");
  if (super("Q2_K")) return *nn::gguf_type("Q2_K");
  if (super("Q3_K")) return *nn::gguf_type("Q3_K");
  if (within(4)) return *nn::gguf_type("Q4_0");
  if (super("Q4_K")) return *nn::gguf_type("Q4_K");
  if (minimum(4)) return *nn::gguf_type("Q4_1");
  if (within(5)) return *nn::gguf_type("Q5_0");
  if (super("Q5_K")) return *nn::gguf_type("Q5_K");
  if (minimum(5)) return *nn::gguf_type("Q5_1");
  if (super("Q6_K")) return *nn::gguf_type("Q6_K");
  if (within(8)) return *nn::gguf_type("Q8_0");
  if (!small) refuse_units();
  refuse(str("has levels from ", low, " to ", high, ", and a block's are -128 to 127"),
         "quantize with fewer bits or on a symmetric grid");
  return *nn::gguf_type("Q8_0");  // not reached
}

void exact_blocks(const nn::GgufType& type, const QTensor& q, std::int64_t row,
                  std::vector<std::byte>& out) {
  const StoredLevels w(q);
  if (const SuperRange* range = super_range(type)) {
    for (std::int64_t at = row * q.cols; at < (row + 1) * q.cols; at += 256) {
      const std::optional<SuperBlock> block = super_block(*range, w, at);
      check(block.has_value(), type.name, "does not hold row ", row);
      pack_super(type, *block, out);
    }
    return;
  }
  const bool from_lowest = type.name.ends_with("_1");
  for (std::int64_t at = row * q.cols; at < (row + 1) * q.cols; at += 32) {
    SmallBlock block{.d = w.scale(at)};
    if (from_lowest) {
      block.d *= static_cast<float>(w.step());
      block.m = w.scale(at) * static_cast<float>(w.lowest(at));
    }
    for (std::int64_t j = 0; j < 32; ++j)
      block.q[static_cast<std::size_t>(j)] = from_lowest ? w.steps(at + j) : w.level(at + j);
    pack_small(type, block, out);
  }
}

}  // namespace notch::quant
