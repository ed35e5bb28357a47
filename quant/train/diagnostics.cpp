#include "quant/train/diagnostics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

/// What is remembered of a weight, as one integer below 2^24.
struct History {
  int code = 0, code_at_report = 0;
  int direction = 0;  // of the last change: -1, 0 (none yet), 1
  int reversals = 0;

  static History of(real packed) {
    const auto v = static_cast<std::int32_t>(packed);
    return {.code = v % 256 - 128,
            .code_at_report = v / 256 % 256 - 128,
            .direction = v / 65536 % 3 - 1,
            .reversals = v / (3 * 65536)};
  }
  real packed() const {
    return static_cast<real>(((reversals * 3 + direction + 1) * 256 + code_at_report + 128) * 256 +
                             code + 128);
  }
};
constexpr int kMostReversals = 84;

constexpr std::int64_t kTile = 16384;

template <class Body>
void for_tiles(std::size_t n, const Body& body) {
  const auto size = static_cast<std::int64_t>(n);
  parallel_for(quotient_up(size, kTile), [&](std::int64_t t) {
    body(static_cast<std::size_t>(t * kTile),
         static_cast<std::size_t>(std::min(size, (t + 1) * kTile)));
  });
}

/// Scale, zero point and grid of every weight of a matrix.
class MatrixGrid {
 public:
  MatrixGrid(FakeQuantizer& fake, std::size_t index)
      : target_(fake.target(index)),
        at_(fake.scales(index)),
        grid_(grid_of(target_.spec)),
        unit_(static_cast<std::size_t>(
            unit_size(target_.spec, target_.weight->value.rows(), target_.weight->value.cols()))) {}

  const Scales& at() const { return at_; }
  double scale(std::size_t i) const { return static_cast<double>(at_.scales[i / unit_]); }
  int zero(std::size_t i) const { return at_.zero_points.empty() ? 0 : at_.zero_points[i / unit_]; }
  /// Where a weight lies among the levels; integers are counted from the zero point.
  double position(std::size_t i, real w) const {
    return static_cast<double>(w) / scale(i) + zero(i);
  }
  /// Whether it is not clipped, and whether it lies between two codes.
  bool inside(double position) const {
    const auto reach = static_cast<double>(grid_.reach), margin = static_cast<double>(kInside);
    return margin * (level(grid_.qmin) - reach) <= position &&
           position <= margin * (level(grid_.qmax) + reach);
  }
  bool between(double position) const {
    return level(grid_.qmin) <= position && position <= level(grid_.qmax);
  }
  double level(int code) const { return static_cast<double>(grid_.level(code)); }
  /// The last code whose level is not above a position that lies between two codes.
  int below(double position) const {
    if (grid_.levels.empty()) {
      const double steps = std::floor((position - grid_.qmin) / grid_.step);
      return grid_.qmin + grid_.step * static_cast<int>(steps);
    }
    int code = grid_.qmin;
    while (code < grid_.qmax && level(code + 1) <= position) ++code;
    return code;
  }
  /// The next code, or the same at the end.
  int above(int code) const { return std::min(code + grid_.step, grid_.qmax); }
  /// How far a position is from the boundary of its code's cell: 1 at the code's level, 0 at the
  /// boundary.
  double share_to_boundary(double position, int code) const {
    const double offset = position - level(code);
    const int other = offset < 0 ? std::max(code - grid_.step, grid_.qmin) : above(code);
    if (other == code) return 1;  // at the end, where the position is the level
    return std::clamp(1 - 2 * std::abs(offset) / std::abs(level(other) - level(code)), 0.0, 1.0);
  }
  const Grid& grid() const { return grid_; }

  void round(std::span<std::int8_t> codes, std::span<const real> w) const {
    round_codes(codes, w, units(), grid_);
  }
  void dequantize(std::span<real> out, std::span<const std::int8_t> codes) const {
    dequantize_codes(out, codes, units(), grid_);
  }

 private:
  Units units() const { return {at_.scales, at_.zero_points, static_cast<std::int64_t>(unit_)}; }

  const Target& target_;
  Scales at_;
  Grid grid_;
  std::size_t unit_;
};

