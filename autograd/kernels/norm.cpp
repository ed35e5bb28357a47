#include "autograd/kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

namespace {
/// Row tiles of the parameter gradients: at most 16 partial sums, at least 32 rows each.
Index tile_rows(Index rows) { return std::max<Index>(32, (rows + 15) / 16); }
}  // namespace

void layernorm_forward(std::span<real> out, std::span<real> mean, std::span<real> rstd,
                       std::span<const real> x, std::span<const real> gamma,
                       std::span<const real> beta, std::int64_t rows, std::int64_t C, double eps) {
  for_rows(rows, 2 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* xr = x.data() + r * C;
      real* o = out.data() + r * C;
      double sum = 0;
      for (Index c = 0; c < C; ++c) sum += xr[c];
      const double mu = sum / static_cast<double>(C);
      double squares = 0;
      for (Index c = 0; c < C; ++c) squares += (xr[c] - mu) * (xr[c] - mu);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(C) + eps);
      mean[static_cast<std::size_t>(r)] = static_cast<real>(mu);
      rstd[static_cast<std::size_t>(r)] = static_cast<real>(scale);
      for (Index c = 0; c < C; ++c) {
        const auto i = static_cast<std::size_t>(c);
        o[c] =
            static_cast<real>((xr[c] - mu) * scale) * gamma[i] + (beta.empty() ? real{0} : beta[i]);
      }
    }
  });
}

std::int64_t layernorm_backward_workspace(std::int64_t rows, std::int64_t C) {
  const Index step = tile_rows(rows);
  return (rows + step - 1) / step * 2 * C;
}

void layernorm_backward(std::span<real> dx, std::span<real> dgamma, std::span<real> dbeta,
                        std::span<const real> dout, std::span<const real> x,
                        std::span<const real> gamma, std::span<const real> mean,
                        std::span<const real> rstd, std::int64_t rows, std::int64_t C,
                        std::span<real> workspace) {
  const Index step = tile_rows(rows), tiles = (rows + step - 1) / step;
  parallel_for(tiles, [&](Index tile) {
    real* pg = workspace.data() + tile * 2 * C;
    real* pb = pg + C;
    std::fill_n(pg, 2 * C, real{0});
    for (Index r = tile * step; r < std::min(rows, (tile + 1) * step); ++r) {
      const real* xr = x.data() + r * C;
      const real* d = dout.data() + r * C;
      const real mu = mean[static_cast<std::size_t>(r)], scale = rstd[static_cast<std::size_t>(r)];
      double sum_d = 0, sum_dn = 0;
      for (Index c = 0; c < C; ++c) {
        const real n = (xr[c] - mu) * scale, dn = d[c] * gamma[static_cast<std::size_t>(c)];
        pg[c] += d[c] * n;
        pb[c] += d[c];
        sum_d += dn;
        sum_dn += dn * n;
      }
      if (dx.empty()) continue;
      // n = (x - mean) · rstd: dx = rstd · (dn - mean(dn) - n · mean(dn · n))
      const real a = static_cast<real>(sum_d / static_cast<double>(C));
      const real b = static_cast<real>(sum_dn / static_cast<double>(C));
      for (Index c = 0; c < C; ++c) {
        const real n = (xr[c] - mu) * scale, dn = d[c] * gamma[static_cast<std::size_t>(c)];
        dx[static_cast<std::size_t>(r * C + c)] += scale * (dn - a - n * b);
      }
    }
  });
  for (Index tile = 0; tile < tiles; ++tile) {
    const real* p = workspace.data() + tile * 2 * C;
    for (Index c = 0; c < C && !dgamma.empty(); ++c) dgamma[static_cast<std::size_t>(c)] += p[c];
    for (Index c = 0; c < C && !dbeta.empty(); ++c) dbeta[static_cast<std::size_t>(c)] += p[C + c];
  }
}

}  // namespace notch::kernels
