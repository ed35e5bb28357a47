#include "quant/methods/gptq_factor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"

namespace notch::quant {
namespace {

constexpr double kMaxCondition = 1e14;  // above it a double factorization has no digits left

/// (max R_jj / min R_jj)², infinite when an element is not a positive finite number.
double condition_bound(std::span<const double> L, Index K) {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (Index j = 0; j < K; ++j) {
    const double r = L[at(j * (K + 1))];
    if (!(r > 0 && std::isfinite(r))) return std::numeric_limits<double>::infinity();
    least = std::min(least, r);
    most = std::max(most, r);
  }
  return K == 0 ? 1 : (most / least) * (most / least);
}

}  // namespace

ColumnOrder order_columns(std::span<const double> H, Index K, bool act_order,
                          std::string_view where) {
  check(std::ssize(H) == extent(where, {K, K}), where, "the Hessian has ", H.size(),
        " elements, need ", K, " x ", K);
  ColumnOrder o;
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
  return o;
}

DampedCholesky damped_cholesky(std::span<const double> H, const ColumnOrder& o, double damp,
                               std::string_view where) {
  const Index K = std::ssize(o.perm);
  check(std::ssize(H) == extent(where, {K, K}) && std::ssize(o.live) == K && damp >= 0 && damp <= 1,
        where, "the Hessian has ", H.size(), " elements for ", K, " columns, and damp = ", damp);
  // Clearing what is written next, in one thread, would take longer than writing it.
  DampedCholesky c{
      .K = K, .perm = o.perm, .storage = std::make_unique_for_overwrite<double[]>(at(K * K))};
  c.L = {c.storage.get(), at(K * K)};
  for (;; damp = damp == 0 ? 0.01 : std::min(1.0, 10 * damp)) {
    c.damp = damp;
    c.lambda = damp * o.mean;
    parallel_for(K, [&](Index r) {
      const Index i = K - 1 - r;
      for (Index col = 0; col <= r; ++col) {
        const Index j = K - 1 - col;
        const bool both = o.live[at(i)] != 0 && o.live[at(j)] != 0;
        c.L[at(r * K + col)] = both ? H[at(o.perm[at(i)] * K + o.perm[at(j)])] : 0;
      }
      if (o.live[at(i)] == 0) c.L[at(r * K + r)] = o.mean;
      c.L[at(r * K + r)] += c.lambda;
    });
    if (kernels::cholesky(c.L, K) == 0) {
      c.condition = condition_bound(c.L, K);
      if (c.condition <= kMaxCondition) return c;
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

HessianFactor pack_factor(const DampedCholesky& c) {
  const Index K = c.K;
  check(std::ssize(c.L) == extent("factor", {K, K}), "factor", "has ", c.L.size(), " elements for ",
        K, " columns");
  HessianFactor f{.diagonal = std::vector<double>(at(K)), .R = PackedFactor(K)};
  for (Index j = 0; j < K; ++j) f.diagonal[at(j)] = c.L[at((K - 1 - j) * (K + 1))];
  parallel_for(quotient_up(K, kPanelCols), [&](Index panel) {
    const Index begin = panel * kPanelCols, end = std::min(K, begin + kPanelCols);
    for (Index i = 0; i < end; ++i)
      for (Index j = std::max(begin, i); j < end; ++j)
        f.R.at(panel, i)[j - begin] =
            static_cast<real>(c.L[at((K - 1 - i) * K + K - 1 - j)] / f.diagonal[at(j)]);
  });
  return f;
}

}  // namespace notch::quant
