#include "autograd/kernels/elementwise.h"

#include <algorithm>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(void, add_loop, real* out, const real* a, const real* b, Index n) {
  for (Index i = 0; i < n; ++i) out[i] = a[i] + b[i];
}
NOTCH_VECTOR(void, scale_loop, real* out, const real* x, real alpha, Index n) {
  for (Index i = 0; i < n; ++i) out[i] = alpha * x[i];
}
NOTCH_VECTOR(void, accumulate_loop, real* y, const real* x, real alpha, Index n) {
  for (Index i = 0; i < n; ++i) y[i] += alpha * x[i];
}
NOTCH_VECTOR(double, sum_loop, const real* x, Index n) {
  return lane_sum(n, [=](Index i) { return x[i]; });
}
NOTCH_VECTOR(double, dot_loop, const real* a, const real* b, Index n) {
  return lane_sum(n, [=](Index i) { return a[i] * b[i]; });
}

constexpr Index kBiasCols = 64;
constexpr Index kBiasRows = 64;

/// Column sums of dout's columns [0, cols), cols ≤ kBiasCols, in blocks of kBiasRows rows.
NOTCH_VECTOR(void, bias_columns, real* dbias, const real* dout, Index rows, Index cols, Index ld) {
  double total[kBiasCols] = {};
  for (Index first = 0; first < rows; first += kBiasRows) {
    const Index last = std::min(rows, first + kBiasRows);
    real block[kBiasCols] = {};
    if (cols == kBiasCols) {  // the trip count as a constant keeps `block` in registers
      for (Index r = first; r < last; ++r)
        for (Index c = 0; c < kBiasCols; ++c) block[c] += dout[r * ld + c];
    } else {
      for (Index r = first; r < last; ++r)
        for (Index c = 0; c < cols; ++c) block[c] += dout[r * ld + c];
    }
    for (Index c = 0; c < cols; ++c) total[c] += static_cast<double>(block[c]);
  }
  for (Index c = 0; c < cols; ++c) dbias[c] += static_cast<real>(total[c]);
}

}  // namespace

void fill(std::span<real> out, double value) {
  require_extent("fill", std::ssize(out), out);
  for_chunks(std::ssize(out), [&](Index first, Index last) {
    std::fill(out.data() + first, out.data() + last, static_cast<real>(value));
  });
}
void add(std::span<real> out, std::span<const real> a, std::span<const real> b) {
  require_extent("add", std::ssize(out), out, a, b);
  for_chunks(std::ssize(out), [&](Index first, Index last) {
    add_loop(out.data() + first, a.data() + first, b.data() + first, last - first);
  });
}
void scale(std::span<real> out, std::span<const real> x, double alpha) {
  require_extent("scale", std::ssize(out), out, x);
  for_chunks(std::ssize(out), [&](Index first, Index last) {
    scale_loop(out.data() + first, x.data() + first, static_cast<real>(alpha), last - first);
  });
}
void accumulate(std::span<real> y, std::span<const real> x, double alpha) {
  require_extent("accumulate", std::ssize(y), y, x);
  for_chunks(std::ssize(y), [&](Index first, Index last) {
    accumulate_loop(y.data() + first, x.data() + first, static_cast<real>(alpha), last - first);
  });
}

void bias_forward(std::span<real> out, std::span<const real> x, std::span<const real> bias,
                  std::int64_t rows, std::int64_t C) {
  require_extent("bias", extent("bias", {rows, C}), out, x);
  require_extent("bias", C, bias);
  for_rows(rows, C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      add_loop(out.data() + r * C, x.data() + r * C, bias.data(), C);
  });
}

void bias_backward(std::span<real> dbias, std::span<const real> dout, std::int64_t rows,
                   std::int64_t C) {
  require_extent("bias backward", extent("bias backward", {rows, C}), dout);
  require_extent("bias backward", C, dbias);
  // out[r] = x[r] + bias
  parallel_for(quotient_up(C, kBiasCols), [&](Index tile) {
    const Index first = tile * kBiasCols;
    bias_columns(dbias.data() + first, dout.data() + first, rows, std::min(kBiasCols, C - first),
                 C);
  });
}

double sum(std::span<const real> x) {
  require_extent("sum", std::ssize(x), x);
  return sum_chunks(std::ssize(x), [&](Index first, Index last) {
    return sum_loop(x.data() + first, last - first);
  });
}
double sum_of_squares(std::span<const real> x) { return dot(x, x); }
double dot(std::span<const real> a, std::span<const real> b) {
  require_extent("dot", std::ssize(a), a, b);
  return sum_chunks(std::ssize(a), [&](Index first, Index last) {
    return dot_loop(a.data() + first, b.data() + first, last - first);
  });
}

double tree_sum(std::span<const double> x) {
  if (x.empty()) return 0;
  if (x.size() == 1) return x[0];
  return tree_sum(x.first(x.size() / 2)) + tree_sum(x.subspan(x.size() / 2));
}

}  // namespace notch::kernels
