#include "quant/methods/smoothquant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/kernels/blas.h"
#include "quant/methods/calibration.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/methods/targets.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

std::vector<real> times(std::span<const real> w, std::span<const real> s) {
  std::vector<real> out(w.begin(), w.end());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] *= s[i % s.size()];
  return out;
}

std::vector<real> over(std::span<const real> x, std::span<const real> s) {
  std::vector<real> out(x.begin(), x.end());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] /= s[i % s.size()];
  return out;
}

/// The rows of x [.., K] as the target's layer gets them.
std::vector<real> rounded_input(const Target& t, std::vector<real> x, Index K) {
  if (!t.input) return x;
  InputQuantizer how = *t.input;
  if (needs_calibration(t)) {
    Observer observer(how.spec);
    observer.observe(x);
    how.at = input_range(how.spec, observer, t.name);
  }
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var rows = g.constant({x.data(), {std::ssize(x) / K, K}}, "sample");
  const std::span<const real> values = quantize_input(rows, {.input = how}).value().flat();
  return {values.begin(), values.end()};
}

/// x wᵀ [n, rows].
std::vector<real> product(std::span<const real> x, std::span<const real> w, Index K) {
  const Index n = std::ssize(x) / K, rows = std::ssize(w) / K;
  std::vector<real> y(at(n * rows));
  kernels::gemm(y, x, w, n, rows, K, {.trans_b = true});
  return y;
}

/// Of the target's output on a sample, which in floating point is `wanted`.
double error_of(const Target& t, std::span<const real> sample, std::span<const real> wanted,
                std::span<const real> s) {
  const Index rows = t.weight->value.rows(), K = std::ssize(s);
  const std::span<const real> w = t.weight->value.flat();
  const std::vector<real> scaled = times(w, s);
  Ranges ranges = choose_scales(scaled, rows, K, t.spec, RangeRule::absmax, t.name);
  const std::vector<real> weights =
      dequantize(quantize(scaled, rows, K, t.spec, std::move(ranges.at), t.name));
  const std::vector<real> got = product(rounded_input(t, over(sample, s), K), weights, K);
  double error = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(wanted[i]);
    error += d * d;
  }
  return error;
}

constexpr LayerFigure kLayerFigures[] = {{"alpha", "α", 2}};

}  // namespace

std::vector<real> smoothing(std::span<const Target* const> targets, std::span<const real> largest,
                            double alpha) {
  require_readers(targets, std::ssize(largest), "smoothquant");
  check(alpha >= 0 && alpha <= 1, "smoothquant", "a migration strength of ", alpha, ", not 0 to 1");
  std::vector<real> s(largest.size(), 1);
  if (alpha == 0) return s;
  std::vector<double> weights(largest.size(), 0.0);
  for (const Target* t : targets) {
    const std::span<const real> w = t->weight->value.flat();
    for (std::size_t i = 0; i < w.size(); ++i) {
      double& most = weights[i % weights.size()];
      most = std::max(most, std::fabs(static_cast<double>(w[i])));
    }
  }
  for (std::size_t j = 0; j < s.size(); ++j) {
    const auto x = static_cast<double>(largest[j]);
    if (x == 0 || weights[j] == 0) continue;
    const auto found =
        static_cast<real>(elementary::pow(x, alpha) / elementary::pow(weights[j], 1 - alpha));
    if (std::isfinite(found) && found > 0) s[j] = found;
  }
  return s;
}

Smoothing smoothing_of(std::span<const Target* const> targets, const Hessian& H, double alpha) {
  require_readers(targets, H.in_features(), "smoothquant");
  check(alpha >= -1 && alpha <= 1, "smoothquant", "a migration strength of ", alpha,
        ", not -1 to 1");
  const std::span<const real> sample = H.sample();
  std::vector<std::vector<real>> wanted;
  for (const Target* t : targets)
    wanted.push_back(product(sample, t->weight->value.flat(), H.in_features()));
  const auto of = [&](double a) {
    Smoothing made{.s = smoothing(targets, H.largest(), a), .alpha = a};
    for (std::size_t i = 0; i < targets.size(); ++i)
      made.error += error_of(*targets[i], sample, wanted[i], made.s);
    check(std::isfinite(made.error), targets[0]->name, "the error of the output is not finite");
    return made;
  };
  Smoothing best = of(0);
  const double rtn = best.error;
  if (alpha >= 0) {
    best = of(alpha);
  } else {
    for (int k = 1; k < kSmoothStrengths; ++k) {
      Smoothing found = of(static_cast<double>(k) / kSmoothStrengths);
      if (found.error < best.error) best = std::move(found);
    }
  }
  best.rtn_error = rtn;
  return best;
}

constinit const Method kSmoothQuant{
    .name = "smoothquant",
    .source = "Xiao et al. 2022",
    .needs = {.text = true, .magnitudes = true, .sample = true},
    .transform =
        [](std::span<const Target* const> targets, const Hessian& H,
           const PostTrainingOptions& options) {
          Smoothing found = smoothing_of(targets, H, options.smoothquant.alpha);
          return Transform{.divide = std::move(found.s), .measures = {{"alpha", found.alpha}}};
        },
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::absmax)};
    },
    .section = "smoothquant",
    .layer_figures = kLayerFigures};

}  // namespace notch::quant
