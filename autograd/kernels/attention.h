// Causal self-attention on packed projections, forward and backward. (Decoding: cached_heads.h.)
//
// Work is done in blocks of query rows against the keys up to the block's end, so the masked half
// of the score matrix costs nothing and no [B, NH, T, T] tensor exists. The forward saves one
// number per row, the log-sum-exp of its scores; the backward recomputes probabilities from it (Dao
// et al. 2022, arXiv:2205.14135, algorithms 1 and 4; the recomputation, not the online softmax).
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// NH heads of HS channels, C = NH · HS. Dropout with p > 0 drops probability (b, h, t, t2) when
/// counter_uniform(dropout_key, ((b·NH + h)·T + t)·T + t2) < p and scales the others by 1/(1-p).
struct AttentionShape {
  std::int64_t B = 0;
  std::int64_t T = 0;
  std::int64_t NH = 0;
  std::int64_t HS = 0;
  double dropout = 0;
  std::uint64_t dropout_key = 0;
};

/// out [B, T, C], lse [B, NH, T] from qkv [B, T, 3C], where a row holds q, k and v of C channels
/// each and a head is a run of HS channels.
///   s[t, t2] = q[t]·k[t2] / √HS  for t2 ≤ t
///   lse[t]   = log Σ exp s[t, :]
///   out[t]   = Σ exp(s[t, t2] - lse[t]) v[t2]
/// workspace: attention_workspace(shape) elements, contents irrelevant. Parallel over (b, h).
void attention_forward(std::span<real> out, std::span<real> lse, std::span<const real> qkv,
                       const AttentionShape& shape, std::span<real> workspace);

/// dqkv [B, T, 3C] += (= if it is fresh) from dout [B, T, C] and the forward's qkv, out and lse.
/// Same workspace size and key.
void attention_backward(std::span<real> dqkv, std::span<const real> dout, std::span<const real> qkv,
                        std::span<const real> out, std::span<const real> lse,
                        const AttentionShape& shape, std::span<real> workspace, bool fresh = false);

std::int64_t attention_workspace(const AttentionShape& shape);

}  // namespace notch::kernels
