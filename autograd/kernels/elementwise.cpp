#include "autograd/kernels/elementwise.h"

#include <algorithm>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

void fill(std::span<real> out, double value) {
  for_chunks(std::ssize(out), [&](Index b, Index e) {
    std::fill(out.begin() + b, out.begin() + e, static_cast<real>(value));
  });
}
void add(std::span<real> out, std::span<const real> a, std::span<const real> b) {
  for_chunks(std::ssize(out),
             [o = out.data(), p = a.data(), q = b.data()](Index first, Index last) {
               for (Index i = first; i < last; ++i) o[i] = p[i] + q[i];
             });
}
void scale(std::span<real> out, std::span<const real> x, double alpha) {
  for_chunks(std::ssize(out),
             [o = out.data(), p = x.data(), k = static_cast<real>(alpha)](Index first, Index last) {
               for (Index i = first; i < last; ++i) o[i] = k * p[i];
             });
}
void accumulate(std::span<real> y, std::span<const real> x, double alpha) {
  for_chunks(std::ssize(y),
             [o = y.data(), p = x.data(), k = static_cast<real>(alpha)](Index first, Index last) {
               for (Index i = first; i < last; ++i) o[i] += k * p[i];
             });
}
void accumulate_product(std::span<real> y, std::span<const real> a, std::span<const real> b) {
  for_chunks(std::ssize(y), [o = y.data(), p = a.data(), q = b.data()](Index first, Index last) {
    for (Index i = first; i < last; ++i) o[i] += p[i] * q[i];
  });
}
void bias_forward(std::span<real> out, std::span<const real> x, std::span<const real> bias,
                  std::int64_t rows, std::int64_t C) {
  for_rows(rows, C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      for (Index c = 0; c < C; ++c) out.data()[r * C + c] = x.data()[r * C + c] + bias.data()[c];
  });
}

void bias_backward(std::span<real> dbias, std::span<const real> dout, std::int64_t rows,
                   std::int64_t C) {
  constexpr Index kCols = 64, kRows = 64;
  parallel_for((C + kCols - 1) / kCols, [&](Index tile) {
    const Index first = tile * kCols, cols = std::min(kCols, C - first);
    double total[kCols] = {};
    for (Index r0 = 0; r0 < rows; r0 += kRows) {
      real block[kCols] = {};
      for (Index r = r0; r < std::min(rows, r0 + kRows); ++r)
        for (Index c = 0; c < cols; ++c) block[c] += dout.data()[r * C + first + c];
      for (Index c = 0; c < cols; ++c) total[c] += block[c];
    }
    for (Index c = 0; c < cols; ++c) dbias.data()[first + c] += static_cast<real>(total[c]);
  });
}

double sum(std::span<const real> x) {
  return sum_chunks(std::ssize(x), [p = x.data()](Index first, Index last) {
    double s = 0;
    for (Index i = first; i < last; ++i) s += p[i];
    return s;
  });
}
double sum_of_squares(std::span<const real> x) { return dot(x, x); }
double dot(std::span<const real> a, std::span<const real> b) {
  return sum_chunks(std::ssize(a), [p = a.data(), q = b.data()](Index first, Index last) {
    double s = 0;
    for (Index i = first; i < last; ++i) s += static_cast<double>(p[i]) * static_cast<double>(q[i]);
    return s;
  });
}
double tree_sum(std::span<const double> x) {
  if (x.size() <= 8) {
    double s = 0;
    for (double v : x) s += v;
    return s;
  }
  return tree_sum(x.first(x.size() / 2)) + tree_sum(x.subspan(x.size() / 2));
}

}  // namespace notch::kernels
