#include "experiments/bench/gemm_floor.h"

#include <algorithm>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "experiments/run/step_split.h"

namespace notch::experiments {
namespace {

/// All inputs are this; no output becomes an input of the next layer, so that numbers neither grow
/// nor turn denormal, which would be slow.
constexpr float kFill = 0.01f;

void require_windows(std::int64_t B) {
  constexpr std::int64_t kMost = 1 << 20;
  check(B > 0 && B <= kMost, "gemm floor", B, " windows a step, not 1 to ", kMost);
}

/// The head runs over this many tokens at a time, as head_loss does.
std::int64_t head_rows(std::int64_t tokens, std::int64_t vocabulary) {
  return std::min(tokens,
                  std::clamp<std::int64_t>((std::int64_t{1} << 22) / vocabulary, 256, 4096));
}

std::size_t elements(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

}  // namespace

double step_flops(const nn::Model& model, std::int64_t B) {
  require_windows(B);
  const nn::Sizes& c = model.sizes();
  const auto tokens = static_cast<double>(B * c.block_size);
  const auto C = static_cast<double>(c.attention()), L = static_cast<double>(c.n_layer);
  const auto matrices = static_cast<double>(model.matrix_weights());
  return tokens * (6 * matrices + 12 * L * C * static_cast<double>(c.block_size));
}

GemmFloor::GemmFloor(nn::Model& model, std::int64_t B)
    : model_(model),
      B_((require_windows(B), B)),
      head_rows_(head_rows(B * model.sizes().block_size, model.sizes().vocab_size)) {
  const nn::Sizes& c = model.sizes();
  for (const Param& p : model.params().params())
    check(p.value.data && p.grad.data, "gemm floor", p.name, " has no values and gradients");
  const std::int64_t M = B * c.block_size;
  std::int64_t widest = 3 * c.attention();
  for (const nn::Linear* l : model.linears())
    widest = std::max({widest, l->in_features(), l->out_features()});
  x_.assign(elements(M, widest), kFill);
  y_.assign(std::max(elements(M, widest), elements(head_rows_, c.vocab_size)), kFill);
  dx_.assign(x_.size(), kFill);
  scores_.assign(elements(B * c.n_head, c.block_size * c.block_size), kFill);
}

/// y = x Wᵀ, dx = y W, dW += yᵀ x: what a Linear costs in one step.
void GemmFloor::linear(const Param& weight, std::int64_t rows) {
  const std::int64_t N = weight.value.rows(), K = weight.value.cols();
  const std::span<const float> x = std::span(x_).first(elements(rows, K));
  const std::span<float> y = std::span(y_).first(elements(rows, N));
  kernels::gemm(y, x, weight.value.flat(), rows, N, K, {.trans_b = true});
  kernels::gemm(dx_, y, weight.value.flat(), rows, K, N);
  kernels::gemm(weight.grad.flat(), y, x, N, K, rows, {.trans_a = true, .accumulate = true});
}

/// Per head: S = q kᵀ, o = S v; dS = do vᵀ, dv = Sᵀ do, dq = dS k, dk = dSᵀ q.
void GemmFloor::attention() {
  const nn::Sizes& c = model_.sizes();
  const std::int64_t T = c.block_size, NH = c.n_head, HS = c.head_dim, C = c.attention();
  parallel_for(B_ * NH, [&](std::int64_t i) {
    // q, k, v lie side by side in [B, T, 3C]; so do their gradients. q stands in for do.
    const std::size_t first = elements(i / NH * T, 3 * C) + elements(i % NH, HS);
    const auto part = [&](std::vector<float>& all, std::int64_t which) {
      return std::span(all).subspan(first + elements(which, C));
    };
    const std::span<const float> q = part(x_, 0), k = part(x_, 1), v = part(x_, 2);
    const std::span<float> S = std::span(scores_).subspan(elements(i, T * T), elements(T, T));
    const kernels::GemmOptions scores{.trans_b = true, .lda = 3 * C, .ldb = 3 * C};
    const kernels::GemmOptions rows{.ld_out = 3 * C, .ldb = 3 * C};
    const kernels::GemmOptions columns{.trans_a = true, .ld_out = 3 * C, .ldb = 3 * C};
    kernels::gemm_serial(S, q, k, T, T, HS, scores);
    kernels::gemm_serial(part(y_, 0), S, v, T, HS, T, rows);
    kernels::gemm_serial(part(dx_, 2), S, q, T, HS, T, columns);
    kernels::gemm_serial(S, q, v, T, T, HS, scores);
    kernels::gemm_serial(part(dx_, 0), S, k, T, HS, T, rows);
    kernels::gemm_serial(part(dx_, 1), S, q, T, HS, T, columns);
  });
}

std::vector<GemmFloor::Row> GemmFloor::run() {
  const nn::Sizes& c = model_.sizes();
  const std::int64_t M = B_ * c.block_size;
  std::vector<Row> rows;
  const auto timed = [&](const char* op, std::string_view layer, const auto& products) {
    const double start = seconds_now();
    products();
    rows.push_back({op, std::string(layer), 1e3 * (seconds_now() - start)});
  };
  const std::vector<nn::Linear*> linears = model_.linears();
  const std::size_t per_block = linears.size() / static_cast<std::size_t>(c.n_layer);
  for (std::size_t k = 0; k < per_block; ++k) {
    timed("linear", without_block(linears[k]->name), [&] {
      for (std::size_t i = k; i < linears.size(); i += per_block) linear(*linears[i]->weight, M);
    });
  }
  timed("causal_attention", "", [&] {
    for (int l = 0; l < c.n_layer; ++l) attention();
  });
  timed("head_loss", "lm_head", [&] {
    for (std::int64_t row = 0; row < M; row += head_rows_) {
      linear(*model_.head().weight, std::min(head_rows_, M - row));
    }
  });
  for (nn::Linear* l : linears) std::ranges::fill(l->weight->grad.flat(), 0.0f);
  std::ranges::fill(model_.head().weight->grad.flat(), 0.0f);
  return rows;
}

}  // namespace notch::experiments
