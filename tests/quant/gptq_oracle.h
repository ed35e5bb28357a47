// What GPTQ's tests compare with besides quant/methods/reference.h: the output error, summed element by
// element, and how far sums in `real` may be from it.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "autograd/base/index.h"
#include "quant/methods/gptq.h"
#include "quant/methods/reference.h"
#include "tests/quant/random_matrix.h"

namespace notch::test {

using namespace notch::quant;

using Codes = std::vector<std::int8_t>;
using Matrix = std::vector<double>;

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

/// The reference's codes on the narrow grid of a spec.
inline Codes reference_gptq(std::span<const real> w, std::int64_t rows, std::int64_t K,
                            const Spec& spec, const Matrix& H, double damp,
                            const std::vector<std::int64_t>& order) {
  const std::int64_t group = spec.granularity == Granularity::group ? spec.group_size : K;
  return reference::gptq(w, rows, K, group, grid_of(spec).qmax, H, damp, order);
}

inline std::vector<std::int64_t> ascending(std::int64_t K) {
  std::vector<std::int64_t> order(at(K));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

}  // namespace notch::test
