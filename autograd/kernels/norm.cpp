#include "autograd/kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

/// Row tiles of the parameter gradients: at most 16 partial sums, at least 32 rows each.
Index tile_rows(Index rows) { return std::max<Index>(32, (rows + 15) / 16); }

NOTCH_INLINE void normalize_row(real* out, const real* x, const real* gamma, const real* beta,
                                real mean, real rstd, Index C) {
  if (beta) {
    for (Index c = 0; c < C; ++c) out[c] = (x[c] - mean) * rstd * gamma[c] + beta[c];
  } else {
    for (Index c = 0; c < C; ++c) out[c] = (x[c] - mean) * rstd * gamma[c];
  }
}

NOTCH_VECTOR(void, forward_row, real* out, real* mean, real* rstd, const real* x, const real* gamma,
             const real* beta, Index C, double eps) {
  const double n = static_cast<double>(C);
  const real mu = static_cast<real>(lane_sum(C, [=](Index i) { return x[i]; }) / n);
  const double squares = lane_sum(C, [=](Index i) { return (x[i] - mu) * (x[i] - mu); });
  const real scale = static_cast<real>(1 / std::sqrt(squares / n + eps));
  *mean = mu;
  *rstd = scale;
  normalize_row(out, x, gamma, beta, mu, scale, C);
}

NOTCH_VECTOR(void, normalize_rows, real* out, const real* x, const real* gamma, const real* beta,
             const real* mean, const real* rstd, Index rows, Index C) {
  for (Index r = 0; r < rows; ++r)
    normalize_row(out + r * C, x + r * C, gamma, beta, mean[r], rstd[r], C);
}

/// Adds one row to dgamma and dbeta (either may be null) and, unless dx is null, to dx.
NOTCH_VECTOR(void, backward_row, real* dx, real* dgamma, real* dbeta, const real* dout,
             const real* x, const real* gamma, real mean, real rstd, Index C) {
  // out = n · gamma + beta, n = (x - mean) · rstd
  if (dgamma)
    for (Index c = 0; c < C; ++c) dgamma[c] += dout[c] * ((x[c] - mean) * rstd);
  if (dbeta)
    for (Index c = 0; c < C; ++c) dbeta[c] += dout[c];
  if (!dx) return;
  // dn = dout · gamma: dx = rstd · (dn - mean(dn) - n · mean(dn · n))
  const double count = static_cast<double>(C);
  const double sum = lane_sum(C, [=](Index i) { return dout[i] * gamma[i]; });
  const double product =
      lane_sum(C, [=](Index i) { return dout[i] * gamma[i] * ((x[i] - mean) * rstd); });
  const real a = static_cast<real>(sum / count), b = static_cast<real>(product / count);
  for (Index c = 0; c < C; ++c) dx[c] += rstd * (dout[c] * gamma[c] - a - (x[c] - mean) * rstd * b);
}

NOTCH_INLINE void scale_row(real* out, const real* x, const real* gamma, real rstd, Index C) {
  for (Index c = 0; c < C; ++c) out[c] = x[c] * rstd * gamma[c];
}

NOTCH_VECTOR(void, rms_row, real* out, real* rstd, const real* x, const real* gamma, Index C,
             double eps) {
  const double squares = lane_sum(C, [=](Index i) { return x[i] * x[i]; });
  *rstd = static_cast<real>(1 / std::sqrt(squares / static_cast<double>(C) + eps));
  scale_row(out, x, gamma, *rstd, C);
}

NOTCH_VECTOR(void, scale_rows, real* out, const real* x, const real* gamma, const real* rstd,
             Index rows, Index C) {
  for (Index r = 0; r < rows; ++r) scale_row(out + r * C, x + r * C, gamma, rstd[r], C);
}

/// Adds one row to dgamma and dx; either may be null.
NOTCH_VECTOR(void, rms_backward_row, real* dx, real* dgamma, const real* dout, const real* x,
             const real* gamma, real rstd, Index C) {
  // out = n · gamma, n = x · rstd
  if (dgamma)
    for (Index c = 0; c < C; ++c) dgamma[c] += dout[c] * (x[c] * rstd);
  if (!dx) return;
  // dn = dout · gamma: dx = rstd · (dn - n · mean(dn · n))
  const double product = lane_sum(C, [=](Index i) { return dout[i] * gamma[i] * (x[i] * rstd); });
  const real b = static_cast<real>(product / static_cast<double>(C));
  for (Index c = 0; c < C; ++c) dx[c] += rstd * (dout[c] * gamma[c] - x[c] * rstd * b);
}

void require_eps(std::string_view where, double eps) {
  check(eps >= 0 && std::isfinite(eps), where, "eps = ", eps, " is not a finite number of at least 0");
}

}  // namespace

void layernorm_forward(std::span<real> out, std::span<real> mean, std::span<real> rstd,
                       std::span<const real> x, std::span<const real> gamma,
                       std::span<const real> beta, std::int64_t rows, std::int64_t C, double eps) {
  const Index n = extent("layernorm", {rows, C});
  require_eps("layernorm", eps);
  require_extent("layernorm", n, out, x);
  require_extent("layernorm", rows, mean, rstd);
  require_extent("layernorm", C, gamma);
  require_extent("layernorm", beta.empty() ? 0 : C, beta);
  for_rows(rows, 2 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      forward_row(out.data() + r * C, mean.data() + r, rstd.data() + r, x.data() + r * C,
                  gamma.data(), beta.empty() ? nullptr : beta.data(), C, eps);
  });
}

