#include "quant/methods/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/gptq_factor.h"
#include "quant/methods/gptq_sweep.h"
#include "quant/methods/options.h"
#include "quant/methods/own_levels_sweep.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"
#include "quant/numbers/nested_scales.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

/// Σ (w - ŵ)² over live columns, `rests` being part of ŵ.
double weight_error(std::span<const real> w, const QTensor& q, std::span<const real> rests,
                    const ColumnOrder& order) {
  std::vector<std::uint8_t> live(at(q.cols));
  for (std::size_t i = 0; i < live.size(); ++i) live[at(order.perm[i])] = order.live[i];
  std::vector<real> rounded = dequantize(q);
  for (std::size_t i = 0; i < rests.size(); ++i) rounded[i] += rests[i];
  std::vector<double> errors(at(q.rows));
  parallel_for(q.rows, [&](Index r) {
    for (Index c = 0; c < q.cols; ++c) {
      const std::size_t i = at(r * q.cols + c);
      const double d = static_cast<double>(w[i]) - static_cast<double>(rounded[i]);
      errors[at(r)] += live[at(c)] != 0 ? d * d : 0;
    }
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

/// tr(dW H dWᵀ) of what the sweep minimises, which adds λ‖dW‖².
double undamped(double error, double lambda, std::span<const real> w, const QTensor& q,
                std::span<const real> rests, const ColumnOrder& order) {
  return std::max(0.0, error - lambda * weight_error(w, q, rests, order));
}

/// The gain above which a weight is an outlier: threshold · mean of var over rows(w_j) R_jj² over the
/// columns j.
double gain_of_outliers(double threshold, std::span<const real> w, Index rows, Index cols,
                        const ColumnOrder& order, const HessianFactor& factor) {
  double sum = 0;
  for (Index i = 0; i < cols; ++i) {
    if (order.live[at(i)] == 0 || rows < 2) continue;
    const auto weight = [&](Index r) {
      return static_cast<double>(w[at(r * cols + order.perm[at(i)])]);
    };
    double mean = 0, squares = 0;
    for (Index r = 0; r < rows; ++r) mean += weight(r) / static_cast<double>(rows);
    for (Index r = 0; r < rows; ++r) squares += (weight(r) - mean) * (weight(r) - mean);
    sum +=
        squares / static_cast<double>(rows - 1) * factor.diagonal[at(i)] * factor.diagonal[at(i)];
  }
  return threshold * sum / static_cast<double>(std::max<Index>(cols, 1));
}

/// What an error of each column costs by itself.
std::vector<double> diagonal(std::span<const double> H, Index cols, double lambda) {
  std::vector<double> weights;
  for (Index i = 0; i < cols; ++i) weights.push_back(H[at(i * cols + i)] + lambda);
  return weights;
}

/// In any other order than that in which a mask was chosen, pruned weights cost twice and more
/// (experiments/LOG.md). Columns that share a word are neighbours.
bool acts_on_order(const Spec& spec, const GptqOptions& options, std::span<const std::uint8_t> keep,
                   const Outliers& outliers) {
  return options.act_order && !outliers.any() && !has_words(spec) &&
         std::ranges::find(keep, std::uint8_t{0}) == keep.end();
}

/// Scales and ratios of k standard deviations per unit.
void set_deviations(std::span<const real> w, const GptqOptions& options, QTensor& q,
                    std::vector<real>& ratios) {
  const std::size_t size = at(unit_size(q.spec, q.rows, q.cols));
  parallel_for(std::ssize(ratios), [&](Index u) {
    const auto unit = w.subspan(at(u) * size, size);
    ratios[at(u)] = first_ratio(unit, q.spec, options);
    const UnitScale chosen = scale_unit(unit, q.spec, ratios[at(u)]);
    q.at.scales[at(u)] = chosen.scale;
    if (has_zero_points(q.spec)) {
      q.at.zero_points[at(u)] = static_cast<std::int8_t>(chosen.zero_point);
    }
  });
}

/// The one scale of all rows, by the sum of their losses.
template <class Run>
void search_tensor_clip(std::span<const real> w, real first, QTensor& q,
                        std::span<const double> losses, const Run& run) {
  double least = std::numeric_limits<double>::infinity();
  Scales best = q.at;
  for (const double multiple : kClipMultiples) {
    const UnitScale scale = scale_unit(w, q.spec, searched_ratio(first, multiple));
    q.at.scales[0] = scale.scale;
    if (has_zero_points(q.spec)) q.at.zero_points[0] = static_cast<std::int8_t>(scale.zero_point);
    run();
    const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
    if (!(loss < least)) continue;
    least = loss;
    best = q.at;
  }
  q.at = best;
}

}  // namespace

GptqResult gptq(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                std::span<const double> H, const GptqOptions& options, std::string_view where,
                std::span<const std::uint8_t> keep, const Outliers& outliers,
                DampedCholesky* made) {
  check(options.damp >= 0 && options.damp <= 1, where, "gptq damping ", options.damp,
        " is outside 0 to 1");
  check(options.block >= 1, where, "gptq block ", options.block, " is less than 1 column");
  check(std::ssize(H) == cols * cols, where, "the Hessian has ", H.size(), " elements, need ", cols,
        " x ", cols);
  if (!std::all_of(H.begin(), H.end(), [](double h) { return std::isfinite(h); })) {
    throw Error({.fault = Fault::numeric,
                 .where = std::string(where),
                 .what = "the Hessian is not finite",
                 .expected = "finite activations in calibration"});
  }
  check(options.deviations > 0 && std::isfinite(options.deviations), where, "gptq deviations ",
        options.deviations, " is not positive and finite");
  check(keep.empty() || keep.size() == w.size(), where, "the mask has ", keep.size(),
        " elements for ", w.size(), " weights");
  check(!outliers.any() || (outliers.threshold > 0 && outliers.rests), where,
        "outliers from a threshold of ", outliers.threshold, " need one above 0, and a place");
  if (outliers.any() && spec.granularity == Granularity::tensor) {
    throw Error({.where = std::string(where),
                 .what = "outliers are those of a range, and all of the matrix has one",
                 .hint = "choose granularity group or channel"});
  }
  // Ranges are those of what is left.
  const std::vector<real> left = keep.empty() ? std::vector<real>{} : kept_weights(w, keep);
  const std::span<const real> ranged = keep.empty() ? w : std::span<const real>(left);
  const bool groups = spec.granularity == Granularity::group;
  const bool own_levels = has_own_levels(spec);
  check(!own_levels || keep.empty(), where, "levels of the ", name_of(spec.grid),
        " grid have no zero for what is pruned");
  const bool static_groups =
      groups && !outliers.any() &&
      (options.static_groups || own_levels || acts_on_order(spec, options, keep, outliers));
  // Round-to-nearest is the yardstick. It also checks the weights and the spec.
  Ranges ranges = choose_scales(ranged, rows, cols, spec, options.range(), where);
  GptqResult result{.q = quantize(ranged, rows, cols, spec, ranges.at, where)};
  GptqReport& report = result.report;
  report.static_groups = static_groups;
  const ColumnOrder order = gptq_order(H, cols, spec, options, where, keep, outliers);
  DampedCholesky cholesky =
      made ? std::move(*made) : damped_cholesky(H, order, options.damp, where);
  check(cholesky.perm == order.perm, where, "the factor that was made is of another order");
  const HessianFactor factor = pack_factor(cholesky);
  cholesky.L = {};
  cholesky.storage.reset();
  const bool tensor = spec.granularity == Granularity::tensor;
  const bool searches = options.clip == Clip::output && !own_levels;
  std::vector<double> losses(at(rows), 0.0);
  const auto total = [&] { return std::accumulate(losses.begin(), losses.end(), 0.0); };
  measure(order, factor, w, result.q, losses);
  report.rtn_error = undamped(total(), cholesky.lambda, w, result.q, {}, order);
  if (options.clip == Clip::deviations && !own_levels)
    set_deviations(ranged, options, result.q, ranges.ratios);
  if (spec.scale == ScaleType::bilevel && !tensor && !own_levels) reserve_bilevel(result.q);
  if (outliers.any()) outliers.rests->assign(w.size(), 0);
  const std::span<real> rests = outliers.any() ? std::span(*outliers.rests) : std::span<real>{};
  const auto run = [&] {
    sweep({.order = order,
           .factor = factor,
           .options = options,
           .dynamic_groups = outliers.any() || (groups && !static_groups),
           .search_clip = searches && !tensor,
           .ratios = ranges.ratios,
           .keep = keep,
           .ranged = ranged,
           .least_gain = outliers.any()
                             ? gain_of_outliers(outliers.threshold, w, rows, cols, order, factor)
                             : 0,
           .rests = rests},
          w, result.q, losses);
  };
  if (searches && tensor) search_tensor_clip(ranged, ranges.ratios[0], result.q, losses, run);
  if (own_levels) {
    if (spec.grid == GridKind::learned) {
      result.q.at = choose_levels(w, rows, cols, spec, where, diagonal(H, cols, cholesky.lambda));
    }
    round_own_levels(order, factor, w, options.clip == Clip::output, result.q, losses);
  } else {
    run();
  }

  report.damp = cholesky.damp;
  report.dead_columns = order.dead;
  report.condition = cholesky.condition;
  for (Index r = 0; r < rows; ++r) {
    if (!std::isfinite(losses[at(r)])) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = str("gptq diverged in row ", r),
                   .field = str("row ", r),
                   .hint = "use more calibration text or a larger damp"});
    }
  }
  report.damped_error = total();
  report.error = undamped(report.damped_error, cholesky.lambda, w, result.q, rests, order);
  return result;
}

