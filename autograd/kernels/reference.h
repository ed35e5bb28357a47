// Naive double references: each kernel once more, as its formula reads, with one loop per index.
//
// Tests compare the kernels with these, and a reader who wants to know what a kernel computes reads
// them first. Inputs are `real`, everything else is double; results are returned, gradients
// included.
//
// autograd/kernels/ computes, forward and backward, on spans and sizes; it knows no tensor, no tape.
// May include: autograd/base.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/base/real.h"
#include "autograd/base/rng.h"

namespace notch::kernels::reference {

using Values = std::vector<double>;

inline double at(std::span<const real> x, Index i) {
  return static_cast<double>(x[static_cast<std::size_t>(i)]);
}
inline double& at(Values& x, Index i) { return x[static_cast<std::size_t>(i)]; }
inline double at(const Values& x, Index i) { return x[static_cast<std::size_t>(i)]; }
inline Values zeros(Index n) { return Values(static_cast<std::size_t>(n)); }

/// a [M, K] · b [K, N]; trans_a: a is [K, M]; trans_b: b is [N, K].
inline Values gemm(std::span<const real> a, std::span<const real> b, Index M, Index N, Index K,
                   bool trans_a = false, bool trans_b = false) {
  Values out = zeros(M * N);
  for (Index m = 0; m < M; ++m)
    for (Index n = 0; n < N; ++n)
      for (Index k = 0; k < K; ++k)
        at(out, m * N + n) +=
            at(a, trans_a ? k * M + m : m * K + k) * at(b, trans_b ? n * K + k : k * N + n);
  return out;
}

inline double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
inline double gelu_exact(double x) { return x * normal_cdf(x); }
inline double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

struct LayerNorm {
  Values out, mean, rstd;
};
inline LayerNorm layernorm(std::span<const real> x, std::span<const real> gamma,
                           std::span<const real> beta, Index rows, Index C, double eps) {
  LayerNorm result{zeros(rows * C), zeros(rows), zeros(rows)};
  for (Index r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    for (Index c = 0; c < C; ++c) mean += at(x, r * C + c) / static_cast<double>(C);
    for (Index c = 0; c < C; ++c)
      variance += std::pow(at(x, r * C + c) - mean, 2) / static_cast<double>(C);
    at(result.mean, r) = mean;
    at(result.rstd, r) = 1 / std::sqrt(variance + eps);
    for (Index c = 0; c < C; ++c)
      at(result.out, r * C + c) = (at(x, r * C + c) - mean) * at(result.rstd, r) * at(gamma, c) +
                                  (beta.empty() ? 0 : at(beta, c));
  }
  return result;
}

struct LayerNormGradients {
  Values dx, dgamma, dbeta;
};
inline LayerNormGradients layernorm_backward(std::span<const real> dout, std::span<const real> x,
                                             std::span<const real> gamma, Index rows, Index C,
                                             double eps) {
  const LayerNorm forward = layernorm(x, gamma, {}, rows, C, eps);
  LayerNormGradients result{zeros(rows * C), zeros(C), zeros(C)};
  for (Index r = 0; r < rows; ++r) {
    const double mean = at(forward.mean, r), rstd = at(forward.rstd, r);
    // The Jacobian itself: d n_i / d x_j = rstd · ([i = j] - 1/C - n_i n_j / C), n = (x - mean) ·
    // rstd.
    for (Index i = 0; i < C; ++i) {
      const double ni = (at(x, r * C + i) - mean) * rstd, d = at(dout, r * C + i);
      at(result.dgamma, i) += d * ni;
      at(result.dbeta, i) += d;
      for (Index j = 0; j < C; ++j) {
        const double nj = (at(x, r * C + j) - mean) * rstd;
        at(result.dx, r * C + j) +=
            d * at(gamma, i) * rstd * ((i == j ? 1 : 0) - (1 + ni * nj) / static_cast<double>(C));
      }
    }
  }
  return result;
}

struct RmsNorm {
  Values out, rstd;
};
inline RmsNorm rmsnorm(std::span<const real> x, std::span<const real> gamma, Index rows, Index C,
                       double eps) {
  RmsNorm result{zeros(rows * C), zeros(rows)};
  for (Index r = 0; r < rows; ++r) {
    double squares = 0;
    for (Index c = 0; c < C; ++c) squares += at(x, r * C + c) * at(x, r * C + c);
    at(result.rstd, r) = 1 / std::sqrt(squares / static_cast<double>(C) + eps);
    for (Index c = 0; c < C; ++c)
      at(result.out, r * C + c) = at(x, r * C + c) * at(result.rstd, r) * at(gamma, c);
  }
  return result;
}

struct RmsNormGradients {
  Values dx, dgamma;
};
inline RmsNormGradients rmsnorm_backward(std::span<const real> dout, std::span<const real> x,
                                         std::span<const real> gamma, Index rows, Index C,
                                         double eps) {
  const RmsNorm forward = rmsnorm(x, gamma, rows, C, eps);
  RmsNormGradients result{zeros(rows * C), zeros(C)};
  for (Index r = 0; r < rows; ++r) {
    // The Jacobian itself: d n_i / d x_j = rstd · ([i = j] - n_i n_j / C), n = x · rstd.
    const double rstd = at(forward.rstd, r);
    for (Index i = 0; i < C; ++i) {
      const double ni = at(x, r * C + i) * rstd, d = at(dout, r * C + i);
      at(result.dgamma, i) += d * ni;
      for (Index j = 0; j < C; ++j) {
        const double nj = at(x, r * C + j) * rstd;
        at(result.dx, r * C + j) +=
            d * at(gamma, i) * rstd * ((i == j ? 1 : 0) - ni * nj / static_cast<double>(C));
      }
    }
  }
  return result;
}

/// x [B, T, H · HS] with channels i and i + HS/2 of each head turned by t · theta^(-2i/HS).
inline Values rotary(std::span<const real> x, Index B, Index T, Index H, Index HS, double theta,
                     Index first = 0) {
  Values out = zeros(B * T * H * HS);
  for (Index row = 0; row < B * T * H; ++row)
    for (Index i = 0; i < HS / 2; ++i) {
      const double angle = static_cast<double>(first + row / H % T) *
                           std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(HS));
      const Index a = row * HS + i, b = a + HS / 2;
      at(out, a) = at(x, a) * std::cos(angle) - at(x, b) * std::sin(angle);
      at(out, b) = at(x, b) * std::cos(angle) + at(x, a) * std::sin(angle);
    }
  return out;
}