void layernorm_again(std::span<real> out, std::span<const real> x, std::span<const real> gamma,
                     std::span<const real> beta, std::span<const real> mean,
                     std::span<const real> rstd, std::int64_t rows, std::int64_t C) {
  require_extent("layernorm", extent("layernorm", {rows, C}), out, x);
  require_extent("layernorm", rows, mean, rstd);
  require_extent("layernorm", C, gamma);
  require_extent("layernorm", beta.empty() ? 0 : C, beta);
  for_rows(rows, 2 * C, [&](Index first, Index last) {
    normalize_rows(out.data() + first * C, x.data() + first * C, gamma.data(),
                   beta.empty() ? nullptr : beta.data(), mean.data() + first, rstd.data() + first,
                   last - first, C);
  });
}

std::int64_t layernorm_backward_workspace(std::int64_t rows, std::int64_t C) {
  extent("layernorm backward", {rows, 2, C});
  const Index step = tile_rows(rows);
  return quotient_up(rows, step) * 2 * C;
}

void layernorm_backward(std::span<real> dx, std::span<real> dgamma, std::span<real> dbeta,
                        std::span<const real> dout, std::span<const real> x,
                        std::span<const real> gamma, std::span<const real> mean,
                        std::span<const real> rstd, std::int64_t rows, std::int64_t C,
                        std::span<real> workspace) {
  const Index n = extent("layernorm backward", {rows, C});
  require_extent("layernorm backward", n, dout, x);
  require_extent("layernorm backward", dx.empty() ? 0 : n, dx);
  require_extent("layernorm backward", rows, mean, rstd);
  require_extent("layernorm backward", C, gamma);
  require_extent("layernorm backward", layernorm_backward_workspace(rows, C), workspace);
  check((dgamma.empty() || std::ssize(dgamma) == C) && (dbeta.empty() || std::ssize(dbeta) == C),
        "layernorm backward", "dgamma and dbeta hold ", dgamma.size(), " and ", dbeta.size(),
        " values for ", C, " columns");
  const Index step = tile_rows(rows), tiles = quotient_up(rows, step);
  parallel_for(tiles, [&](Index tile) {
    real* partial = workspace.data() + tile * 2 * C;
    std::fill_n(partial, 2 * C, real{0});
    for (Index r = tile * step; r < std::min(rows, (tile + 1) * step); ++r)
      backward_row(dx.empty() ? nullptr : dx.data() + r * C, dgamma.empty() ? nullptr : partial,
                   dbeta.empty() ? nullptr : partial + C, dout.data() + r * C, x.data() + r * C,
                   gamma.data(), mean.data()[r], rstd.data()[r], C);
  });
  for (Index tile = 0; tile < tiles; ++tile) {
    const real* partial = workspace.data() + tile * 2 * C;
    for (Index c = 0; c < std::ssize(dgamma); ++c) dgamma.data()[c] += partial[c];
    for (Index c = 0; c < std::ssize(dbeta); ++c) dbeta.data()[c] += partial[C + c];
  }
}

void rmsnorm_forward(std::span<real> out, std::span<real> rstd, std::span<const real> x,
                     std::span<const real> gamma, std::int64_t rows, std::int64_t C, double eps) {
  require_eps("rmsnorm", eps);
  require_extent("rmsnorm", extent("rmsnorm", {rows, C}), out, x);
  require_extent("rmsnorm", rows, rstd);
  require_extent("rmsnorm", C, gamma);
  for_rows(rows, 2 * C, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r)
      rms_row(out.data() + r * C, rstd.data() + r, x.data() + r * C, gamma.data(), C, eps);
  });
}

void rmsnorm_again(std::span<real> out, std::span<const real> x, std::span<const real> gamma,
                   std::span<const real> rstd, std::int64_t rows, std::int64_t C) {
  require_extent("rmsnorm", extent("rmsnorm", {rows, C}), out, x);
  require_extent("rmsnorm", rows, rstd);
  require_extent("rmsnorm", C, gamma);
  for_rows(rows, 2 * C, [&](Index first, Index last) {
    scale_rows(out.data() + first * C, x.data() + first * C, gamma.data(), rstd.data() + first,
               last - first, C);
  });
}

void rmsnorm_backward(std::span<real> dx, std::span<real> dgamma, std::span<const real> dout,
                      std::span<const real> x, std::span<const real> gamma,
                      std::span<const real> rstd, std::int64_t rows, std::int64_t C,
                      std::span<real> workspace) {
  const Index n = extent("rmsnorm backward", {rows, C});
  require_extent("rmsnorm backward", n, dout, x);
  require_extent("rmsnorm backward", dx.empty() ? 0 : n, dx);
  require_extent("rmsnorm backward", rows, rstd);
  require_extent("rmsnorm backward", C, gamma);
  require_extent("rmsnorm backward", layernorm_backward_workspace(rows, C), workspace);
  check(dgamma.empty() || std::ssize(dgamma) == C, "rmsnorm backward", "dgamma holds ",
        dgamma.size(), " values for ", C, " columns");
  const Index step = tile_rows(rows), tiles = quotient_up(rows, step);
  parallel_for(tiles, [&](Index tile) {
    real* partial = workspace.data() + tile * C;
    std::fill_n(partial, C, real{0});
    for (Index r = tile * step; r < std::min(rows, (tile + 1) * step); ++r)
      rms_backward_row(dx.empty() ? nullptr : dx.data() + r * C, dgamma.empty() ? nullptr : partial,
                       dout.data() + r * C, x.data() + r * C, gamma.data(), rstd.data()[r], C);
  });
  for (Index tile = 0; tile < tiles; ++tile)
    for (Index c = 0; c < std::ssize(dgamma); ++c)
      dgamma.data()[c] += workspace.data()[tile * C + c];
}

}  // namespace notch::kernels
