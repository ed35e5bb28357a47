// Losses. head_loss is one op so that the logits of all tokens never exist at once: with GPT-2's
// vocabulary they would be the largest tensor of a training step by far.

#include "autograd/kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/kernels/blas.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/ops.h"

namespace notch {
namespace {

/// Number of targets that count; throws when one is neither -1 nor in [0, V).
std::int64_t check_targets(std::string_view op, std::span<const std::int32_t> targets,
                           std::int64_t rows, std::int64_t V) {
  check(static_cast<std::int64_t>(targets.size()) == rows, op, targets.size(), " targets for ",
        rows, " rows");
  std::int64_t counted = 0;
  for (const std::int32_t t : targets) {
    check(t >= -1 && t < V, op, "target ", t, " is not in [0, ", V, ") and not -1 (ignored)");
    counted += t >= 0;
  }
  check(counted > 0, op, "every target is -1 (ignored): the mean of nothing");
  return counted;
}

struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  std::span<const std::int32_t> targets;
  std::span<real> dlogits{};  // of the mean loss, made in forward
  Tensor forward(Forward& f) {
    const Tensor logits = f.in(0);
    const std::int64_t rows = logits.rows(), V = logits.cols();
    const std::int64_t counted = check_targets(name, targets, rows, V);
    const auto losses = f.scratch<double>(rows);
    if (f.wants_grad(0)) {
      dlogits = f.keep(logits.size());
      std::ranges::copy(logits.flat(), dlogits.begin());
      kernels::cross_entropy_forward_backward(losses, dlogits, targets,
                                              1.0 / static_cast<double>(counted), rows, V);
    } else {
      kernels::cross_entropy_forward(losses, logits.flat(), targets, rows, V);
    }
    const Tensor y = f.out({1});
    y.data[0] = static_cast<real>(kernels::tree_sum(losses) / static_cast<double>(counted));
    return y;
  }
  void backward(Backward& b) const {
    if (b.dout()[0] != 1) kernels::scale(dlogits, dlogits, b.dout()[0]);
    b.pass_kept(0, dlogits);
  }
};

/// Rows per chunk: few enough that a chunk of logits stays near the cache, and at least 512: with
/// half of that, GPT-2's vocabulary costs 14 % more time in the product for dx. A function of the
/// vocabulary only, as determinism asks.
std::int64_t chunk_rows(std::int64_t V) {
  constexpr std::int64_t kElements = std::int64_t{1} << 22;  // 16 MiB of float logits
  return std::clamp<std::int64_t>(kElements / V, 512, 4096);
}

struct HeadLoss {
  static constexpr std::string_view name = "head_loss";
  std::span<const std::int32_t> targets;
  std::optional<Teacher> teacher{};
  HeadProduct product{};
  std::span<real> dx{}, dhead{};  // of the mean loss, made in forward
  kernels::Precision precision = kernels::Precision::full;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), head = f.in(1);
    check(head.shape.rank() == 2 && x.cols() == head.cols(), name, "x is ", x.shape,
          " but the head is ", head.shape);
    const std::int64_t rows = x.rows(), C = x.cols(), V = head.shape[0];
    const std::int64_t counted = check_targets(name, targets, rows, V);
    if (teacher) {
      check(teacher->x.rows() == rows && teacher->head.shape.rank() == 2 &&
                teacher->head.shape[0] == V && teacher->x.cols() == teacher->head.cols(),
            name, "the teacher has x ", teacher->x.shape, " and head ", teacher->head.shape,
            ", the student ", x.shape, " and ", head.shape);
      check(teacher->tau > 0 && std::isfinite(teacher->tau) && teacher->alpha >= 0 &&
                teacher->alpha <= 1 && teacher->reverse >= 0 && teacher->reverse <= 1,
            name, "tau = ", teacher->tau, ", alpha = ", teacher->alpha,
            ", reverse = ", teacher->reverse,
            "; tau must be positive, alpha and reverse in [0, 1]");
    }
    precision = f.precision();
    if (f.wants_grad(0)) dx = f.keep(x.size());
    if (f.wants_grad(1)) dhead = f.keep(head.size());
    const std::int64_t chunk = std::min(rows, chunk_rows(V));
    const auto losses = f.scratch<double>(rows);
    const auto logits = f.scratch(chunk * V);
    const auto teacher_logits = teacher ? f.scratch(chunk * V) : std::span<real>{};
    for (std::int64_t r = 0; r < rows; r += chunk) {
      const std::int64_t n = std::min(chunk, rows - r);
      run_chunk(x, head, losses, logits, teacher_logits, r, n, C, V,
                1.0 / static_cast<double>(counted));
    }
    const Tensor y = f.out({1});
    y.data[0] = static_cast<real>(kernels::tree_sum(losses) / static_cast<double>(counted));
    return y;
  }

  void run_chunk(const Tensor& x, const Tensor& head, std::span<double> all_losses,
                 std::span<real> logits_buffer, std::span<real> teacher_buffer, std::int64_t r,
                 std::int64_t n, std::int64_t C, std::int64_t V, double factor) {
    const auto part = [r, n](auto span, std::int64_t cols) {
      return span.subspan(static_cast<std::size_t>(r * cols), static_cast<std::size_t>(n * cols));
    };
    const auto xs = part(x.flat(), C);
    const auto ts = part(targets, 1);
    const auto losses = part(all_losses, 1);
    const auto logits = logits_buffer.first(static_cast<std::size_t>(n * V));
    if (product.logits) {
      product.logits(product.self, logits, r, n);
    } else {
      kernels::gemm(logits, xs, head.flat(), n, V, C, {.trans_b = true, .precision = precision});
    }
    const bool train = !dx.empty() || !dhead.empty();
    if (teacher) {
      const auto wanted = teacher_buffer.first(static_cast<std::size_t>(n * V));
      kernels::gemm(wanted, part(teacher->x.flat(), teacher->x.cols()), teacher->head.flat(), n, V,
                    teacher->x.cols(), {.trans_b = true, .precision = precision});
      const kernels::Distillation how{
          .tau = teacher->tau, .alpha = teacher->alpha, .reverse = teacher->reverse};
      if (train) {
        kernels::distillation_forward_backward(losses, {}, logits, wanted, ts, how, factor, n, V);
      } else {
        kernels::distillation_forward(losses, {}, logits, wanted, ts, how, n, V);
      }
    } else if (train) {
      kernels::cross_entropy_forward_backward(losses, logits, ts, factor, n, V);
    } else {
      kernels::cross_entropy_forward(losses, logits, ts, n, V);
    }
    // `logits` now holds dlogits. logits = x headᵀ, so dx = dlogits head and dhead += dlogitsᵀ x.
    if (!dx.empty())
      kernels::gemm(part(dx, C), logits, head.flat(), n, C, V, {.precision = precision});
    if (!dhead.empty()) {
      kernels::gemm(dhead, logits, xs, V, C, n,
                    {.trans_a = true, .accumulate = r > 0, .precision = precision});
    }
  }

  void backward(Backward& b) const {
    const real dloss = b.dout()[0];
    for (int i = 0; i < 2; ++i) {
      const std::span<real> d = i == 0 ? dx : dhead;
      if (d.empty()) continue;
      if (dloss != 1) kernels::scale(d, d, dloss);
      b.pass_kept(i, d);
    }
  }
};

}  // namespace

Var cross_entropy(Var logits, std::span<const std::int32_t> targets) {
  return logits.tape().record(CrossEntropy{targets}, {logits});
}

Var head_loss(Var x, Var head, std::span<const std::int32_t> targets,
              const std::optional<Teacher>& teacher, const HeadProduct& product) {
  return x.tape().record(HeadLoss{targets, teacher, product}, {x, head});
}

}  // namespace notch
