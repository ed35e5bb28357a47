#include "experiments/run/llama_perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "experiments/run/logit_pieces.h"

namespace notch::experiments {
namespace {

/// What there is to know of one prediction.
struct Scored {
  double nll = 0, base_nll = 0, kl = 0, change = 0;
  bool same_top = false;
};

struct Distribution {
  std::span<const real> logits;
  std::size_t top = 0;
  double log_sum = 0;  // ln Σ exp(logit)

  explicit Distribution(std::span<const real> row) : logits(row) {
    top = static_cast<std::size_t>(std::ranges::max_element(row) - row.begin());
    const auto most = static_cast<double>(row[top]);
    double sum = 0;
    for (const real v : row) sum += std::exp(static_cast<double>(v) - most);
    log_sum = most + std::log(sum);
  }
  double log(std::size_t i) const { return static_cast<double>(logits[i]) - log_sum; }
};

Scored score(std::span<const real> row, std::size_t target) {
  return {.nll = -Distribution(row).log(target)};
}

Scored score(std::span<const real> row, std::span<const real> base_row, std::size_t target) {
  const Distribution q(row), p(base_row);
  Scored s{.nll = -q.log(target), .base_nll = -p.log(target), .same_top = q.top == p.top};
  for (std::size_t i = 0; i < row.size(); ++i) s.kl += std::exp(p.log(i)) * (p.log(i) - q.log(i));
  s.change = std::exp(-s.nll) - std::exp(-s.base_nll);
  return s;
}

template <class Value>
Estimate mean_of(std::span<const Scored> all, const Value& value) {
  double sum = 0, squares = 0;
  for (const Scored& s : all) {
    const double x = value(s);
    sum += x, squares += x * x;
  }
  const auto n = static_cast<double>(all.size());
  const double mean = sum / n, variance = squares / n - mean * mean;
  return {mean, variance > 0 && n > 1 ? std::sqrt(variance / (n - 1)) : 0};
}

template <class Value>
Quantiles quantiles_of(std::span<const Scored> all, const Value& value) {
  std::vector<double> sorted;
  for (const Scored& s : all) sorted.push_back(value(s));
  std::ranges::sort(sorted);
  const auto at = [&](double f) {
    const double rank = f * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    const double part = rank - static_cast<double>(below);
    return (1 - part) * sorted[below] + part * sorted[std::min(below + 1, sorted.size() - 1)];
  };
  return {.low = sorted.front(),
          .q1 = at(0.01),
          .q5 = at(0.05),
          .q10 = at(0.1),
          .q25 = at(0.25),
          .median = at(0.5),
          .q75 = at(0.75),
          .q90 = at(0.9),
          .q95 = at(0.95),
          .q99 = at(0.99),
          .q999 = at(0.999),
          .high = sorted.back()};
}

Estimate perplexity(const Estimate& nll) {
  return {std::exp(nll.value), std::exp(nll.value) * nll.error};
}

BaseComparison compare(std::span<const Scored> all) {
  const auto nll = mean_of(all, [](const Scored& s) { return s.nll; });
  const auto base = mean_of(all, [](const Scored& s) { return s.base_nll; });
  const auto n = static_cast<double>(all.size());
  double products = 0;
  for (const Scored& s : all) products += (s.nll - nll.value) * (s.base_nll - base.value);
  const Estimate square = mean_of(all, [](const Scored& s) { return s.change * s.change; });
  const double rms = std::sqrt(square.value);
  const Estimate same = mean_of(all, [](const Scored& s) { return s.same_top ? 1.0 : 0.0; });
  const auto kl = [](const Scored& s) { return s.kl; };
  const auto change = [](const Scored& s) { return s.change; };
  const double spread = nll.error * base.error;
  return {.base_perplexity = perplexity(base),
          .correlation = spread > 0 ? products / n / (n - 1) / spread : 1,
          .log_ratio = mean_of(all, [](const Scored& s) { return s.nll - s.base_nll; }),
          .kl = mean_of(all, kl),
          .kl_quantiles = quantiles_of(all, kl),
          .change = mean_of(all, change),
          .change_quantiles = quantiles_of(all, change),
          .rms_change = {rms, rms > 0 ? square.error / (2 * rms) : 0},
          .same_top = same};
}

void check_context(const nn::Model& model, std::int64_t ctx) {
  check(ctx >= 4 && ctx <= model.sizes().block_size, "llama protocol", "chunks of ", ctx,
        " tokens, and the model's context is ", model.sizes().block_size,
        "; set --ctx to 4 up to that");
}

}  // namespace

LlamaPerplexity llama_perplexity(nn::Model& model, std::span<const std::int32_t> tokens,
                                 const LlamaProtocol& protocol, nn::Model* base) {
  const std::int64_t ctx = protocol.ctx, V = model.sizes().vocab_size;
  check_context(model, ctx);
  if (base) {
    check_context(*base, ctx);
    check(base->sizes().vocab_size == V, "llama protocol", "the base has vocab_size ",
          base->sizes().vocab_size, ", the model ", V);
  }
  if (std::ssize(tokens) < 2 * ctx) {
    throw Error({.fault = Fault::input,
                 .where = "llama protocol",
                 .what = "the text is shorter than two chunks",
                 .found = str(tokens.size(), " tokens"),
                 .expected = str("at least ", 2 * ctx),
                 .hint = "give more text, or a smaller --ctx"});
  }
  const std::int64_t whole = std::ssize(tokens) / ctx;
  const std::int64_t chunks = protocol.chunks > 0 ? std::min(protocol.chunks, whole) : whole;
  const std::int64_t first = ctx / 2, per_chunk = ctx - 1 - first;
  std::vector<Scored> all(static_cast<std::size_t>(chunks * per_chunk));
  LogitPieces pieces(model);
  std::optional<LogitPieces> base_pieces;
  if (base) base_pieces.emplace(*base);
  const std::int64_t per_batch = std::max<std::int64_t>(1, kTokensPerBatch / ctx);
  std::vector<std::int32_t> ids;
  for (std::int64_t at = 0; at < chunks; at += per_batch) {
    const std::int64_t B = std::min(per_batch, chunks - at);
    const auto part =
        tokens.subspan(static_cast<std::size_t>(at * ctx), static_cast<std::size_t>(B * ctx));
    ids.assign(part.begin(), part.end());
    if (protocol.before) {
      for (std::int64_t b = 0; b < B; ++b)
        ids[static_cast<std::size_t>(b * ctx)] = *protocol.before;
    }
    pieces.read({ids, B, ctx});
    if (base) base_pieces->read({ids, B, ctx});
    for (std::int64_t b = 0; b < B; ++b) {
      for_pieces(model, per_chunk, [&](std::int64_t begin, std::int64_t n) {
        const std::int64_t position = first + begin;
        const std::span<const real> q = pieces.logits(b * ctx + position, n);
        const std::span<const real> p =
            base ? base_pieces->logits(b * ctx + position, n) : std::span<const real>{};
        parallel_for(n, [&](std::int64_t r) {
          const auto row = [&](std::span<const real> logits) {
            return logits.subspan(static_cast<std::size_t>(r * V), static_cast<std::size_t>(V));
          };
          const auto target =
              static_cast<std::size_t>(part[static_cast<std::size_t>(b * ctx + position + r + 1)]);
          all[static_cast<std::size_t>((at + b) * per_chunk + begin + r)] =
              base ? score(row(q), row(p), target) : score(row(q), target);
        });
      });
    }
  }
  const Estimate nll = mean_of(all, [](const Scored& s) { return s.nll; });
  if (!std::isfinite(nll.value)) {
    throw Error({.fault = Fault::numeric,
                 .where = "llama protocol",
                 .what = "the loss is not finite",
                 .found = str(nll.value),
                 .hint = "the model holds a NaN or an infinity; `notch inspect` names the tensor"});
  }
  LlamaPerplexity out{.chunks = chunks, .scored = std::ssize(all), .perplexity = perplexity(nll)};
  if (base) out.from_base = compare(all);
  return out;
}

}  // namespace notch::experiments
