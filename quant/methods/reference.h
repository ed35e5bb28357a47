// Naive references: round to nearest, GPTQ, and the gradients of STE and LSQ, as their formulas
// read, with one loop per index.
//
// Tests compare the fast ones with these, and a reader who wants to know what a method does reads
// them first. On symmetric grids without odd steps; everything is double except the division w/s,
// which is made in `real` as everywhere (quant/kernels/round.h): codes are compared to the bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/base/real.h"

namespace notch::quant::reference {

using Values = std::vector<double>;
using Codes = std::vector<std::int8_t>;

/// q = rint(clamp(w/s, -qmax, qmax)), ties to even.
inline double nearest(double w, real s, int qmax) {
  const double v = static_cast<double>(static_cast<real>(w) / s);
  return std::nearbyint(std::clamp<double>(v, -qmax, qmax));
}

/// s = max|w| / qmax over w[first, first + n): the largest weight gets the largest code.
template <class Weights>
real absmax_scale(const Weights& w, Index first, Index n, int qmax) {
  real largest = 0;
  for (Index i = first; i < first + n; ++i) {
    largest = std::max(largest, std::fabs(static_cast<real>(w[at(i)])));
  }
  return largest / static_cast<real>(qmax);
}

/// Round to nearest: of every unit of `unit` weights the scale, then each weight by itself.
struct Rounded {
  std::vector<real> scales{};
  Codes codes{};
  Values values{};  ///< ŵ = q s
};
inline Rounded round_to_nearest(std::span<const real> w, Index unit, int qmax) {
  Rounded out;
  for (Index first = 0; first < std::ssize(w); first += unit) {
    const real s = absmax_scale(w, first, unit, qmax);
    out.scales.push_back(s);
    for (Index i = first; i < first + unit; ++i) {
      const double q = nearest(static_cast<double>(w[at(i)]), s, qmax);
      out.codes.push_back(static_cast<std::int8_t>(q));
      out.values.push_back(q * static_cast<double>(s));
    }
  }
  return out;
}

/// The inverse of A [K, K], by Gauss-Jordan elimination with pivoting.
inline Values inverse(Values A, Index K) {
  Values B(at(K * K), 0.0);
  for (Index i = 0; i < K; ++i) B[at(i * K + i)] = 1;
  for (Index c = 0; c < K; ++c) {
    Index p = c;
    for (Index r = c; r < K; ++r) {
      if (std::fabs(A[at(r * K + c)]) > std::fabs(A[at(p * K + c)])) p = r;
    }
    for (Index j = 0; j < K; ++j) {
      std::swap(A[at(c * K + j)], A[at(p * K + j)]);
      std::swap(B[at(c * K + j)], B[at(p * K + j)]);
    }
    const double pivot = A[at(c * K + c)];
    for (Index j = 0; j < K; ++j) A[at(c * K + j)] /= pivot, B[at(c * K + j)] /= pivot;
    for (Index r = 0; r < K; ++r) {
      const double f = A[at(r * K + c)];
      if (r == c || f == 0) continue;
      for (Index j = 0; j < K; ++j) {
        A[at(r * K + j)] -= f * A[at(c * K + j)];
        B[at(r * K + j)] -= f * B[at(c * K + j)];
      }
    }
  }
  return B;
}

/// H + λI with λ = damp · mean(diag H), of inputs none of which is always zero.
inline Values damped(Values H, Index K, double damp) {
  double mean = 0;
  for (Index i = 0; i < K; ++i) mean += H[at(i * K + i)] / static_cast<double>(K);
  for (Index i = 0; i < K; ++i) H[at(i * K + i)] += damp * mean;
  return H;
}

/// GPTQ as the recursion that it is derived from, OBQ in a fixed order of columns (Frantar et al.
/// 2022, arXiv:2210.17323, eqs. 2 and 3). Column after column: round the weight, then let the
/// columns that are still free make up for the error, as far as inputs are correlated
///   e = (w_c - ŵ_c) / H⁻¹_cc      w_j -= e H⁻¹_jc      H⁻¹ -= H⁻¹_:c H⁻¹_c: / H⁻¹_cc
/// w [rows, K]; H [K, K] = E xxᵀ, damped here; `order` of the columns. Absmax scales: a row's is
/// that of its weights, a group's that of the weights as they are when its first column is reached.
/// Where `keep` [rows, K] is 0 the weight becomes 0 whatever it is, and has no part in a row's scale:
/// SparseGPT's update under a given mask (Frantar and Alistarh 2023, arXiv:2301.00774, eq. 3).
inline Codes gptq(std::span<const real> w, Index rows, Index K, Index group, int qmax,
                  const Values& H, double damp, const std::vector<Index>& order,
                  std::span<const std::uint8_t> keep = {}) {
  const Values full = inverse(damped(H, K, damp), K);
  Codes codes(w.size());
  for (Index r = 0; r < rows; ++r) {
    Values Hinv = full;
    Values row(w.begin() + r * K, w.begin() + (r + 1) * K);
    real s = 1;
    for (Index n = 0; n < K; ++n) {
      const Index c = order[at(n)];
      if (n % group == 0) {
        Values left = row;
        for (Index i = 0; i < K && !keep.empty(); ++i)
          if (keep[at(r * K + i)] == 0) left[at(i)] = 0;
        s = absmax_scale(left, c / group * group, group, qmax);
      }
      const bool pruned = !keep.empty() && keep[at(r * K + c)] == 0;
      const double q = pruned ? 0 : nearest(row[at(c)], s, qmax), d = Hinv[at(c * K + c)];
      codes[at(r * K + c)] = static_cast<std::int8_t>(q);
      const double e = (row[at(c)] - q * static_cast<double>(s)) / d;
      const Values before = Hinv;
      for (Index i = 0; i < K; ++i) {
        row[at(i)] -= e * before[at(i * K + c)];
        for (Index j = 0; j < K; ++j) {
          Hinv[at(i * K + j)] -= before[at(i * K + c)] * before[at(c * K + j)] / d;
        }
      }
    }
  }
  return codes;
}

/// SparseGPT (Frantar and Alistarh 2023, arXiv:2301.00774, algorithm 1) as that recursion: a pruned
/// weight becomes 0, a kept one stays what it has become. N:M: when column c begins a group of `of`, the
/// weights with the largest errors w_j² / [H⁻¹]_jj stay, `kept` of them; H⁻¹ as it is when j is reached,
/// which no row changes (the paper's [H⁻¹]_jj² is of a Cholesky factor, and the same). Returns the
/// weights [rows, K].
inline Values sparsegpt(std::span<const real> w, Index rows, Index K, Index kept, Index of,
                        const Values& H, double damp) {
  std::vector<Values> Hinv{inverse(damped(H, K, damp), K)};  // before each column
  for (Index c = 0; c + 1 < K; ++c) {
    Values next = Hinv.back();
    for (Index i = 0; i < K; ++i)
      for (Index j = 0; j < K; ++j)
        next[at(i * K + j)] -= Hinv.back()[at(i * K + c)] * Hinv.back()[at(c * K + j)] /
                               Hinv.back()[at(c * K + c)];
    Hinv.push_back(std::move(next));
  }
  const auto d = [&](Index c) { return Hinv[at(c)][at(c * K + c)]; };
  Values out;
  for (Index r = 0; r < rows; ++r) {
    Values row(w.begin() + r * K, w.begin() + (r + 1) * K);
    std::vector<Index> group;
    for (Index c = 0; c < K; ++c) {
      if (c % of == 0) {
        group.clear();
        for (Index j = c; j < c + of; ++j) group.push_back(j);
        std::ranges::stable_sort(group, [&](Index a, Index b) {
          return row[at(a)] * row[at(a)] / d(a) > row[at(b)] * row[at(b)] / d(b);
        });
        group.resize(at(kept));
      }
      const bool keep = std::ranges::find(group, c) != group.end();
      const double e = keep ? 0 : row[at(c)] / d(c);
      for (Index j = c; j < K; ++j) row[at(j)] -= e * Hinv[at(c)][at(j * K + c)];
      if (!keep) row[at(c)] = 0;
    }
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

/// Straight-through estimator (Bengio, Léonard and Courville 2013, arXiv:1308.3432). Forward is
/// ŵ = s · rint(clamp(w/s, lo, hi)), whose slope is 0 almost everywhere; backward takes rint for
/// the identity:  dL/dw = dL/dŵ where lo <= w/s <= hi, else 0.
inline double ste_slope(real w, real s, double lo, double hi) {
  const double v = static_cast<double>(w / s);
  return lo <= v && v <= hi ? 1 : 0;
}

/// LSQ (Esser et al. 2020, arXiv:1902.08153, eq. 3): the same, and the step s is learned:
///   dŵ/ds = rint(v) - v inside;  lo where v <= lo;  hi where v >= hi,  v = w/s
/// (product rule on s · rint(w/s), rint again for the identity).
inline double lsq_step_slope(real w, real s, double lo, double hi) {
  const double v = static_cast<double>(w / s);
  return v <= lo ? lo : v >= hi ? hi : std::nearbyint(v) - v;
}

}  // namespace notch::quant::reference
