#include "autograd/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kBlock = 64;  // query rows per block
constexpr Index kTiles = 16;  // workspaces; (b, h) pairs are dealt to them in contiguous runs

Index tiles(const AttentionShape& s) { return std::min(kTiles, s.B * s.NH); }
Index tile_elements(const AttentionShape& s) { return 2 * std::min(kBlock, s.T) * s.T + kBlock; }

/// Calls body(b, h, workspace) for every head of every sequence.
template <class Body>
void for_heads(const AttentionShape& s, std::span<real> workspace, const Body& body) {
  check(std::ssize(workspace) >= attention_workspace(s), "attention", "workspace holds ",
        workspace.size(), " elements, needs ", attention_workspace(s));
  const Index pairs = s.B * s.NH, n = tiles(s);
  parallel_for(n, [&](Index tile) {
    real* scratch = workspace.data() + tile * tile_elements(s);
    for (Index i = pairs * tile / n; i < pairs * (tile + 1) / n; ++i)
      body(i / s.NH, i % s.NH, scratch);
  });
}

/// Multiplies probabilities p [rows, cols] of query rows first.. by the dropout mask.
void drop(real* p, Index ld, Index rows, Index cols, Index first, Index head,
          const AttentionShape& s) {
  if (s.dropout == 0) return;
  const float limit = static_cast<float>(s.dropout);
  const real keep = static_cast<real>(1 / (1 - s.dropout));
  for (Index i = 0; i < rows; ++i) {
    const auto base = static_cast<std::uint64_t>((head * s.T + first + i) * s.T);
    for (Index j = 0; j < cols; ++j)
      p[i * ld + j] *= counter_uniform(s.dropout_key, base + static_cast<std::uint64_t>(j)) < limit
                           ? real{0}
                           : keep;
  }
}

void multiply(real* out, const real* a, const real* b, Index M, Index N, Index K,
              const GemmOptions& o) {
  const auto extent = [](Index rows, Index cols, Index ld) {
    return static_cast<std::size_t>((rows - 1) * ld + cols);
  };
  gemm_serial(std::span<real>(out, extent(M, N, o.ld_out)),
              std::span<const real>(a, o.trans_a ? extent(K, M, o.lda) : extent(M, K, o.lda)),
              std::span<const real>(b, o.trans_b ? extent(N, K, o.ldb) : extent(K, N, o.ldb)), M, N,
              K, o);
}

}  // namespace

std::int64_t attention_workspace(const AttentionShape& s) { return tiles(s) * tile_elements(s); }

void attention_forward(std::span<real> out, std::span<real> lse, std::span<const real> qkv,
                       const AttentionShape& s, std::span<real> workspace) {
  const Index C = s.NH * s.HS, T = s.T;
  const double scale = 1 / std::sqrt(static_cast<double>(s.HS));
  for_heads(s, workspace, [&](Index b, Index h, real* scores) {
    const real* q = qkv.data() + b * T * 3 * C + h * s.HS;
    const real* k = q + C;
    const real* v = k + C;
    real* o = out.data() + b * T * C + h * s.HS;
    real* l = lse.data() + (b * s.NH + h) * T;
    for (Index t = 0; t < T; t += kBlock) {
      const Index rows = std::min(kBlock, T - t), keys = t + rows;
      multiply(scores, q + t * 3 * C, k, rows, keys, s.HS,
               {.trans_b = true, .ld_out = T, .lda = 3 * C, .ldb = 3 * C, .alpha = scale});
      for (Index i = 0; i < rows; ++i) {
        real* p = scores + i * T;
        const Index seen = t + i + 1;
        real m = p[0];
        for (Index j = 0; j < seen; ++j) m = p[j] > m ? p[j] : m;
        double sum = 0;
        for (Index j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - m);
        const real inverse = static_cast<real>(1 / sum);
        for (Index j = 0; j < seen; ++j) p[j] *= inverse;
        std::fill(p + seen, p + keys, real{0});
        l[t + i] = static_cast<real>(static_cast<double>(m) + std::log(sum));
      }
      drop(scores, T, rows, keys, t, b * s.NH + h, s);
      multiply(o + t * C, scores, v, rows, s.HS, keys, {.ld_out = C, .lda = T, .ldb = 3 * C});
    }
  });
}

