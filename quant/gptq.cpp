#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "quant/kernels/column_update.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr Index kTileRows = 16;         // rows that one tile carries through all columns
constexpr double kMaxCondition = 1e14;  // above it a double factorization has no digits left

constexpr std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// H in the order of the sweep, ready to be factorized.
struct Ordered {
  std::vector<Index> perm{};         ///< column of W that is rounded i-th
  std::vector<std::uint8_t> live{};  ///< by position in the sweep
  std::vector<double> H{};           ///< dead rows and columns replaced by mean·I
  double mean = 1;                   ///< of the live diagonal
  Index dead = 0;
};

Ordered order_columns(std::span<const double> H, Index K, bool act_order, std::string_view where) {
  Ordered o;
  o.perm.resize(at(K));
  std::iota(o.perm.begin(), o.perm.end(), Index{0});
  const auto diagonal = [&](Index c) { return H[at(c * K + c)]; };
  if (act_order) {
    std::stable_sort(o.perm.begin(), o.perm.end(),
                     [&](Index a, Index b) { return diagonal(a) > diagonal(b); });
  }
  o.live.resize(at(K));
  double sum = 0;
  for (Index i = 0; i < K; ++i) {
    const double h = diagonal(o.perm[at(i)]);
    if (!(h >= 0)) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = "the Hessian has a negative diagonal element",
                   .field = str("column ", o.perm[at(i)]),
                   .found = str(h),
                   .expected = "a mean of squares"});
    }
    o.live[at(i)] = h > 0;
    o.dead += h > 0 ? 0 : 1;
    sum += h;
  }
  if (o.dead < K) o.mean = sum / static_cast<double>(K - o.dead);
  o.H.assign(at(K * K), 0.0);
  parallel_for(K, [&](Index i) {
    for (Index j = 0; j < K; ++j) {
      const bool both = o.live[at(i)] != 0 && o.live[at(j)] != 0;
      if (both) o.H[at(i * K + j)] = H[at(o.perm[at(i)] * K + o.perm[at(j)])];
    }
    if (o.live[at(i)] == 0) o.H[at(i * K + i)] = o.mean;
  });
  return o;
}

/// U upper with Hinv = UᵀU for H + λI, and the damping it took.
struct Factor {
  std::vector<double> U{};  ///< [K, K]; below the diagonal undefined
  double damp = 0;
  double lambda = 0;
  double condition = 0;
};

/// (max U_ii / min U_ii)², infinite when an element is not a positive finite number.
double condition_bound(std::span<const double> U, Index K) {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (Index i = 0; i < K; ++i) {
    const double u = U[at(i * K + i)];
    if (!(u > 0 && std::isfinite(u))) return std::numeric_limits<double>::infinity();
    least = std::min(least, u);
    most = std::max(most, u);
  }
  return K == 0 ? 1 : (most / least) * (most / least);
}

Factor factorize(const Ordered& o, Index K, double damp, std::string_view where) {
  using kernels::Triangle;
  std::vector<double> U;
  for (;; damp = damp == 0 ? 0.01 : std::min(1.0, 10 * damp)) {
    const double lambda = damp * o.mean;
    U = o.H;
    for (Index i = 0; i < K; ++i) U[at(i * K + i)] += lambda;
    const bool ok = kernels::potrf(U, K, Triangle::upper) == 0 &&
                    kernels::potri(U, K, Triangle::upper) == 0 &&
                    kernels::potrf(U, K, Triangle::upper) == 0;
    const double condition = ok ? condition_bound(U, K) : 0;
    if (ok && condition <= kMaxCondition) {
      return {.U = std::move(U), .damp = damp, .lambda = lambda, .condition = condition};
    }
    if (damp >= 1) break;
  }
  throw Error({.fault = Fault::numeric,
               .where = std::string(where),
               .what = "the Hessian cannot be factorized, even with damping 1",
               .found = str("mean of the diagonal ", o.mean),
               .expected = "a symmetric positive semi-definite matrix",
               .hint = "use more calibration text"});
}

/// What all rows of a sweep share.
struct Sweep {
  const Ordered& order;
  const Factor& factor;
  const Spec& spec;
  Index K = 0;
  Index block = 0;
  bool dynamic_groups = false;
  RangeRule range = RangeRule::mse;

  /// End of the block that starts at `begin`. A group whose scales are still to be chosen starts a
  /// new block rather than straddle two: then all its weights are up to date when it is reached.
  Index block_end(Index begin) const {
    const Index end = std::min(K, begin + block);
    if (!dynamic_groups) return end;
    const Index group_start = end - end % spec.group_size;
    return group_start > begin ? group_start : end;
  }

  Index unit_of(Index row, Index column) const {
    switch (spec.granularity) {
      case Granularity::tensor:
        return 0;
      case Granularity::channel:
        return row;
      case Granularity::group:
        break;
    }
    return row * (K / spec.group_size) + column / spec.group_size;
  }
};

