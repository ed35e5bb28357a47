#include "autograd/kernels/triangular.h"

#include <cmath>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/matmul.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(double, dot, const double* a, const double* b, Index n) {
  constexpr Index kWidth = 16;
  double lanes[kWidth] = {};
  Index i = 0;
  for (; i + kWidth <= n; i += kWidth)
    for (Index l = 0; l < kWidth; ++l) lanes[l] += a[i + l] * b[i + l];
  for (Index l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
  for (Index width = kWidth / 2; width > 0; width /= 2)
    for (Index l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

NOTCH_VECTOR(void, subtract_scaled, double* y, const double* x, double factor, Index n) {
  for (Index i = 0; i < n; ++i) y[i] -= factor * x[i];
}

}  // namespace

int factor_lower(double* a, Index N, Index ld) {
  for (Index i = 0; i < N; ++i) {
    double* row = a + i * ld;
    for (Index j = 0; j < i; ++j) row[j] = (row[j] - dot(row, a + j * ld, j)) / a[j * ld + j];
    const double square = row[i] - dot(row, row, i);
    if (!(square > 0)) return static_cast<int>(i + 1);
    row[i] = std::sqrt(square);
  }
  return 0;
}

void divide_by_transpose(double* x, Index ldx, Index M, const double* l, Index ld, Index N) {
  for (Index m = 0; m < M; ++m) {
    double* row = x + m * ldx;
    for (Index j = 0; j < N; ++j) row[j] = (row[j] - dot(row, l + j * ld, j)) / l[j * ld + j];
  }
}

void divide_by(double* x, Index ldx, Index M, const double* l, Index ld, Index N) {
  for (Index m = 0; m < M; ++m) {
    double* row = x + m * ldx;
    for (Index k = N - 1; k >= 0; --k) {
      row[k] /= l[k * ld + k];
      subtract_scaled(row, l + k * ld, row[k], k);
    }
  }
}

void subtract_product(double* out, Index ld_out, const double* a, const double* b, Index ld,
                      Index M, Index N, Index K, bool lower) {
  std::vector<double> negative(static_cast<std::size_t>(M * K));
  for (Index r = 0; r < M; ++r)
    for (Index k = 0; k < K; ++k) negative[static_cast<std::size_t>(r * K + k)] = -a[r * ld + k];
  MatmulOf<double> m;
  m.out = out, m.a = negative.data(), m.b = b;
  m.M = M, m.N = N, m.K = K;
  m.ld_out = ld_out, m.lda = K, m.ldb = ld;
  m.trans_b = m.accumulate = true;
  if (!lower) return matmul(m);
  std::vector<double> square(static_cast<std::size_t>(M * M));
  m.out = square.data(), m.ld_out = M;
  m.accumulate = false;
  matmul(m);
  for (Index r = 0; r < M; ++r)
    for (Index c = 0; c <= r; ++c)
      out[r * ld_out + c] += square[static_cast<std::size_t>(r * M + c)];
}

}  // namespace notch::kernels