void attention_backward(std::span<real> dqkv, std::span<const real> dout, std::span<const real> qkv,
                        std::span<const real> out, std::span<const real> lse,
                        const AttentionShape& s, std::span<real> workspace) {
  const Index C = s.NH * s.HS, T = s.T;
  const double scale = 1 / std::sqrt(static_cast<double>(s.HS));
  for_heads(s, workspace, [&](Index b, Index h, real* scores) {
    const Index at = b * T * 3 * C + h * s.HS;
    const real *q = qkv.data() + at, *k = q + C, *v = k + C;
    real *dq = dqkv.data() + at, *dk = dq + C, *dv = dk + C;
    const real* o = out.data() + b * T * C + h * s.HS;
    const real* d_o = dout.data() + b * T * C + h * s.HS;
    const real* l = lse.data() + (b * s.NH + h) * T;
    real* dscores = scores + std::min(kBlock, T) * T;
    for (Index t = 0; t < T; t += kBlock) {
      const Index rows = std::min(kBlock, T - t), keys = t + rows;
      // p = exp(scale · q kᵀ - lse), zero above the diagonal
      multiply(scores, q + t * 3 * C, k, rows, keys, s.HS,
               {.trans_b = true, .ld_out = T, .lda = 3 * C, .ldb = 3 * C, .alpha = scale});
      for (Index i = 0; i < rows; ++i) {
        real* p = scores + i * T;
        for (Index j = 0; j <= t + i; ++j) p[j] = std::exp(p[j] - l[t + i]);
        std::fill(p + t + i + 1, p + keys, real{0});
      }
      // out = drop(p) v: dv += drop(p)ᵀ dout, dp = drop(dout vᵀ)
      multiply(dscores, d_o + t * C, v, rows, keys, s.HS,
               {.trans_b = true, .ld_out = T, .lda = C, .ldb = 3 * C});
      drop(dscores, T, rows, keys, t, b * s.NH + h, s);
      // p = softmax(s): ds = p · (dp - Σ dp p), and Σ dp p = dout · out
      for (Index i = 0; i < rows; ++i) {
        double delta = 0;
        for (Index c = 0; c < s.HS; ++c)
          delta += static_cast<double>(d_o[(t + i) * C + c]) * o[(t + i) * C + c];
        for (Index j = 0; j < keys; ++j)
          dscores[i * T + j] = scores[i * T + j] * (dscores[i * T + j] - static_cast<real>(delta));
      }
      drop(scores, T, rows, keys, t, b * s.NH + h, s);
      multiply(dv, scores, d_o + t * C, keys, s.HS, rows,
               {.trans_a = true, .accumulate = true, .ld_out = 3 * C, .lda = T, .ldb = C});
      // s = scale · q kᵀ: dq += scale · ds k, dk += scale · dsᵀ q
      multiply(dq + t * 3 * C, dscores, k, rows, s.HS, keys,
               {.accumulate = true, .ld_out = 3 * C, .lda = T, .ldb = 3 * C, .alpha = scale});
      multiply(dk, dscores, q + t * 3 * C, keys, s.HS, rows,
               {.trans_a = true,
                .accumulate = true,
                .ld_out = 3 * C,
                .lda = T,
                .ldb = 3 * C,
                .alpha = scale});
    }
  });
}

std::int64_t attention_cached_workspace(const CachedAttentionShape& s) {
  return s.NH * (s.n_past + s.Tq);
}

void attention_cached(std::span<real> out, std::span<const real> q, std::span<const real> k,
                      std::span<const real> v, const CachedAttentionShape& s,
                      std::span<real> workspace) {
  check(std::ssize(workspace) >= attention_cached_workspace(s), "attention_cached",
        "workspace holds ", workspace.size(), " elements, needs ", attention_cached_workspace(s));
  const Index C = s.NH * s.HS, ld_q = s.ld_q == 0 ? C : s.ld_q;
  const real scale = static_cast<real>(1 / std::sqrt(static_cast<double>(s.HS)));
  parallel_for(s.NH, [&](Index h) {
    real* p = workspace.data() + h * (s.n_past + s.Tq);
    for (Index i = 0; i < s.Tq; ++i) {
      const Index seen = s.n_past + i + 1;
      const real* qi = q.data() + i * ld_q + h * s.HS;
      real* o = out.data() + i * C + h * s.HS;
      real m = -std::numeric_limits<real>::infinity();
      for (Index j = 0; j < seen; ++j) {
        const real* kj = k.data() + j * C + h * s.HS;
        real dot = 0;
        for (Index c = 0; c < s.HS; ++c) dot += qi[c] * kj[c];
        p[j] = scale * dot;
        m = p[j] > m ? p[j] : m;
      }
      double sum = 0;
      for (Index j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - m);
      std::fill_n(o, s.HS, real{0});
      for (Index j = 0; j < seen; ++j) {
        const real pj = static_cast<real>(p[j] / sum);
        const real* vj = v.data() + j * C + h * s.HS;
        for (Index c = 0; c < s.HS; ++c) o[c] += pj * vj[c];
      }
    }
  });
}

}  // namespace notch::kernels
