// Causal self-attention, forward and backward. (Decoding: cached_heads.h.)
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

/// NH heads of HS channels, C = NH · HS. With KV < NH heads of keys and values, each is shared by
/// NH / KV neighbouring query heads: grouped queries (Ainslie et al. 2023, arXiv:2305.13245).
/// Dropout with p > 0 drops probability (b, h, t, t2) when
/// counter_uniform(dropout_key, ((b·NH + h)·T + t)·T + t2) < p and scales the others by 1/(1-p).
struct AttentionShape {
  std::int64_t B = 0;
  std::int64_t T = 0;
  std::int64_t NH = 0;
  std::int64_t HS = 0;
  double dropout = 0;
  std::uint64_t dropout_key = 0;
  std::int64_t KV = 0;  ///< a divisor of NH; 0: NH

  std::int64_t kv_heads() const { return KV > 0 ? KV : NH; }
  std::int64_t group() const { return NH / kv_heads(); }  ///< query heads per head of keys
};

/// Queries [B, T, NH·HS] and keys and values [B, T, KV·HS], a head being a run of HS channels, with
/// the distance from a row to the next: projections packed as rows of q, k and v have one for all.
template <class Element>
struct QkvRows {
  std::span<Element> q{}, k{}, v{};
  std::int64_t q_row = 0, kv_row = 0;
};
using Qkv = QkvRows<const real>;
using QkvGradient = QkvRows<real>;  ///< an empty span is not wanted

/// The three in qkv [B, T, 3C].
template <class Element>
QkvRows<Element> packed_qkv(std::span<Element> qkv, std::int64_t C) {
  const auto channels = static_cast<std::size_t>(C);
  return {qkv, qkv.subspan(channels), qkv.subspan(2 * channels), 3 * C, 3 * C};
}

/// out [B, T, C], lse [B, NH, T]:
///   s[t, t2] = q[t]·k[t2] / √HS  for t2 ≤ t
///   lse[t]   = log Σ exp s[t, :]
///   out[t]   = Σ exp(s[t, t2] - lse[t]) v[t2]
/// workspace: attention_workspace(shape) elements, contents irrelevant. Parallel over (b, heads of
/// keys).
void attention_forward(std::span<real> out, std::span<real> lse, const Qkv& x,
                       const AttentionShape& shape, std::span<real> workspace);

/// dx += (= if it is fresh) from dout [B, T, C] and the forward's x, out and lse. Same workspace
/// size and key.
void attention_backward(const QkvGradient& dx, std::span<const real> dout, const Qkv& x,
                        std::span<const real> out, std::span<const real> lse,
                        const AttentionShape& shape, std::span<real> workspace, bool fresh = false);

std::int64_t attention_workspace(const AttentionShape& shape);

}  // namespace notch::kernels
