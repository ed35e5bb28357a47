#include "autograd/kernels/softmax.h"

#include <cmath>
#include <limits>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

namespace {
real row_max(const real* x, Index C) {
  real m = -std::numeric_limits<real>::infinity();
  for (Index c = 0; c < C; ++c) m = x[c] > m ? x[c] : m;
  return m;
}
}  // namespace

void softmax_forward(std::span<real> out, std::span<const real> x, std::int64_t rows,
                     std::int64_t C) {
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* xr = x.data() + r * C;
      real* o = out.data() + r * C;
      const real m = row_max(xr, C);
      double sum = 0;
      for (Index c = 0; c < C; ++c) sum += o[c] = std::exp(xr[c] - m);
      const real scale = static_cast<real>(1 / sum);
      for (Index c = 0; c < C; ++c) o[c] *= scale;
    }
  });
}

void softmax_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out,
                      std::int64_t rows, std::int64_t C) {
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* d = dout.data() + r * C;
      const real* o = out.data() + r * C;
      double sum = 0;
      for (Index c = 0; c < C; ++c) sum += static_cast<double>(d[c]) * o[c];
      for (Index c = 0; c < C; ++c)
        dx[static_cast<std::size_t>(r * C + c)] += o[c] * (d[c] - static_cast<real>(sum));
    }
  });
}

void log_sum_exp(std::span<real> out, std::span<const real> x, std::int64_t rows, std::int64_t C) {
  for_rows(rows, 4 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* xr = x.data() + r * C;
      const real m = row_max(xr, C);
      double sum = 0;
      for (Index c = 0; c < C; ++c) sum += std::exp(xr[c] - m);
      out[static_cast<std::size_t>(r)] = static_cast<real>(static_cast<double>(m) + std::log(sum));
    }
  });
}

}  // namespace notch::kernels
