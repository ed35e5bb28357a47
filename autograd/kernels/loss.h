// Cross-entropy and distillation on a chunk of logits, with their gradients written over the
// logits.
//
// Natural logarithms (nats). Losses come per row in double, so that the caller sums them over
// chunks in a fixed order. A target of -1 marks a row that counts for nothing: loss 0, gradient 0.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// losses [rows] = log Σ exp(logits[r, :]) - logits[r, targets[r]] from logits [rows, V]. Parallel
/// over rows.
void cross_entropy_forward(std::span<double> losses, std::span<const real> logits,
                           std::span<const std::int32_t> targets, std::int64_t rows,
                           std::int64_t V);

/// The same, and logits [rows, V] become their own gradient: scale · (softmax(logits) -
/// onehot(target)). One exponential per element. `scale` is 1 / (number of counted tokens) for a
/// mean, times the loss's gradient.
void cross_entropy_forward_backward(std::span<double> losses, std::span<real> logits,
                                    std::span<const std::int32_t> targets, double scale,
                                    std::int64_t rows, std::int64_t V);

/// Hinton, Vinyals and Dean 2015, arXiv:1503.02531. p_tau = softmax(logits / tau).
///   loss = (1 - alpha) · CE(student, target) + alpha · tau² · D
///   D = (1 - reverse) · KL(p_tau(teacher) || p_tau(student))
///         + reverse · KL(p_tau(student) || p_tau(teacher))
/// The forward divergence covers everything the teacher finds likely, the reverse one avoids what
/// it finds unlikely (Gu et al. 2023, arXiv:2306.08543, section 2).
struct Distillation {
  double tau = 1;
  double alpha = 0.5;
  double reverse = 0;
};

/// losses [rows] and, unless empty, ce [rows] (the cross-entropy alone, for reports) from student
/// and teacher logits [rows, V]. Parallel over rows.
void distillation_forward(std::span<double> losses, std::span<double> ce,
                          std::span<const real> student, std::span<const real> teacher,
                          std::span<const std::int32_t> targets, const Distillation& how,
                          std::int64_t rows, std::int64_t V);

/// The same, and student [rows, V] becomes its own gradient:
///   scale · ((1 - alpha) (softmax(student) - onehot) + alpha · tau · ((1 - reverse) (q - p)
///            + reverse · q (log q - log p - KL(q || p)))),  q = p_tau(student), p = p_tau(teacher)
void distillation_forward_backward(std::span<double> losses, std::span<double> ce,
                                   std::span<real> student, std::span<const real> teacher,
                                   std::span<const std::int32_t> targets, const Distillation& how,
                                   double scale, std::int64_t rows, std::int64_t V);

}  // namespace notch::kernels
