#include "quant/methods/hessian.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/syrk.h"

namespace notch::quant {

Hessian::Hessian(std::int64_t in_features, const KeptInputs& kept)
    : in_features_(in_features),
      sum_(kept.moments ? at(extent("hessian", {in_features, in_features})) : 0, 0.0),
      magnitudes_(kept.magnitudes ? at(extent("hessian", {in_features})) : 0, 0.0),
      largest_(magnitudes_.size()),
      sample_every_(kept.sample_every) {}

void Hessian::require_moments() const {
  check(std::ssize(sum_) == in_features_ * in_features_, "hessian", "the second moments of ",
        in_features_, " inputs were not asked for");
}

void Hessian::accumulate(std::span<const real> x) {
  const Index n = in_features_ == 0 ? 0 : std::ssize(x) / in_features_;
  check(n * in_features_ == std::ssize(x), "hessian", "got ", x.size(), " numbers, not rows of ",
        in_features_);
  if (n == 0) return;
  if (!sum_.empty()) kernels::syrk(sum_, x, n, in_features_);
  constexpr Index kColumns = 64;
  const Index channels = std::ssize(magnitudes_);
  parallel_for(quotient_up(channels, kColumns), [&](Index part) {
    const Index first = part * kColumns, end = std::min(channels, first + kColumns);
    for (Index row = 0; row < n; ++row)
      for (Index j = first; j < end; ++j) {
        const real size = std::abs(x[at(row * in_features_ + j)]);
        magnitudes_[at(j)] += static_cast<double>(size);
        largest_[at(j)] = std::max(largest_[at(j)], size);
      }
  });
  for (Index row = 0; sample_every_ > 0 && row < n; ++row) {
    if ((rows_ + row) % sample_every_ != 0) continue;
    const auto kept = x.subspan(at(row * in_features_), at(in_features_));
    sample_.insert(sample_.end(), kept.begin(), kept.end());
  }
  rows_ += n;
}

void Hessian::accumulate(std::span<const real> x, std::span<const real> reference) {
  require_moments();
  check(x.size() == reference.size(), "hessian", "got ", x.size(), " inputs and ", reference.size(),
        " of the reference");
  accumulate(x);
  const Index K = in_features_;
  constexpr Index kRows = kernels::kSyrkRows;
  drift_.resize(sum_.size(), 0.0);
  workspace_.resize(sum_.size());
  std::vector<real> difference(at(kRows * K));
  for (Index first = 0; first * K < std::ssize(x); first += kRows) {
    const Index n = std::min(kRows, std::ssize(x) / K - first);
    const auto rows = x.subspan(at(first * K), at(n * K));
    parallel_for(n, [&](Index r) {
      for (Index i = r * K; i < (r + 1) * K; ++i)
        difference[at(i)] = reference[at(first * K + i)] - rows[at(i)];
    });
    const std::span<const real> moved = difference;
    kernels::gemm(workspace_, moved, rows, K, K, n, {.trans_a = true});
    parallel_for(K, [&](Index i) {
      for (Index j = i * K; j < (i + 1) * K; ++j)
        drift_[at(j)] += static_cast<double>(workspace_[at(j)]);
    });
  }
}

void Hessian::scale(double factor) {
  for (double& h : sum_) h *= factor;
}

void Hessian::add(const Hessian& other) {
  check(other.in_features_ == in_features_, "hessian", "got second moments of ", other.in_features_,
        " inputs for ", in_features_);
  require_moments();
  other.require_moments();
  if (other.rows_ == 0) return;
  const double weight =
      static_cast<double>(std::max<Index>(rows_, 1)) / static_cast<double>(other.rows_);
  for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += weight * other.sum_[i];
}

std::vector<double> Hessian::matrix() const {
  const Index K = in_features_;
  require_moments();
  const double n = static_cast<double>(std::max<Index>(rows_, 1));
  std::vector<double> H(sum_.size());
  // By square tiles: one side of the mirror is always read or written across rows.
  constexpr Index kTile = 64;
  parallel_for(quotient_up(K, kTile), [&](Index tile) {
    const Index begin = tile * kTile, end = std::min(K, begin + kTile);
    for (Index first = begin; first < K; first += kTile)
      for (Index i = begin; i < end; ++i)
        for (Index j = std::max(i, first); j < std::min(K, first + kTile); ++j)
          H[at(i * K + j)] = H[at(j * K + i)] = sum_[at(i * K + j)] / n;
  });
  return H;
}

std::vector<double> Hessian::magnitudes() const {
  std::vector<double> mean = magnitudes_;
  for (double& m : mean) m /= static_cast<double>(std::max<Index>(rows_, 1));
  return mean;
}

std::vector<double> Hessian::drift() const {
  std::vector<double> C = drift_;
  for (double& c : C) c /= static_cast<double>(std::max<Index>(rows_, 1));
  return C;
}

}  // namespace notch::quant