/// Rounds rows [first, first + rows) of w through all columns. Writes their codes, their scales if
/// groups are dynamic, and Σ Err² of each row.
void sweep_rows(const Sweep& s, std::span<const real> w, Index first, Index rows, QTensor& q,
                std::span<double> losses) {
  const Index K = s.K;
  const Grid grid = grid_of(s.spec);
  std::vector<double> W(at(rows * K), 0.0), Err(at(rows * s.block), 0.0);
  std::vector<real> group(at(s.dynamic_groups ? s.spec.group_size : 0));
  for (Index r = 0; r < rows; ++r) {
    for (Index i = 0; i < K; ++i) {
      W[at(r * K + i)] = static_cast<double>(w[at((first + r) * K + s.order.perm[at(i)])]);
    }
  }
  for (Index begin = 0, end = 0; begin < K; begin = end) {
    end = s.block_end(begin);
    for (Index i = begin; i < end; ++i) {
      const Index column = s.order.perm[at(i)];
      const double* U = s.factor.U.data() + i * K;
      for (Index r = 0; r < rows; ++r) {
        double* row = W.data() + r * K;
        const std::size_t unit = at(s.unit_of(first + r, column));
        if (s.dynamic_groups && i % s.spec.group_size == 0) {
          std::transform(row + i, row + i + s.spec.group_size, group.begin(),
                         [](double v) { return static_cast<real>(v); });
          const UnitScale chosen = choose_unit(group, s.spec, s.range).at;
          q.at.scales[unit] = chosen.scale;
          if (has_zero_points(s.spec)) {
            q.at.zero_points[unit] = static_cast<std::int8_t>(chosen.zero_point);
          }
        }
        const real scale = q.at.scales[unit];
        const int z = has_zero_points(s.spec) ? q.at.zero_points[unit] : 0;
        const real steps =
            round_clamped(static_cast<real>(row[i]) / scale, static_cast<real>(grid.qmin - z),
                          static_cast<real>(grid.qmax - z));
        // NaN has no code; it stays in the loss, which is checked after the sweep.
        const int code = std::isnan(steps) ? 0 : static_cast<int>(steps) + z;
        q.codes[at((first + r) * K + column)] = static_cast<std::int8_t>(code);
        const double err = (row[i] - static_cast<double>(steps * scale)) / U[i];
        Err[at(r * s.block + i - begin)] = err;
        if (s.order.live[at(i)] != 0) losses[at(first + r)] += err * err;
        update_row(row + i + 1, err, U + i + 1, end - i - 1);
      }
    }
    update_columns(W.data() + end, K, Err.data(), s.block, s.factor.U.data() + begin * K + end, K,
                   rows, end - begin, K - end);
  }
}

/// tr(dW H dWᵀ) and Σ dW² over live columns, for dW = w - dequantize(q). H in the order of W.
struct Distance {
  double output = 0;
  double weights = 0;
};
Distance distance(std::span<const real> w, const QTensor& q, std::span<const double> H) {
  const Index K = q.cols;
  const std::vector<real> quantized = dequantize(q);
  std::vector<double> dW(w.size()), dWH(w.size());
  for (std::size_t i = 0; i < w.size(); ++i) {
    dW[i] = H[at(static_cast<Index>(i) % K * (K + 1))] > 0
                ? static_cast<double>(w[i]) - static_cast<double>(quantized[i])
                : 0;
  }
  kernels::gemm(std::span<double>(dWH), std::span<const double>(dW), H, q.rows, K, K);
  Distance d;
  for (std::size_t i = 0; i < w.size(); ++i) {
    d.output += dWH[i] * dW[i];
    d.weights += dW[i] * dW[i];
  }
  return d;
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
  workspace_.resize(at(kernels::syrk_workspace(n, in_features_)));
  kernels::syrk(sum_, x, n, in_features_, 1, workspace_);
#endif
  rows_ += n;
}

std::vector<double> Hessian::matrix() const {
  std::vector<double> H = sum_;
  const double n = static_cast<double>(std::max<Index>(rows_, 1));
  for (double& h : H) h /= n;
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
  report.rtn_error = distance(w, result.q, H).output;

  const Ordered order = order_columns(H, cols, options.act_order, where);
  const Factor factor = factorize(order, cols, options.damp, where);
  const Sweep sweep{.order = order,
                    .factor = factor,
                    .spec = spec,
                    .K = cols,
                    .block = std::min(options.block, std::max<Index>(cols, 1)),
                    .dynamic_groups = groups && !static_groups,
                    .range = options.range};
  std::vector<double> losses(at(rows), 0.0);
  parallel_for((rows + kTileRows - 1) / kTileRows, [&](Index tile) {
    const Index first = tile * kTileRows;
    sweep_rows(sweep, w, first, std::min(kTileRows, rows - first), result.q, losses);
  });

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
    report.column_losses += losses[at(r)];
  }
  const Distance d = distance(w, result.q, H);
  report.error = d.output;
  report.damped_error = d.output + factor.lambda * d.weights;
  return result;
}

}  // namespace notch::quant