inline double swiglu(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

inline double log_sum_exp(std::span<const real> x, double tau = 1) {
  double top = at(x, 0), sum = 0;
  for (real v : x) top = std::max(top, static_cast<double>(v));
  for (real v : x) sum += std::exp((static_cast<double>(v) - top) / tau);
  return top / tau + std::log(sum);
}

inline Values softmax(std::span<const real> x, double tau = 1) {
  Values out;
  const double lse = log_sum_exp(x, tau);
  for (real v : x) out.push_back(std::exp(static_cast<double>(v) / tau - lse));
  return out;
}

struct Attention {
  Values out, lse, p;  // p [B, NH, T, T] before dropout
};

/// 1 / (1 - p) where the probability is kept, 0 where it is dropped.
inline double keep_factor(double p, std::uint64_t key, Index index) {
  if (p == 0) return 1;
  return counter_uniform(key, static_cast<std::uint64_t>(index)) < static_cast<float>(p)
             ? 0
             : 1 / (1 - p);
}

/// qkv [B, T, 3C]: element (part, head, channel) of row (b, t).
inline Index qkv_index(Index b, Index t, Index part, Index h, Index c, Index T, Index NH,
                       Index HS) {
  return ((b * T + t) * 3 + part) * NH * HS + h * HS + c;
}

inline Attention attention(std::span<const real> qkv, Index B, Index T, Index NH, Index HS,
                           double dropout = 0, std::uint64_t key = 0) {
  Attention result{zeros(B * T * NH * HS), zeros(B * NH * T), zeros(B * NH * T * T)};
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < NH; ++h)
      for (Index t = 0; t < T; ++t) {
        const Index row = (b * NH + h) * T + t;
        double sum = 0;
        for (Index t2 = 0; t2 <= t; ++t2) {
          double score = 0;
          for (Index c = 0; c < HS; ++c)
            score += at(qkv, qkv_index(b, t, 0, h, c, T, NH, HS)) *
                     at(qkv, qkv_index(b, t2, 1, h, c, T, NH, HS));
          at(result.p, row * T + t2) = score / std::sqrt(static_cast<double>(HS));
          sum += std::exp(at(result.p, row * T + t2));
        }
        at(result.lse, row) = std::log(sum);
        for (Index t2 = 0; t2 <= t; ++t2) {
          double& p = at(result.p, row * T + t2);
          p = std::exp(p - std::log(sum));
          for (Index c = 0; c < HS; ++c)
            at(result.out, (b * T + t) * NH * HS + h * HS + c) +=
                p * keep_factor(dropout, key, row * T + t2) *
                at(qkv, qkv_index(b, t2, 2, h, c, T, NH, HS));
        }
      }
  return result;
}