/// Weights on the grid: each at the code below or above it, so that the expected value is the
/// weight; what lies outside goes to the end of the grid.
void round_stochastically(std::span<real> out, std::span<const real> w, const MatrixGrid& units,
                          std::uint64_t key) {
  for_tiles(w.size(), [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
      const double v = std::clamp(units.position(i, w[i]), units.level(units.grid().qmin),
                                  units.level(units.grid().qmax));
      const int code = units.below(v);
      const double low = units.level(code), high = units.level(units.above(code));
      const bool up = v - low > (high - low) * static_cast<double>(counter_uniform(key, i));
      out[i] = static_cast<real>(((up ? high : low) - units.zero(i)) * units.scale(i));
    }
  });
}

double four_digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return std::strtod(text, nullptr);
}

Json number(double x) { return std::isfinite(x) ? Json(four_digits(x)) : Json(); }

}  // namespace

Diagnostics::Diagnostics(FakeQuantizer& fake) : fake_(fake) {
  for (std::size_t l = 0; l < fake.size(); ++l) {
    const Target& t = fake.target(l);
    check(!has_own_levels(t.spec), t.name, "figures are of steps, and the ", name_of(t.spec.grid),
          " grid has levels of its own");
    const std::size_t n = t.weight->value.flat().size();
    layers_.push_back({.weight = t.weight,
                       .history = std::vector<real>(n),
                       .codes = std::vector<std::int8_t>(n)});
    Layer& layer = layers_.back();
    MatrixGrid(fake, l).round(layer.codes, fake.weights(l));
    for (std::size_t i = 0; i < n; ++i) {
      layer.history[i] = History{.code = layer.codes[i], .code_at_report = layer.codes[i]}.packed();
    }
  }
}

void Diagnostics::after_update(const nn::Moment& at) {
  static_cast<void>(at);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    Layer& layer = layers_[l];
    const MatrixGrid units(fake_, l);
    units.round(layer.codes, fake_.weights(l));
    for_tiles(layer.codes.size(), [&](std::size_t first, std::size_t last) {
      for (std::size_t i = first; i < last; ++i) {
        const int code = layer.codes[i];
        if (static_cast<std::int32_t>(layer.history[i]) % 256 - 128 == code) continue;
        History h = History::of(layer.history[i]);
        const int direction = code > h.code ? 1 : -1;
        if (h.direction == -direction) h.reversals = std::min(h.reversals + 1, kMostReversals);
        h.direction = direction;
        h.code = code;
        layer.history[i] = h.packed();
      }
    });
  }
}

void Diagnostics::describe(Layer& layer, std::size_t index, LayerDiagnostics& out) {
  const MatrixGrid units(fake_, index);
  const std::span<const real> w = fake_.weights(index);
  out.name = fake_.target(index).name;
  double power = 0, error = 0, inside = 0, between = 0, log_scales = 0;
  const double n = static_cast<double>(w.size());
  units.round(layer.codes, w);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double v = units.position(i, w[i]), offset = v - units.level(layer.codes[i]);
    power += static_cast<double>(w[i]) * static_cast<double>(w[i]);
    error += offset * offset * units.scale(i) * units.scale(i);
    inside += units.inside(v);
    if (units.between(v)) {
      const double share = units.share_to_boundary(v, layer.codes[i]);
      out.boundary[std::min<std::size_t>(7, static_cast<std::size_t>(8 * share))] += 1;
      ++between;
    }
    History h = History::of(layer.history[i]);
    out.changed += h.code != h.code_at_report;
    out.reversals[std::min<std::size_t>(4, std::bit_width(static_cast<unsigned>(h.reversals)))] +=
        1;
    h.code_at_report = h.code;
    h.reversals = 0;
    layer.history[i] = h.packed();
  }
  out.sqnr_db =
      error > 0 ? 10 * std::log10(power / error) : std::numeric_limits<double>::infinity();
  out.changed /= n;
  out.clipped = 1 - inside / n;
  for (double& share : out.reversals) share /= n;
  for (double& share : out.boundary) share /= std::max(between, 1.0);
  for (const real s : units.at().scales)
    log_scales += elementary::log(std::abs(static_cast<double>(s)));
  out.step = elementary::exp(log_scales / static_cast<double>(units.at().scales.size()));
}

