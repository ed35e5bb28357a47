#include "quant/methods/hqq.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/options.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {
namespace {

/// sign(r) max(0, |r| - |r|ᵖ⁻¹ / β); |0|ᵖ⁻¹ is infinite and takes nothing out.
double shrink(double r, double p, double beta) {
  const double size = std::fabs(r);
  return size == 0 ? 0
                   : std::copysign(std::max(0.0, size - elementary::pow(size, p - 1) / beta), r);
}

/// Σ |w - ŵ|ᵖ
double error_of(std::span<const real> w, std::span<const real> rounded, double p) {
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    sum +=
        elementary::pow(std::fabs(static_cast<double>(w[i]) - static_cast<double>(rounded[i])), p);
  return sum;
}

/// One unit of weights and what is looked for.
class Fit {
 public:
  Fit(std::span<const real> w, const Spec& spec, const HqqOptions& options)
      : w_(w), spec_(spec), options_(options) {
    spec_.granularity = Granularity::tensor;
    spec_.group_size = 0;
  }

  UnitScale run(UnitScale now) const {
    UnitScale best = now;
    double least = error(now), beta = options_.beta;
    for (int i = 0; i < options_.iterations; ++i, beta *= options_.kappa) {
      const double factor = step(now, beta);
      if (factor == 0) break;
      now.scale =
          round_scale(static_cast<real>(static_cast<double>(now.scale) * factor), spec_.scale);
      const double found = settle_zero_point(now);
      if (!(found < least)) break;
      least = found;
      best = now;
    }
    return best;
  }

 private:
  std::vector<real> rounded(UnitScale scale) const {
    Scales one{.scales = {scale.scale}};
    if (has_zero_points(spec_)) one.zero_points = {static_cast<std::int8_t>(scale.zero_point)};
    return dequantize(quantize(w_, 1, std::ssize(w_), spec_, std::move(one), "hqq"));
  }

  double error(UnitScale scale) const { return error_of(w_, rounded(scale), options_.p); }

  /// Σ (w/s - e) l / Σ l²; 0 where all levels are 0.
  double step(UnitScale scale, double beta) const {
    const std::vector<real> values = rounded(scale);
    const auto s = static_cast<double>(scale.scale);
    double along = 0, squares = 0;
    for (std::size_t j = 0; j < w_.size(); ++j) {
      const double v = static_cast<double>(w_[j]) / s, l = static_cast<double>(values[j]) / s;
      along += (v - shrink(v - l, options_.p, beta)) * l;
      squares += l * l;
    }
    return squares == 0 ? 0 : along / squares;
  }

  /// The error at the best of the zero points z - 1, z and z + 1, which `now` gets.
  double settle_zero_point(UnitScale& now) const {
    double least = error(now);
    if (!has_zero_points(spec_)) return least;
    const Grid grid = grid_of(spec_);
    UnitScale other = now;
    for (const int z : {now.zero_point - 1, now.zero_point + 1}) {
      if (z < grid.qmin || z > grid.qmax) continue;
      other.zero_point = z;
      if (const double found = error(other); found < least) {
        least = found;
        now.zero_point = z;
      }
    }
    return least;
  }

  std::span<const real> w_;
  Spec spec_;
  const HqqOptions& options_;
};

Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  const Target& t = matrix.target;
  const std::int64_t rows = matrix.rows(), cols = matrix.cols();
  const auto error = [&](const QTensor& q) {
    return error_of(matrix.w, dequantize(q), options.hqq.p);
  };
  const Ranges nearest = choose_scales(matrix.w, rows, cols, t.spec, RangeRule::absmax, t.name);
  const double rtn = error(quantize(matrix.w, rows, cols, t.spec, nearest.at, t.name));
  Rounded out{.q =
                  quantize(matrix.w, rows, cols, t.spec,
                           half_quadratic_scales(matrix.w, rows, cols, t.spec, options.hqq, t.name),
                           t.name)};
  out.measures = {{"lp_error", error(out.q)}, {"rtn_lp_error", rtn}};
  return out;
}

constexpr LayerFigure kLayerFigures[] = {{"lp_error", "Σ|w - ŵ|ᵖ", 3},
                                         {"rtn_lp_error", "of rtn", 3}};
constexpr RowFigure kRowFigures[] = {
    {"hqq_error_share", "Σ|w - ŵ|ᵖ, % of rtn's", 1, true, [](std::span<const LayerReport> layers) {
       const double of_rtn = total(layers, "rtn_lp_error");
       return of_rtn > 0 ? total(layers, "lp_error") / of_rtn : 1;
     }}};

}  // namespace

Scales half_quadratic_scales(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                             const Spec& spec, const HqqOptions& options, std::string_view where) {
  check(options.p > 0 && options.p <= 1 && options.beta > 0 && options.kappa >= 1, where,
        "hqq needs 0 < p <= 1, beta > 0 and kappa >= 1, got ", options.p, ", ", options.beta,
        " and ", options.kappa);
  Scales scales = choose_scales(w, rows, cols, spec, RangeRule::absmax, where).at;
  const std::size_t size = at(unit_size(spec, rows, cols));
  parallel_for(std::ssize(scales.scales), [&](std::int64_t i) {
    const std::size_t u = at(i);
    const bool zeros = !scales.zero_points.empty();
    const UnitScale start{.scale = scales.scales[u],
                          .zero_point = zeros ? scales.zero_points[u] : 0};
    const UnitScale found = Fit(w.subspan(u * size, size), spec, options).run(start);
    scales.scales[u] = found.scale;
    if (zeros) scales.zero_points[u] = static_cast<std::int8_t>(found.zero_point);
  });
  return scales;
}

constinit const Method kHqq{.name = "hqq",
                            .source = "Badri and Shaji 2023",
                            .round = round,
                            .section = "hqq",
                            .layer_figures = kLayerFigures,
                            .row_figures = kRowFigures};

}  // namespace notch::quant
