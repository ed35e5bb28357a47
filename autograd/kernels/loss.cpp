#include "autograd/kernels/loss.h"

#include <algorithm>

#include "autograd/base/elementary.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

NOTCH_VECTOR(double, loss_row, const real* x, std::int32_t target, Index V) {
  const real m = lane_max(x, V);
  const double sum = lane_sum(V, [=](Index i) { return vmath::exp_nonpositive(x[i] - m); });
  // In double from here: x[target] - m is exact enough, and the loss may be small.
  return elementary::log(sum) - (static_cast<double>(x[target]) - static_cast<double>(m));
}

NOTCH_VECTOR(double, loss_gradient_row, real* x, std::int32_t target, double scale, Index V) {
  const real m = lane_max(x, V);
  const double picked = static_cast<double>(x[target]) - static_cast<double>(m);
  const double sum = lane_sum(V, [=](Index i) { return x[i] = vmath::exp_nonpositive(x[i] - m); });
  // loss = log Σ exp x - x[target]: dx = scale · (exp(x) / Σ - onehot)
  const real factor = static_cast<real>(scale / sum);
  for (Index i = 0; i < V; ++i) x[i] *= factor;
  x[target] -= static_cast<real>(scale);
  return elementary::log(sum) - picked;
}

struct RowLoss {
  double loss = 0;
  double ce = 0;
};

/// What the gradient needs of a row: maxima and Σ exp of the three distributions, and
/// Σ p_x (v - u), the reverse divergence without its normalizers.
struct RowStats {
  real max_x = 0, max_t = 0;
  double sum_hard = 0, sum_x = 0, sum_t = 0, reverse_gap = 0;
};

NOTCH_VECTOR(RowLoss, distillation_row, RowStats& stats, const real* x, const real* t,
             std::int32_t target, const Distillation& how, Index V) {
  const real k = static_cast<real>(1 / how.tau);
  const real mx = lane_max(x, V), mt = lane_max(t, V);
  const double hard = lane_sum(V, [=](Index i) { return vmath::exp_nonpositive(x[i] - mx); });
  const double soft = lane_sum(V, [=](Index i) { return vmath::exp_nonpositive((x[i] - mx) * k); });
  const double teacher =
      lane_sum(V, [=](Index i) { return vmath::exp_nonpositive((t[i] - mt) * k); });
  // With u = (t - max t) / tau and v = (x - max x) / tau, KL = Σ p_t (u - v) - log Σ e^u + log Σ
  // e^v: shifted like this, equal logits give 0 up to one rounding. p_t = 0 where u or v is -inf
  // counts 0.
  const double gap = lane_sum(V, [=](Index i) {
    const real u = (t[i] - mt) * k, e = vmath::exp_nonpositive(u);
    const real d = e * (u - (x[i] - mx) * k);
    return e == 0 ? real{0} : d;
  });
  const double normalizers = elementary::log(soft) - elementary::log(teacher);
  double divergence = gap / teacher + normalizers;
  double reverse_gap = 0;
  if (how.reverse > 0) {
    const double sum = lane_sum(V, [=](Index i) {
      const real v = (x[i] - mx) * k, e = vmath::exp_nonpositive(v);
      const real d = e * (v - (t[i] - mt) * k);
      return e == 0 ? real{0} : d;
    });
    reverse_gap = sum / soft;
    divergence = (1 - how.reverse) * divergence + how.reverse * (reverse_gap - normalizers);
  }
  const double ce =
      elementary::log(hard) - (static_cast<double>(x[target]) - static_cast<double>(mx));
  stats = {mx, mt, hard, soft, teacher, reverse_gap};
  return {(1 - how.alpha) * ce + how.alpha * how.tau * how.tau * divergence, ce};
}