void Diagnostics::compare_gradients(const std::function<void()>& gradients, std::uint64_t key,
                                    std::vector<LayerDiagnostics>& out) {
  // The gradients with respect to the rounded weights: these are parameters of their own.
  ParamStore rounded;
  std::vector<MatrixGrid> units;
  std::vector<std::span<const real>> weights;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    units.emplace_back(fake_, l);
    weights.push_back(fake_.weights(l));
    rounded.add(layers_[l].weight->name, layers_[l].weight->value.shape);
  }
  rounded.allocate_values();
  rounded.allocate_gradients();
  struct Substitution {
    FakeQuantizer& fake;
    ~Substitution() { fake.substitute(nullptr); }
  };
  const Substitution substitution{fake_};
  fake_.substitute(&rounded);
  const auto gradients_at = [&](std::optional<std::uint64_t> draw) {
    std::vector<std::vector<real>> all;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const auto to = rounded.params()[l].value.flat();
      if (draw) {
        round_stochastically(to, weights[l], units[l], mix64(*draw + l));
      } else {
        units[l].round(layers_[l].codes, weights[l]);
        units[l].dequantize(to, layers_[l].codes);
      }
    }
    rounded.zero_gradients();
    gradients();
    for (const Param& p : rounded.params()) {
      const auto g = p.grad.flat();
      all.emplace_back(g.begin(), g.end());
    }
    return all;
  };
  const auto ste = gradients_at(std::nullopt), a = gradients_at(mix64(key)),
             b = gradients_at(mix64(key + 1));
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    double along = 0, ste_square = 0, expected_square = 0;
    for (std::size_t i = 0; i < weights[l].size(); ++i) {
      if (!units[l].inside(units[l].position(i, weights[l][i]))) continue;
      const auto g = static_cast<double>(ste[l][i]), x = static_cast<double>(a[l][i]),
                 y = static_cast<double>(b[l][i]);
      along += g * (x + y) / 2;
      ste_square += g * g;
      expected_square += x * y;
    }
    const double norms = ste_square * expected_square;
    out[l].ste_cosine = expected_square > 0 && norms > 0
                            ? std::clamp(along / std::sqrt(norms), -1.0, 1.0)
                            : std::numeric_limits<double>::quiet_NaN();
  }
}

std::vector<LayerDiagnostics> Diagnostics::report(const std::function<void()>& gradients,
                                                  std::uint64_t key) {
  check(static_cast<bool>(gradients), "diagnostics", "nothing gives the gradients");
  std::vector<LayerDiagnostics> out(layers_.size());
  parallel_for(std::ssize(layers_), [&](std::int64_t l) {
    const auto index = static_cast<std::size_t>(l);
    describe(layers_[index], index, out[index]);
  });
  compare_gradients(gradients, key, out);
  return out;
}

std::optional<nn::Remark> Diagnostics::remark(const std::function<void()>& gradients,
                                              std::uint64_t key) {
  return nn::Remark{"quantizer", to_json(report(gradients, key))};
}

std::vector<nn::NamedValues> Diagnostics::state() {
  std::vector<nn::NamedValues> all;
  for (Layer& layer : layers_) all.push_back({layer.weight->name + ".history", layer.history});
  return all;
}

Json to_json(const std::vector<LayerDiagnostics>& layers) {
  Json out = Json::object();
  const auto list = [&](std::string_view key, const auto& get) {
    Json::Array items;
    for (const LayerDiagnostics& l : layers) items.push_back(get(l));
    out.set(key, Json(std::move(items)));
  };
  const auto histogram = [](std::span<const double> shares) {
    Json::Array items;
    for (const double s : shares) items.push_back(number(s));
    return Json(std::move(items));
  };
  list("layers", [](const LayerDiagnostics& l) { return Json(l.name); });
  list("sqnr_db", [](const LayerDiagnostics& l) { return number(l.sqnr_db); });
  list("changed", [](const LayerDiagnostics& l) { return number(l.changed); });
  list("clipped", [](const LayerDiagnostics& l) { return number(l.clipped); });
  list("step", [](const LayerDiagnostics& l) { return number(l.step); });
  list("ste_cosine", [](const LayerDiagnostics& l) { return number(l.ste_cosine); });
  list("reversals", [&](const LayerDiagnostics& l) { return histogram(l.reversals); });
  list("boundary", [&](const LayerDiagnostics& l) { return histogram(l.boundary); });
  return out;
}

}  // namespace notch::quant
