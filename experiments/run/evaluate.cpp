#include "experiments/run/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/loss.h"
#include "data/batches.h"

namespace notch::experiments {
namespace {

/// Tokens per forward pass: enough for efficient products, whatever the context.
constexpr std::int64_t kQuestionsPerTask = 8;

/// Windows of equal length, as one batch.
struct WindowBatch {
  std::int64_t B = 0, T = 0;
  std::vector<std::int32_t> inputs{}, targets{};
};

/// Calls body(batch, index of its first window) over all windows of a split in order.
template <class Body>
void for_window_batches(std::span<const std::int32_t> tokens, std::int64_t block_size,
                        std::int64_t limit, const Body& body) {
  const data::EvalWindows windows(std::ssize(tokens), block_size);
  const std::int64_t n = limit > 0 ? std::min(limit, windows.size()) : windows.size();
  const std::int64_t most = std::max<std::int64_t>(1, kTokensPerBatch / block_size);
  for (std::int64_t first = 0; first < n;) {
    WindowBatch batch{.T = windows[first].length};
    while (batch.B < most && first + batch.B < n && windows[first + batch.B].length == batch.T) {
      ++batch.B;
    }
    const auto T = static_cast<std::size_t>(batch.T);
    batch.inputs.assign(static_cast<std::size_t>(batch.B) * T, 0);
    batch.targets = batch.inputs;
    for (std::int64_t b = 0; b < batch.B; ++b) {
      const std::size_t at = static_cast<std::size_t>(b) * T;
      data::fill_window(tokens, windows[first + b], std::span(batch.inputs).subspan(at, T),
                        std::span(batch.targets).subspan(at, T));
    }
    body(batch, first);
    first += batch.B;
  }
}

std::int64_t argmax(std::span<const real> row) {
  return std::ranges::max_element(row) - row.begin();
}

/// The nearest-rank percentile; reorders `values`.
double percentile(std::vector<double>& values, double share) {
  const auto rank =
      static_cast<std::ptrdiff_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + std::max<std::ptrdiff_t>(rank, 1) - 1;
  std::ranges::nth_element(values, at);
  return *at;
}

void require_finite(double loss, std::string_view what) {
  if (std::isfinite(loss)) return;
  throw Error({.fault = Fault::numeric,
               .where = "evaluate",
               .what = str(what, " is not finite"),
               .found = str(loss),
               .hint = "the model holds a NaN or an infinity; `notch inspect` names the tensor"});
}

Evaluation evaluate_against(nn::Model& model, std::span<const std::int32_t> tokens,
                            double bytes_per_token, KeptLogits* base,
                            const EvaluationLimits& limits) {
  const auto vocabulary = [](const nn::Model& m) { return m.sizes().vocab_size; };
  check(!base || vocabulary(base->model()) == vocabulary(model), "evaluate",
        "the base has vocab_size ", base ? vocabulary(base->model()) : 0, ", the model ",
        vocabulary(model));
  check(bytes_per_token > 0 && std::isfinite(bytes_per_token), "evaluate", bytes_per_token,
        " bytes per token");
  const std::int64_t context = model.sizes().block_size,
                     T = limits.window > 0 ? limits.window : context;
  check(T <= context, "evaluate", "windows of ", T, " tokens, a context of ", context);
  Evaluation out;
  LogitPieces pieces(model);
  if (base) base->restart();
  std::vector<double> losses, divergences, all_divergences;
  std::vector<std::uint8_t> same;
  std::int64_t same_top = 0;
  const std::int64_t V = vocabulary(model);
  for_window_batches(
      tokens, T, limits.windows, [&](const WindowBatch& batch, std::int64_t window) {
        const nn::Tokens ids{batch.inputs, batch.B, batch.T};
        const std::int64_t rows = batch.B * batch.T;
        losses.resize(static_cast<std::size_t>(rows));
        pieces.read(ids);
        divergences.resize(losses.size());
        same.resize(losses.size());
        for_pieces(model, rows, [&](std::int64_t first, std::int64_t n) {
          const auto part = [&](auto& all) {
            return std::span(all).subspan(static_cast<std::size_t>(first),
                                          static_cast<std::size_t>(n));
          };
          const std::span<const real> q = pieces.logits(first, n);
          if (!base) {
            kernels::cross_entropy_forward(part(losses), q, part(batch.targets), n, V);
            return;
          }
          const std::span<const real> p = base->logits(ids, window, first, n);
          // Distillation with alpha = tau = 1 is KL(base || model), with the cross-entropy beside
          // it.
          kernels::distillation_forward(part(divergences), part(losses), q, p, part(batch.targets),
                                        {.tau = 1, .alpha = 1}, n, V);
          parallel_for(n, [&](std::int64_t r) {
            const auto row = [&](std::span<const real> all) {
              return all.subspan(static_cast<std::size_t>(r * V), static_cast<std::size_t>(V));
            };
            same[static_cast<std::size_t>(first + r)] = argmax(row(q)) == argmax(row(p));
          });
        });
        if (base) {
          for (const std::uint8_t s : same) same_top += s;
          all_divergences.insert(all_divergences.end(), divergences.begin(), divergences.end());
        }
        for (std::int64_t b = 0; b < batch.B; ++b) {
          out.window_losses.push_back(kernels::tree_sum(std::span(losses).subspan(
              static_cast<std::size_t>(b * batch.T), static_cast<std::size_t>(batch.T))));
          out.window_tokens.push_back(batch.T);
        }
      });
  double scored = 0;
  for (const std::int64_t n : out.window_tokens) scored += static_cast<double>(n);
  out.loss = kernels::tree_sum(out.window_losses) / scored;
  require_finite(out.loss, "the loss");
  out.bits_per_byte = out.loss / std::numbers::ln2 / bytes_per_token;
  out.perplexity = elementary::exp(out.loss);
  if (base) {
    out.from_base = Divergence{.kl_mean = kernels::tree_sum(all_divergences) / scored,
                               .same_top = static_cast<double>(same_top) / scored};
    require_finite(out.from_base->kl_mean, "the divergence from the base");
    out.from_base->kl_99 = percentile(all_divergences, 0.99);
  }
  return out;
}

}  // namespace

Evaluation evaluate(nn::Model& model, std::span<const std::int32_t> tokens, double bytes_per_token,
                    nn::Model* base, const EvaluationLimits& limits) {
  std::optional<KeptLogits> once;
  if (base) once.emplace(*base, tokens, 0);
  return evaluate_against(model, tokens, bytes_per_token, once ? &*once : nullptr, limits);
}

Evaluation evaluate(nn::Model& model, double bytes_per_token, KeptLogits& base) {
  return evaluate_against(model, base.text(), bytes_per_token, &base, {});
}

std::vector<TaskQuestion> encoded_task(const data::Tokenizer& tokenizer,
                                       std::span<const data::TenseExample> examples,
                                       std::int64_t context) {
  check(context > 0, "task", "a context of ", context, " tokens");
  // The last token is only predicted.
  const std::size_t most = static_cast<std::size_t>(context) + 1;
  std::vector<TaskQuestion> questions;
  for (const data::TenseExample& e : examples) {
    TaskQuestion& q = questions.emplace_back(TaskQuestion{.prompt = tokenizer.encode(e.prompt)});
    std::size_t longest = 0;
    for (const std::string& candidate : e.candidates) {
      q.labels.push_back(tokenizer.encode(candidate));
      longest = std::max(longest, q.labels.back().size());
      if (q.prompt.empty() || q.labels.back().empty()) {
        throw Error({.fault = Fault::input,
                     .where = "task",
                     .what = "a question or a label without text",
                     .found = str('"', e.prompt, "\", \"", candidate, '"')});
      }
    }
    // All labels are compared after the same prompt: what the longest leaves room for.
    if (longest >= most) {
      throw Error({.where = "task",
                   .what = "a label does not fit the context",
                   .field = "model.block_size",
                   .found = str(context),
                   .expected = str("at least ", longest),
                   .hint = "data.task_examples = 0 leaves the task out"});
    }
    if (q.prompt.size() + longest > most) {
      q.prompt.erase(q.prompt.begin(), q.prompt.begin() + static_cast<std::ptrdiff_t>(
                                                              q.prompt.size() + longest - most));
    }
  }
  return questions;
}

namespace {

/// −log p(label | prompt) of every label, in nats.
std::vector<double> label_losses(nn::Model& model, LogitPieces& pieces, const TaskQuestion& q) {
  const std::int64_t V = model.sizes().vocab_size, P = std::ssize(q.prompt);
  const std::size_t B = q.labels.size();
  std::size_t longest = 1;
  for (const std::vector<std::int32_t>& label : q.labels) longest = std::max(longest, label.size());
  const std::size_t T = longest - 1;  // the last token is only predicted
  nn::KvShape shape = nn::kv_shape(model.sizes());
  shape.capacity = P + static_cast<std::int64_t>(T);
  nn::Fp32KvCache prompt(shape);
  pieces.read({q.prompt, 1, P}, &prompt);

  std::vector<double> out(B), losses(B * T);
  std::vector<std::int32_t> inputs(B * T, 0), targets(B * T, -1);  // shorter labels are padded
  const std::span<const real> next = pieces.logits(P - 1, 1);
  for (std::size_t b = 0; b < B; ++b) {
    const std::span<const std::int32_t> label = q.labels[b];
    const auto at = static_cast<std::ptrdiff_t>(b * T);
    kernels::cross_entropy_forward(std::span(out).subspan(b, 1), next, label.first(1), 1, V);
    std::ranges::copy(label.first(label.size() - 1), inputs.begin() + at);
    std::ranges::copy(label.subspan(1), targets.begin() + at);
  }
  if (T > 0) {
    nn::Fp32KvCache labels(prompt, static_cast<std::int64_t>(B));
    pieces.read({inputs, static_cast<std::int64_t>(B), static_cast<std::int64_t>(T)}, &labels);
    for_pieces(model, std::ssize(losses), [&](std::int64_t row, std::int64_t n) {
      const auto part = [&](auto& all) {
        return std::span(all).subspan(static_cast<std::size_t>(row), static_cast<std::size_t>(n));
      };
      kernels::cross_entropy_forward(part(losses), pieces.logits(row, n), part(targets), n, V);
    });
  }
  for (std::size_t b = 0; b < B; ++b) {
    out[b] += kernels::tree_sum(std::span<const double>(losses).subspan(b * T, T));
  }
  return out;
}

}  // namespace

double task_accuracy(nn::Model& model, const data::Tokenizer& tokenizer,
                     std::span<const data::TenseExample> examples) {
  if (examples.empty()) return 0;
  const std::vector<TaskQuestion> questions =
      encoded_task(tokenizer, examples, model.sizes().block_size);
  const std::int64_t n = std::ssize(questions);
  std::vector<std::uint8_t> right(questions.size());
  // A question is too little work for several threads: each takes some, all of one by itself.
  parallel_for((n + kQuestionsPerTask - 1) / kQuestionsPerTask, [&](std::int64_t task) {
    LogitPieces pieces(model);
    const std::int64_t first = task * kQuestionsPerTask;
    for (std::int64_t i = first; i < std::min(n, first + kQuestionsPerTask); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const std::vector<double> losses = label_losses(model, pieces, questions[at]);
      right[at] = std::ranges::min_element(losses) - losses.begin() == examples[at].correct;
    }
  });
  return static_cast<double>(std::ranges::count(right, 1)) / static_cast<double>(examples.size());
}

}  // namespace notch::experiments
