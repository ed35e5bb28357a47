#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "quant/gptq_factor.h"
#include "quant/gptq_sweep.h"

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// tr(dW H dWᵀ) for dW = w - dequantize(q), with inputs that were always zero left out. H is
/// symmetric: only its blocks above the diagonal are multiplied.
double output_error(std::span<const real> w, const QTensor& q, std::span<const double> H) {
  constexpr Index kRows = 64, kCols = 256;
  const Index K = q.cols;
  const std::vector<real> rounded = dequantize(q);
  const Index tiles = (q.rows + kRows - 1) / kRows;
  std::vector<double> errors(at(tiles));
  parallel_for(tiles, [&](Index tile) {
    const Index first = tile * kRows, rows = std::min(kRows, q.rows - first);
    std::vector<double> dW(at(rows * K)), product(at(rows * kCols));
    for (Index i = 0; i < rows * K; ++i) {
      const std::size_t from = at(first * K + i);
      dW[at(i)] = static_cast<double>(w[from]) - static_cast<double>(rounded[from]);
    }
    const std::span<const double> moved = dW;
    for (Index begin = 0; begin < K; begin += kCols) {
      const Index cols = std::min(kCols, K - begin);
      // (2 Σ_i dW_i H_ij for i before the block + Σ_i inside it) · dW_j
      kernels::gemm_serial(product, moved, H.subspan(at(begin)), rows, cols, begin,
                           {.ld_out = cols, .lda = K, .ldb = K, .alpha = 2});
      kernels::gemm_serial(product, moved.subspan(at(begin)), H.subspan(at(begin * (K + 1))), rows,
                           cols, cols, {.accumulate = true, .ld_out = cols, .lda = K, .ldb = K});
      for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < cols; ++c)
          errors[at(tile)] += product[at(r * cols + c)] * dW[at(r * K + begin + c)];
    }
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

/// Σ (w - ŵ)² over live columns.
double weight_error(std::span<const real> w, const QTensor& q, std::span<const double> H) {
  const std::vector<real> rounded = dequantize(q);
  std::vector<double> errors(at(q.rows));
  parallel_for(q.rows, [&](Index r) {
    for (Index c = 0; c < q.cols; ++c) {
      const std::size_t i = at(r * q.cols + c);
      const double d = static_cast<double>(w[i]) - static_cast<double>(rounded[i]);
      errors[at(r)] += H[at(c * (q.cols + 1))] > 0 ? d * d : 0;
    }
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

}  // namespace

Hessian::Hessian(std::int64_t in_features)
    : in_features_(in_features), sum_(at(in_features * in_features), 0.0) {}

void Hessian::accumulate(std::span<const real> x) {
  const Index n = in_features_ == 0 ? 0 : std::ssize(x) / in_features_;
  check(n * in_features_ == std::ssize(x), "hessian", "got ", x.size(), " numbers, not rows of ",
        in_features_);
  if (n == 0) return;
#ifdef NOTCH_DOUBLE
  kernels::syrk(sum_, x, n, in_features_);
#else
  workspace_.resize(sum_.size());
  kernels::syrk(sum_, x, n, in_features_, workspace_);
#endif
  rows_ += n;
}

std::vector<double> Hessian::matrix() const {
  const Index K = in_features_;
  const double n = static_cast<double>(std::max<Index>(rows_, 1));
  std::vector<double> H(sum_.size());
  constexpr Index kRows = 64;
  parallel_for((K + kRows - 1) / kRows, [&](Index tile) {
    for (Index i = tile * kRows; i < std::min(K, (tile + 1) * kRows); ++i)
      for (Index j = i; j < K; ++j) H[at(i * K + j)] = H[at(j * K + i)] = sum_[at(i * K + j)] / n;
  });
  return H;
}

GptqResult gptq(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                std::span<const double> H, const GptqOptions& options, std::string_view where) {
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
  const bool groups = spec.granularity == Granularity::group;
  const bool static_groups = groups && (options.static_groups || options.act_order);
  // Round-to-nearest is the yardstick, and its scales are those of every unit that is not chosen
  // in the sweep. It also checks the weights and the spec.
  GptqResult result{.q = quantize(w, rows, cols, spec,
                                  choose_scales(w, rows, cols, spec, options.range, where).at,
                                  where)};
  GptqReport& report = result.report;
  report.static_groups = static_groups;
  report.rtn_error = output_error(w, result.q, H);

  const ColumnOrder order = order_columns(H, cols, options.act_order, where);
  const HessianFactor factor = factorize(H, order, options.damp, where);
  std::vector<double> losses(at(rows), 0.0);
  sweep({.order = order,
         .factor = factor,
         .block = options.block,
         .dynamic_groups = groups && !static_groups,
         .range = options.range},
        w, result.q, losses);

  report.damp = factor.damp;
  report.dead_columns = order.dead;
  report.condition = factor.condition;
  for (Index r = 0; r < rows; ++r) {
    if (!std::isfinite(losses[at(r)])) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = str("gptq diverged in row ", r),
                   .field = str("row ", r),
                   .hint = "use more calibration text or a larger damp"});
    }
    report.damped_error += losses[at(r)];
  }
  report.error = std::max(0.0, report.damped_error - factor.lambda * weight_error(w, result.q, H));
  return result;
}

}  // namespace notch::quant
