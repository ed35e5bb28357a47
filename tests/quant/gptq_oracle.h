// What GPTQ's tests compare with: the recursion it is derived from (OBQ, written from the
// definition with a full inverse) and the output error, summed element by element.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "quant/gptq.h"
#include "tests/quant/random_matrix.h"

namespace notch::test {

using namespace notch::quant;

using Codes = std::vector<std::int8_t>;
using Matrix = std::vector<double>;

constexpr std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

inline Matrix identity(std::int64_t K, double c) {
  Matrix H(at(K * K), 0.0);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] = c;
  return H;
}

inline Matrix hessian_of(std::span<const real> x, std::int64_t K) {
  Hessian H(K);
  H.accumulate(x);
  return H.matrix();
}

inline QTensor rtn(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                   RangeRule rule) {
  return quantize(w, rows, cols, spec, choose_scales(w, rows, cols, spec, rule, "t").at, "t");
}

/// tr(dW H dWᵀ), summed element by element.
inline double output_error(std::span<const real> w, const QTensor& q, const Matrix& H) {
  const std::vector<real> back = dequantize(q);
  const std::int64_t K = q.cols;
  double sum = 0;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = 0; j < K; ++j) {
        const double di = double(w[at(r * K + i)]) - double(back[at(r * K + i)]);
        const double dj = double(w[at(r * K + j)]) - double(back[at(r * K + j)]);
        sum += di * H[at(i * K + j)] * dj;
      }
    }
  }
  return sum;
}

/// H + λI with λ = damp · mean(diag H), of inputs none of which is always zero.
inline Matrix damped_by(Matrix H, std::int64_t K, double damp) {
  double mean = 0;
  for (std::int64_t i = 0; i < K; ++i) mean += H[at(i * K + i)] / static_cast<double>(K);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] += damp * mean;
  return H;
}

/// How far the summed losses of the sweep, or of given codes, computed in `real`, can be from
/// E = tr(dW A dWᵀ), A = H + λI = R Rᵀ. With exact targets they are equal, as (t_j - ŵ_j) R_jj =
/// Σ_{i<=j} dW_i R_ij. A target is a chain of up to K terms whose two factors are rounded as well:
///   |δ_j| R_jj <= γ (|w_j| R_jj + Σ_{i<j} |dW_i R_ij|),   γ = (K + 2) u / (1 - (K + 2) u)
/// By R_jj² <= A_jj and Cauchy-Schwarz, Σ R_ij² being tr A, over all rows
///   ‖δ R‖ <= γ (√(Σ w_j² A_jj) + ‖dW‖ √tr A) =: d,   and |Σ losses - E| <= 2 d √E + d².
inline double loss_slack(std::span<const real> w, const QTensor& q, const Matrix& A) {
  const std::vector<real> back = dequantize(q);
  const std::int64_t K = q.cols;
  const double steps = static_cast<double>(K + 2) * (sizeof(real) == 4 ? 0x1p-24 : 0x1p-53);
  double weighted = 0, moved = 0, trace = 0;
  for (std::int64_t j = 0; j < K; ++j) trace += A[at(j * K + j)];
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::size_t j = i % at(K);
    const double dw = double(w[i]) - double(back[i]);
    weighted += double(w[i]) * double(w[i]) * A[j * at(K + 1)];
    moved += dw * dw;
  }
  const double d = steps / (1 - steps) * (std::sqrt(weighted) + std::sqrt(moved * trace));
  return 2 * d * std::sqrt(output_error(w, q, A)) + d * d;
}

/// Inverse by Gauss-Jordan elimination with pivoting.
inline Matrix inverse(Matrix A, std::int64_t K) {
  Matrix B = identity(K, 1);
  for (std::int64_t c = 0; c < K; ++c) {
    std::int64_t p = c;
    for (std::int64_t r = c; r < K; ++r) {
      if (std::fabs(A[at(r * K + c)]) > std::fabs(A[at(p * K + c)])) p = r;
    }
    for (std::int64_t j = 0; j < K; ++j) {
      std::swap(A[at(c * K + j)], A[at(p * K + j)]);
      std::swap(B[at(c * K + j)], B[at(p * K + j)]);
    }
    const double pivot = A[at(c * K + c)];
    for (std::int64_t j = 0; j < K; ++j) A[at(c * K + j)] /= pivot, B[at(c * K + j)] /= pivot;
    for (std::int64_t r = 0; r < K; ++r) {
      const double f = A[at(r * K + c)];
      if (r == c || f == 0) continue;
      for (std::int64_t j = 0; j < K; ++j) {
        A[at(r * K + j)] -= f * A[at(c * K + j)];
        B[at(r * K + j)] -= f * B[at(c * K + j)];
      }
    }
  }
  return B;
}

/// OBQ in a fixed order of columns (Frantar et al. 2022, eqs. 2 and 3), on the narrow grid with
/// absmax ranges: a row's scale is fixed, a group's is taken from the weights as they are when its
/// first column is reached. Hinv is downdated in full after every column.
inline Codes obq(std::span<const real> w, std::int64_t rows, std::int64_t K, const Spec& spec,
                 Matrix H, double damp, const std::vector<std::int64_t>& order) {
  const double qmax = grid_of(spec).qmax;
  H = damped_by(std::move(H), K, damp);
  const Matrix full = inverse(H, K);
  const std::int64_t group = spec.granularity == Granularity::group ? spec.group_size : K;
  Codes codes(w.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    Matrix Hinv = full;
    std::vector<double> row(w.begin() + r * K, w.begin() + (r + 1) * K);
    real scale = 1;
    for (std::int64_t n = 0; n < K; ++n) {
      const std::int64_t c = order[at(n)];
      if (n % group == 0) {
        real absmax = 0;
        for (std::int64_t j = c / group * group; j < c / group * group + group; ++j) {
          absmax = std::max(absmax, std::fabs(static_cast<real>(row[at(j)])));
        }
        scale = absmax / static_cast<real>(qmax);
      }
      const double q = std::min(
          qmax, std::max(-qmax, std::nearbyint(double(static_cast<real>(row[at(c)]) / scale))));
      codes[at(r * K + c)] = static_cast<std::int8_t>(q);
      const double d = Hinv[at(c * K + c)];
      const double error = (row[at(c)] - q * double(scale)) / d;
      const Matrix before = Hinv;
      for (std::int64_t i = 0; i < K; ++i) {
        row[at(i)] -= error * before[at(i * K + c)];
        for (std::int64_t j = 0; j < K; ++j) {
          Hinv[at(i * K + j)] -= before[at(i * K + c)] * before[at(c * K + j)] / d;
        }
      }
    }
  }
  return codes;
}

inline std::vector<std::int64_t> ascending(std::int64_t K) {
  std::vector<std::int64_t> order(at(K));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

}  // namespace notch::test
