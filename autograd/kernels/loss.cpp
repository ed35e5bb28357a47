#include "autograd/kernels/loss.h"

#include <cmath>
#include <limits>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

real row_max(const real* x, Index n) {
  real m = -std::numeric_limits<real>::infinity();
  for (Index i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

/// log Σ exp(x / tau)
double lse(const real* x, Index n, double tau) {
  const double m = row_max(x, n);
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += std::exp((x[i] - m) / tau);
  return m / tau + std::log(sum);
}

void cross_entropy(std::span<double> losses, const real* logits, real* dlogits,
                   std::span<const std::int32_t> targets, double scale, Index rows, Index V) {
  for_rows(rows, 4 * V, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* x = logits + r * V;
      const std::int32_t target = targets[static_cast<std::size_t>(r)];
      losses[static_cast<std::size_t>(r)] = 0;
      if (target < 0) {
        if (dlogits) std::fill_n(dlogits + r * V, V, real{0});
        continue;
      }
      const double l = lse(x, V, 1);
      losses[static_cast<std::size_t>(r)] = l - x[target];
      if (!dlogits) continue;
      real* d = dlogits + r * V;
      for (Index i = 0; i < V; ++i)
        d[i] = static_cast<real>(scale * (std::exp(x[i] - l) - (i == target ? 1 : 0)));
    }
  });
}

void distillation(std::span<double> losses, std::span<double> ce, const real* student,
                  real* dstudent, std::span<const real> teacher,
                  std::span<const std::int32_t> targets, const Distillation& how, double scale,
                  Index rows, Index V) {
  const double tau = how.tau, alpha = how.alpha;
  for_rows(rows, 8 * V, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const real* x = student + r * V;
      const real* t = teacher.data() + r * V;
      const auto row = static_cast<std::size_t>(r);
      const std::int32_t target = targets[row];
      losses[row] = 0;
      if (!ce.empty()) ce[row] = 0;
      if (target < 0) {
        if (dstudent) std::fill_n(dstudent + r * V, V, real{0});
        continue;
      }
      const double l1 = lse(x, V, 1), ls = lse(x, V, tau), lt = lse(t, V, tau);
      double kl = 0;
      for (Index i = 0; i < V; ++i) {
        const double log_p = t[i] / tau - lt;
        kl += std::exp(log_p) * (log_p - (x[i] / tau - ls));
      }
      const double hard = l1 - x[target];
      if (!ce.empty()) ce[row] = hard;
      losses[row] = (1 - alpha) * hard + alpha * tau * tau * kl;
      if (!dstudent) continue;
      real* d = dstudent + r * V;
      for (Index i = 0; i < V; ++i)
        d[i] = static_cast<real>(
            scale * ((1 - alpha) * (std::exp(x[i] - l1) - (i == target ? 1 : 0)) +
                     alpha * tau * (std::exp(x[i] / tau - ls) - std::exp(t[i] / tau - lt))));
    }
  });
}

}  // namespace

void cross_entropy_forward(std::span<double> losses, std::span<const real> logits,
                           std::span<const std::int32_t> targets, std::int64_t rows,
                           std::int64_t V) {
  cross_entropy(losses, logits.data(), nullptr, targets, 0, rows, V);
}
void cross_entropy_forward_backward(std::span<double> losses, std::span<real> logits,
                                    std::span<const std::int32_t> targets, double scale,
                                    std::int64_t rows, std::int64_t V) {
  cross_entropy(losses, logits.data(), logits.data(), targets, scale, rows, V);
}
void distillation_forward(std::span<double> losses, std::span<double> ce,
                          std::span<const real> student, std::span<const real> teacher,
                          std::span<const std::int32_t> targets, const Distillation& how,
                          std::int64_t rows, std::int64_t V) {
  distillation(losses, ce, student.data(), nullptr, teacher, targets, how, 0, rows, V);
}
void distillation_forward_backward(std::span<double> losses, std::span<double> ce,
                                   std::span<real> student, std::span<const real> teacher,
                                   std::span<const std::int32_t> targets, const Distillation& how,
                                   double scale, std::int64_t rows, std::int64_t V) {
  distillation(losses, ce, student.data(), student.data(), teacher, targets, how, scale, rows, V);
}

}  // namespace notch::kernels