ColumnOrder gptq_order(std::span<const double> H, std::int64_t cols, const Spec& spec,
                       const GptqOptions& options, std::string_view where,
                       std::span<const std::uint8_t> keep, const Outliers& outliers) {
  check(std::ssize(H) == cols * cols, where, "the Hessian has ", H.size(), " elements, need ", cols,
        " x ", cols);
  return order_columns(H, cols, acts_on_order(spec, options, keep, outliers), where);
}

Rounded round_by_gptq(const MatrixView& matrix, std::span<const real> target,
                      const GptqOptions& options, const Outliers& outliers) {
  // One-hot inputs have a diagonal Hessian, with which GPTQ is round-to-nearest.
  if (matrix.H == nullptr) return {.q = round_nearest(matrix.target, options.range())};
  return measured(gptq(target, matrix.rows(), matrix.cols(), matrix.target.spec, matrix.H->matrix(),
                       options, matrix.target.name, matrix.keep, outliers));
}

Rounded measured(GptqResult result) {
  const GptqReport& r = result.report;
  return {.q = std::move(result.q),
          .measures = {{"output_error", r.error},
                       {"rtn_output_error", r.rtn_error},
                       {"damp", r.damp},
                       {"condition", r.condition},
                       {"dead_inputs", static_cast<double>(r.dead_columns)}}};
}

Rounded round_by_gptq(const MatrixView& matrix, const PostTrainingOptions& options) {
  return round_by_gptq(matrix, matrix.before(), options.gptq);
}

constinit const Method kGptq{.name = "gptq",
                             .source = "Frantar et al. 2022",
                             .needs = {.hessian = true},
                             .round = round_by_gptq,
                             .own_levels = true,
                             .section = "gptq",
                             .layer_figures = kGptqLayerFigures,
                             .row_figures = kGptqRowFigures};

}  // namespace notch::quant
