#include "autograd/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kBlock = 64;  // query rows per block
constexpr Index kTiles = 16;  // workspaces; (b, h) pairs are dealt to them in contiguous runs

Index tiles(const AttentionShape& s) { return std::min(kTiles, s.B * s.NH); }

/// Row distance of a block of scores. Rows are computed to a multiple of kLanes so that no loop has
/// a scalar end, and an odd number of cache lines apart so that they do not compete for the same
/// sets.
Index row_stride(Index T) { return (T + kLanes - 1) / kLanes * kLanes + 16; }
Index padded(Index keys) { return (keys + kLanes - 1) / kLanes * kLanes; }
Index tile_elements(const AttentionShape& s) {
  return 2 * std::min(kBlock, s.T) * row_stride(s.T) + 2 * kBlock;
}

/// A block of query rows t .. t + rows of one head against the keys 0 .. t + rows.
struct Block {
  Index t = 0;
  Index rows = 0;
  Index ld = 0;    // row distance of the scores
  Index head = 0;  // b · NH + h
  Index keys() const { return t + rows; }
};

/// Scores to e^(score - max), 0 after the row's own position; sums [rows] of them and lse [rows].
NOTCH_VECTOR void exponentials(real* scores, real* sums, real* lse, const Block& block) {
  const Index width = padded(block.keys());
  for (Index i = 0; i < block.rows; ++i) {
    real* p = scores + i * block.ld;
    std::fill(p + block.t + i + 1, p + width, -std::numeric_limits<real>::infinity());
    const real m = lane_max(p, width);
    const double sum = lane_sum(width, [=](Index j) { return p[j] = vmath::exp(p[j] - m); });
    sums[i] = static_cast<real>(sum);
    lse[i] = static_cast<real>(static_cast<double>(m) + std::log(sum));
  }
}

/// out rows divided by the sums: cheaper here than on the probabilities.
NOTCH_VECTOR void normalize(real* out, const real* sums, Index rows, Index HS, Index ld) {
  for (Index i = 0; i < rows; ++i) {
    const real factor = 1 / sums[i];
    for (Index c = 0; c < HS; ++c) out[i * ld + c] *= factor;
  }
}

/// Scores to probabilities and dp to dscores:
///   p = exp(s - lse);  ds = p · (dp - delta), delta = Σ dp p = dout · out
NOTCH_VECTOR void softmax_gradient(real* scores, real* dscores, const real* lse, const real* delta,
                                   const Block& block) {
  const Index width = padded(block.keys());
  for (Index i = 0; i < block.rows; ++i) {
    real* p = scores + i * block.ld;
    real* ds = dscores + i * block.ld;
    const real l = lse[i], d = delta[i];
    // What lies beyond the row's own position, and beyond the keys, gets p = 0 and ds = 0 whatever
    // it is.
    std::fill(p + block.t + i + 1, p + width, -std::numeric_limits<real>::infinity());
    std::fill(ds + block.t + i + 1, ds + width, real{0});
    for (Index j = 0; j < width; ++j) {
      const real pj = vmath::exp(p[j] - l);
      p[j] = pj;
      ds[j] = pj * (ds[j] - d);
    }
  }
}

/// delta [rows] = Σ_c dout · out of each row.
NOTCH_VECTOR void row_dots(real* delta, const real* dout, const real* out, Index rows, Index HS,
                           Index ld) {
  for (Index i = 0; i < rows; ++i) {
    const real *a = dout + i * ld, *b = out + i * ld;
    delta[i] = static_cast<real>(lane_sum(HS, [=](Index c) { return a[c] * b[c]; }));
  }
}

/// Multiplies a block's probabilities (or their gradients) by the dropout mask / (1 - p).
NOTCH_VECTOR void drop(real* p, const Block& block, const AttentionShape& s) {
  const float limit = static_cast<float>(s.dropout);
  const real keep = static_cast<real>(1 / (1 - s.dropout));
  const std::uint64_t key = s.dropout_key;
  for (Index i = 0; i < block.rows; ++i) {
    real* row = p + i * block.ld;
    const auto base = static_cast<std::uint64_t>((block.head * s.T + block.t + i) * s.T);
    for (Index j = 0; j < block.keys(); ++j)
      row[j] *= counter_uniform(key, base + static_cast<std::uint64_t>(j)) < limit ? real{0} : keep;
  }
}