inline Values attention_backward(std::span<const real> dout, std::span<const real> qkv, Index B,
                                 Index T, Index NH, Index HS, double dropout = 0,
                                 std::uint64_t key = 0) {
  const Attention forward = attention(qkv, B, T, NH, HS, dropout, key);
  const double scale = 1 / std::sqrt(static_cast<double>(HS));
  Values dqkv = zeros(B * T * 3 * NH * HS);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < NH; ++h)
      for (Index t = 0; t < T; ++t) {
        const Index row = (b * NH + h) * T + t;
        Values dp = zeros(t + 1);
        double mean = 0;
        for (Index t2 = 0; t2 <= t; ++t2) {
          const double keep = keep_factor(dropout, key, row * T + t2);
          const double p = at(forward.p, row * T + t2);
          for (Index c = 0; c < HS; ++c) {
            const double d = at(dout, (b * T + t) * NH * HS + h * HS + c);
            at(dp, t2) += keep * d * at(qkv, qkv_index(b, t2, 2, h, c, T, NH, HS));
            at(dqkv, qkv_index(b, t2, 2, h, c, T, NH, HS)) += p * keep * d;
          }
          mean += p * at(dp, t2);
        }
        for (Index t2 = 0; t2 <= t; ++t2) {
          const double ds = at(forward.p, row * T + t2) * (at(dp, t2) - mean) * scale;
          for (Index c = 0; c < HS; ++c) {
            const Index q = qkv_index(b, t, 0, h, c, T, NH, HS);
            const Index k = qkv_index(b, t2, 1, h, c, T, NH, HS);
            at(dqkv, q) += ds * at(qkv, k);
            at(dqkv, k) += ds * at(qkv, q);
          }
        }
      }
  return dqkv;
}

struct RowLoss {
  double loss = 0;
  double ce = 0;
  Values dlogits;
};

inline RowLoss cross_entropy(std::span<const real> logits, std::int32_t target, double scale) {
  RowLoss row{0, 0, softmax(logits)};
  row.loss = row.ce = log_sum_exp(logits) - at(logits, target);
  at(row.dlogits, target) -= 1;
  for (double& d : row.dlogits) d *= scale;
  return row;
}

inline RowLoss distillation(std::span<const real> student, std::span<const real> teacher,
                            std::int32_t target, double tau, double alpha, double reverse,
                            double scale) {
  RowLoss row = cross_entropy(student, target, 1);
  const Values q = softmax(student, tau), p = softmax(teacher, tau);
  double forward = 0, backward = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    forward += p[i] * std::log(p[i] / q[i]);
    backward += q[i] * std::log(q[i] / p[i]);
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double slope =
        (1 - reverse) * (q[i] - p[i]) + reverse * q[i] * (std::log(q[i] / p[i]) - backward);
    row.dlogits[i] = scale * ((1 - alpha) * row.dlogits[i] + alpha * tau * slope);
  }
  row.loss =
      (1 - alpha) * row.ce + alpha * tau * tau * ((1 - reverse) * forward + reverse * backward);
  return row;
}

}  // namespace notch::kernels::reference
