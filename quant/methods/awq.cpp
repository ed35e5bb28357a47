#include "quant/methods/awq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/kernels/blas.h"
#include "quant/methods/rtn.h"
#include "quant/methods/targets.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {
namespace {

std::vector<real> moments_of(const Hessian& H) {
  const std::vector<double> m = H.matrix();
  return {m.begin(), m.end()};
}

/// eq. 5, normalised so that the largest and the smallest s are each other's inverse.
std::vector<real> scales_of(std::span<const double> magnitudes, double exponent) {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const double m : magnitudes) {
    if (m <= 0) continue;
    low = std::min(low, elementary::pow(m, exponent));
    high = std::max(high, elementary::pow(m, exponent));
  }
  std::vector<real> s(magnitudes.size(), 1);
  for (std::size_t j = 0; j < s.size(); ++j) {
    if (magnitudes[j] > 0)
      s[j] = static_cast<real>(elementary::pow(magnitudes[j], exponent) / std::sqrt(low * high));
  }
  return s;
}

constexpr std::array kLayerFigures{LayerFigure{"exponent", "exponent", 2}};

/// Q(w diag s) diag(1/s), absmax ranges.
std::vector<real> round_scaled(const Target& t, std::span<const real> s) {
  const Tensor& w = t.weight->value;
  const Index rows = w.rows(), K = w.cols();
  std::vector<real> scaled(w.flat().begin(), w.flat().end());
  for (Index i = 0; i < rows * K; ++i) scaled[at(i)] *= s[at(i % K)];
  Ranges ranges = choose_scales(scaled, rows, K, t.spec, RangeRule::absmax, t.name);
  std::vector<real> out =
      dequantize(quantize(scaled, rows, K, t.spec, std::move(ranges.at), t.name));
  for (Index i = 0; i < rows * K; ++i) out[at(i)] /= s[at(i % K)];
  return out;
}

/// tr(dW H dWᵀ), dW = w - ŵ [rows, K]: mean squared change of the product per token, summed over
/// outputs. Products in `real`, sums in double.
double output_error(std::span<const real> w, std::span<const real> rounded, Index rows,
                    std::span<const real> H) {
  const Index K = rows == 0 ? 0 : std::ssize(w) / rows;
  std::vector<real> dw(w.size()), product(w.size());
  std::ranges::transform(w, rounded, dw.begin(), [](real a, real b) { return a - b; });
  kernels::gemm(product, std::span<const real>(dw), H, rows, K, K);
  double error = 0;
  for (std::size_t i = 0; i < dw.size(); ++i)
    error += static_cast<double>(dw[i]) * static_cast<double>(product[i]);
  return error;
}

}  // namespace

AwqScales awq_scales(std::span<const Target* const> targets, const Hessian& H) {
  require_readers(targets, H.in_features(), "awq");
  const std::vector<real> moments = moments_of(H);
  const std::vector<double> magnitudes = H.magnitudes();
  check(!magnitudes.empty(), "awq", "no magnitudes of the input were kept");
  AwqScales best{.error = std::numeric_limits<double>::infinity()};
  for (int k = 0; k < kAwqExponents; ++k) {
    const double exponent = static_cast<double>(k) / kAwqExponents;
    std::vector<real> s = scales_of(magnitudes, exponent);
    double error = 0;
    for (const Target* t : targets) {
      error += output_error(t->weight->value.flat(), round_scaled(*t, s), t->weight->value.rows(),
                            moments);
    }
    if (k == 0) best.rtn_error = error;
    check(std::isfinite(error), targets[0]->name, "the error of the output is not finite");
    if (!(error < best.error)) continue;
    best.s = std::move(s);
    best.exponent = exponent;
    best.error = error;
  }
  return best;
}

QTensor round_clipped(const Target& t, const Hessian& H) {
  const Target* const reader = &t;
  require_readers({&reader, 1}, H.in_features(), "awq");
  const Tensor& w = t.weight->value;
  const Index rows = w.rows(), K = w.cols();
  require_finite(w.flat(), K, t.name);
  const std::vector<real> moments = moments_of(H);
  const bool per_tensor = t.spec.granularity == Granularity::tensor;
  const Index unit = unit_size(t.spec, rows, K), width = per_tensor ? K : unit;
  const Index units = unit_count(t.spec, rows, K), blocks = K / width;
  QTensor best;
  std::vector<double> least(at(units), std::numeric_limits<double>::infinity());
  std::vector<real> block(at(width * width)), dw(at(rows * width)), product(at(rows * width));
  for (int clip = 0; clip < kAwqClips; ++clip) {
    const real ratio = 1 - static_cast<real>(clip) / 20;
    Scales scales;
    for (Index u = 0; u < units; ++u) {
      const UnitScale s = scale_unit(w.flat().subspan(at(u * unit), at(unit)), t.spec, ratio);
      scales.scales.push_back(s.scale);
      if (has_zero_points(t.spec))
        scales.zero_points.push_back(static_cast<std::int8_t>(s.zero_point));
    }
    QTensor q = quantize(w.flat(), rows, K, t.spec, std::move(scales), t.name);
    const std::vector<real> rounded = dequantize(q);
    std::vector<double> errors(at(units), 0.0);
    for (Index b = 0; b < blocks; ++b) {
      for (Index i = 0; i < width; ++i)
        std::copy_n(moments.data() + (b * width + i) * K + b * width, width,
                    block.data() + i * width);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < width; ++j) {
          const Index i = r * K + b * width + j;
          dw[at(r * width + j)] = w.data[i] - rounded[at(i)];
        }
      kernels::gemm(product, std::span<const real>(dw), block, rows, width, width);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < width; ++j)
          errors[at(per_tensor ? 0 : r * blocks + b)] +=
              static_cast<double>(dw[at(r * width + j)]) *
              static_cast<double>(product[at(r * width + j)]);
    }
    if (clip == 0) best = q;
    for (Index u = 0; u < units; ++u) {
      if (!(errors[at(u)] < least[at(u)])) continue;
      least[at(u)] = errors[at(u)];
      best.at.scales[at(u)] = q.at.scales[at(u)];
      if (has_zero_points(t.spec)) best.at.zero_points[at(u)] = q.at.zero_points[at(u)];
      std::copy_n(q.codes.begin() + u * unit, unit, best.codes.begin() + u * unit);
    }
  }
  return best;
}

constinit const Method kAwq{
    .name = "awq",
    .source = "Lin et al. 2023",
    .needs = {.hessian = true, .magnitudes = true},
    .transform =
        [](std::span<const Target* const> targets, const Hessian& H, const PostTrainingOptions&) {
          AwqScales found = awq_scales(targets, H);
          return Transform{.divide = std::move(found.s), .measures = {{"exponent", found.exponent}}};
        },
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      // What is only looked up, or looked up as well, has no input that a range could suit.
      if (matrix.H == nullptr) return {.q = round_nearest(matrix.target, RangeRule::absmax)};
      return {.q = round_clipped(matrix.target, *matrix.H)};
    },
    .layer_figures = kLayerFigures};

}  // namespace notch::quant