/// Calls body(b, h, scratch) for every head of every sequence.
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
  const Index C = s.NH * s.HS, T = s.T, ld = row_stride(T);
  const double scale = 1 / std::sqrt(static_cast<double>(s.HS));
  for_heads(s, workspace, [&](Index b, Index h, real* scores) {
    const real* q = qkv.data() + b * T * 3 * C + h * s.HS;
    const real *k = q + C, *v = k + C;
    real* o = out.data() + b * T * C + h * s.HS;
    real* l = lse.data() + (b * s.NH + h) * T;
    real* sums = scores + 2 * std::min(kBlock, T) * ld;
    for (Index t = 0; t < T; t += kBlock) {
      const Block block{.t = t, .rows = std::min(kBlock, T - t), .ld = ld, .head = b * s.NH + h};
      multiply(scores, q + t * 3 * C, k, block.rows, block.keys(), s.HS,
               {.trans_b = true, .ld_out = ld, .lda = 3 * C, .ldb = 3 * C, .alpha = scale});
      exponentials(scores, sums, l + t, block);
      if (s.dropout > 0) drop(scores, block, s);
      multiply(o + t * C, scores, v, block.rows, s.HS, block.keys(),
               {.ld_out = C, .lda = ld, .ldb = 3 * C});
      normalize(o + t * C, sums, block.rows, s.HS, C);
    }
  });
}

void attention_backward(std::span<real> dqkv, std::span<const real> dout, std::span<const real> qkv,
                        std::span<const real> out, std::span<const real> lse,
                        const AttentionShape& s, std::span<real> workspace) {
  const Index C = s.NH * s.HS, T = s.T, ld = row_stride(T);
  const double scale = 1 / std::sqrt(static_cast<double>(s.HS));
  for_heads(s, workspace, [&](Index b, Index h, real* scores) {
    const Index at = b * T * 3 * C + h * s.HS;
    const real *q = qkv.data() + at, *k = q + C, *v = k + C;
    real *dq = dqkv.data() + at, *dk = dq + C, *dv = dk + C;
    const real* o = out.data() + b * T * C + h * s.HS;
    const real* d_o = dout.data() + b * T * C + h * s.HS;
    const real* l = lse.data() + (b * s.NH + h) * T;
    real* dscores = scores + std::min(kBlock, T) * ld;
    real* delta = dscores + std::min(kBlock, T) * ld;
    for (Index t = 0; t < T; t += kBlock) {
      const Block block{.t = t, .rows = std::min(kBlock, T - t), .ld = ld, .head = b * s.NH + h};
      const Index rows = block.rows, keys = block.keys();
      // s = scale · q kᵀ;  out = drop(p) v: dp = drop(dout vᵀ), dv += drop(p)ᵀ dout
      multiply(scores, q + t * 3 * C, k, rows, keys, s.HS,
               {.trans_b = true, .ld_out = ld, .lda = 3 * C, .ldb = 3 * C, .alpha = scale});
      multiply(dscores, d_o + t * C, v, rows, keys, s.HS,
               {.trans_b = true, .ld_out = ld, .lda = C, .ldb = 3 * C});
      if (s.dropout > 0) drop(dscores, block, s);
      row_dots(delta, d_o + t * C, o + t * C, rows, s.HS, C);
      softmax_gradient(scores, dscores, l + t, delta, block);
      if (s.dropout > 0) drop(scores, block, s);
      multiply(dv, scores, d_o + t * C, keys, s.HS, rows,
               {.trans_a = true, .accumulate = true, .ld_out = 3 * C, .lda = ld, .ldb = C});
      // s = scale · q kᵀ: dq += scale · ds k, dk += scale · dsᵀ q
      multiply(dq + t * 3 * C, dscores, k, rows, s.HS, keys,
               {.accumulate = true, .ld_out = 3 * C, .lda = ld, .ldb = 3 * C, .alpha = scale});
      multiply(dk, dscores, q + t * 3 * C, keys, s.HS, rows,
               {.trans_a = true,
                .accumulate = true,
                .ld_out = 3 * C,
                .lda = ld,
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