NOTCH_VECTOR(void, distillation_gradient_row, real* x, const real* t, const RowStats& stats,
             std::int32_t target, const Distillation& how, double scale, Index V) {
  // dx = scale · ((1 - alpha) (softmax(x) - onehot)
  //               + alpha · tau · ((1 - reverse) (q - p) + reverse · q (v - u - Σ q (v - u)))),
  // q = softmax(x/tau), p = softmax(t/tau); log q - log p is v - u up to a constant, which cancels.
  const real k = static_cast<real>(1 / how.tau);
  const real mx = stats.max_x, mt = stats.max_t;
  const real hard = static_cast<real>(scale * (1 - how.alpha) / stats.sum_hard);
  const double forward = scale * how.alpha * how.tau * (1 - how.reverse);
  const real soft = static_cast<real>(forward / stats.sum_x);
  const real teacher = static_cast<real>(forward / stats.sum_t);
  if (how.reverse == 0) {
    for (Index i = 0; i < V; ++i) {
      const real v = x[i] - mx;
      x[i] = hard * vmath::exp_nonpositive(v) + (soft * vmath::exp_nonpositive(v * k) -
                                                 teacher * vmath::exp_nonpositive((t[i] - mt) * k));
    }
  } else {
    const real back = static_cast<real>(scale * how.alpha * how.tau * how.reverse / stats.sum_x);
    const real gap = static_cast<real>(stats.reverse_gap);
    for (Index i = 0; i < V; ++i) {
      const real v = x[i] - mx, u = (t[i] - mt) * k, e = vmath::exp_nonpositive(v * k);
      const real slope = e == 0 ? real{0} : back * e * (v * k - u - gap);
      x[i] = hard * vmath::exp_nonpositive(v) + (soft * e - teacher * vmath::exp_nonpositive(u)) +
             slope;
    }
  }
  x[target] -= static_cast<real>(scale * (1 - how.alpha));
}

/// Every target is -1 or one of the V classes.
void require_loss(std::span<double> losses, std::span<const real> logits,
                  std::span<const std::int32_t> targets, Index rows, Index V) {
  require_extent("loss", extent("loss", {rows, V}), logits);
  require_extent("loss", rows, losses);
  require_extent("loss", rows, targets);
  for (const std::int32_t t : targets.first(static_cast<std::size_t>(rows))) {
    check(t >= -1 && t < V, "loss", "target ", t, " is not in [0, ", V, ") and not -1 (ignored)");
  }
}

void distillation(std::span<double> losses, std::span<double> ce, const real* student,
                  real* dstudent, std::span<const real> teacher,
                  std::span<const std::int32_t> targets, const Distillation& how, double scale,
                  Index rows, Index V) {
  require_loss(losses, teacher, targets, rows, V);
  require_extent("loss", ce.empty() ? 0 : rows, ce);
  check(how.tau > 0 && std::isfinite(how.tau), "loss", "tau = ", how.tau,
        " is not above 0 and finite");
  for_rows(rows, 8 * V, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const std::int32_t target = targets.data()[r];
      const real* t = teacher.data() + r * V;
      RowLoss loss;
      if (target >= 0) {
        RowStats stats;
        loss = distillation_row(stats, student + r * V, t, target, how, V);
        if (dstudent) distillation_gradient_row(dstudent + r * V, t, stats, target, how, scale, V);
      } else if (dstudent) {
        std::fill_n(dstudent + r * V, V, real{0});
      }
      losses.data()[r] = loss.loss;
      if (!ce.empty()) ce.data()[r] = loss.ce;
    }
  });
}

}  // namespace

void cross_entropy_forward(std::span<double> losses, std::span<const real> logits,
                           std::span<const std::int32_t> targets, std::int64_t rows,
                           std::int64_t V) {
  require_loss(losses, logits, targets, rows, V);
  for_rows(rows, 4 * V, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const std::int32_t target = targets.data()[r];
      losses.data()[r] = target < 0 ? 0 : loss_row(logits.data() + r * V, target, V);
    }
  });
}

void cross_entropy_forward_backward(std::span<double> losses, std::span<real> logits,
                                    std::span<const std::int32_t> targets, double scale,
                                    std::int64_t rows, std::int64_t V) {
  require_loss(losses, logits, targets, rows, V);
  for_rows(rows, 4 * V, [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const std::int32_t target = targets.data()[r];
      real* x = logits.data() + r * V;
      if (target < 0) {
        losses.data()[r] = 0;
        std::fill_n(x, V, real{0});
      } else {
        losses.data()[r] = loss_gradient_row(x, target, scale, V);
      }
    }
  });
}

void distillation_forward(std::span<double> losses, std::span<double> ce,
                          std::span<const real> student, std::span<const real> teacher,
                          std::span<const std::int32_t> targets, const Distillation& how,
                          std::int64_t rows, std::int64_t V) {
  require_extent("loss", extent("loss", {rows, V}), student);
  distillation(losses, ce, student.data(), nullptr, teacher, targets, how, 0, rows, V);
}

void distillation_forward_backward(std::span<double> losses, std::span<double> ce,
                                   std::span<real> student, std::span<const real> teacher,
                                   std::span<const std::int32_t> targets, const Distillation& how,
                                   double scale, std::int64_t rows, std::int64_t V) {
  require_extent("loss", extent("loss", {rows, V}), student);
  distillation(losses, ce, student.data(), student.data(), teacher, targets, how, scale, rows, V);
}

}  // namespace notch::kernels
