#include "autograd/kernels/softmax.h"

#include "autograd/base/elementary.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(void, softmax_row, real* out, const real* x, Index C) {
  const real m = lane_max(x, C);
  const double sum = lane_sum(C, [=](Index i) { return out[i] = vmath::exp(x[i] - m); });
  const real scale = static_cast<real>(1 / sum);
  for (Index c = 0; c < C; ++c) out[c] *= scale;
}

NOTCH_VECTOR(void, softmax_backward_row, real* dx, const real* dout, const real* out, Index C) {
  // out = exp(x) / Σ exp(x): dx = out · (dout - Σ dout·out)
  const real sum = static_cast<real>(lane_sum(C, [=](Index i) { return dout[i] * out[i]; }));
  for (Index c = 0; c < C; ++c) dx[c] += out[c] * (dout[c] - sum);
}

NOTCH_VECTOR(double, log_sum_exp_row, const real* x, Index C) {
  const real m = lane_max(x, C);
  const double sum = lane_sum(C, [=](Index i) { return vmath::exp(x[i] - m); });
  return static_cast<double>(m) + elementary::log(sum);
}

}  // namespace

void softmax_forward(std::span<real> out, std::span<const real> x, std::int64_t rows,
                     std::int64_t C) {
  require_extent("softmax", extent("softmax", {rows, C}), out, x);
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) softmax_row(out.data() + r * C, x.data() + r * C, C);
  });
}

void softmax_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out,
                      std::int64_t rows, std::int64_t C) {
  require_extent("softmax backward", extent("softmax backward", {rows, C}), dx, dout, out);
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      softmax_backward_row(dx.data() + r * C, dout.data() + r * C, out.data() + r * C, C);
  });
}

void log_sum_exp(std::span<real> out, std::span<const real> x, std::int64_t rows, std::int64_t C) {
  require_extent("log_sum_exp", extent("log_sum_exp", {rows, C}), x);
  require_extent("log_sum_exp", rows, out);
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      out.data()[r] = static_cast<real>(log_sum_exp_row(x.data() + r * C, C));
  });
}

}  // namespace notch::kernels
