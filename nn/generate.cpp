#include "nn/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace notch::nn {
namespace {

struct Candidate {
  std::int32_t id = 0;
  double weight = 0;  // not normalised: exp((logit - max) / temperature)
};

bool more_probable(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

double total(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

// The fewest first candidates that hold the share `top_p` of all; they are sorted.
std::size_t nucleus(std::span<const Candidate> sorted, double top_p) {
  const double wanted = top_p * total(sorted);
  double sum = 0;
  std::size_t n = 0;
  while (n < sorted.size() && (n == 0 || sum < wanted)) sum += sorted[n++].weight;
  return n;
}

// The id of the largest logit; of equals the smallest.
std::int32_t best(std::span<const real> logits) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool valid = !std::isnan(logits[i]) && logits[i] < std::numeric_limits<real>::infinity();
    if (!valid) {
      throw Error({.fault = Fault::numeric,
                   .where = "sample",
                   .what = str("the logit of token ", i, " is not finite"),
                   .found = str(logits[i])});
    }
    if (logits[i] > logits[at]) at = i;
  }
  if (!std::isfinite(logits[at])) {
    throw Error({.fault = Fault::numeric, .where = "sample", .what = "every logit is -inf"});
  }
  return static_cast<std::int32_t>(at);
}

// Feeds tokens to a model with a cache; its answer is the logits after the last one.
class Reader {
 public:
  explicit Reader(const Gpt& model)
      : model_(model),
        cache_(model.config().n_layer, model.config().n_head, model.config().n_embd,
               model.config().block_size) {}

  bool full() const { return cache_.length() == cache_.capacity(); }
  void forget() { cache_.clear(); }

  // All but the last in one pass that runs no head: the logits of a prompt are many, and unused.
  std::span<const real> read(std::span<const std::int32_t> ids) {
    const std::span<const std::int32_t> before = ids.first(ids.size() - 1);
    if (!before.empty()) {
      graph_.begin(Graph::Mode::inference);
      model_.hidden(graph_, tokens(before), &cache_);
    }
    step_.begin(Graph::Mode::inference);
    return model_.logits(step_, tokens(ids.last(1)), &cache_).value().flat();
  }

 private:
  static Tokens tokens(std::span<const std::int32_t> ids) {
    return {.ids = ids, .B = 1, .T = static_cast<std::int64_t>(ids.size())};
  }

  const Gpt& model_;
  Fp32KvCache cache_;
  Graph graph_, step_;  // two, so that each repeats its own shapes and keeps its plan
};

void check_request(const GptConfig& config, std::span<const std::int32_t> prompt, std::int64_t n) {
  if (prompt.empty()) {
    throw Error({.fault = Fault::usage,
                 .where = "generate",
                 .what = "the prompt has no tokens",
                 .hint = "give at least one character, or the end-of-text token"});
  }
  check(n >= 0, "generate", "n is ", n, "; expected at least 0");
  for (const std::int32_t id : prompt) {
    if (id >= 0 && id < config.vocab_size) continue;
    throw Error({.fault = Fault::usage,
                 .where = "generate",
                 .what = "a prompt token is outside the vocabulary",
                 .found = std::to_string(id),
                 .expected = str("0 to ", config.vocab_size - 1),
                 .hint = "is this the tokenizer the model was trained with?"});
  }
}

}  // namespace

void check_sampling(const Sampling& s) {
  check(std::isfinite(s.temperature) && s.temperature >= 0, "sampling", "temperature is ",
        s.temperature, "; expected a number >= 0 (0: always the most probable token)");
  check(s.top_k >= 0, "sampling", "top_k is ", s.top_k, "; expected >= 0 (0: all tokens)");
  check(s.top_p > 0 && s.top_p <= 1, "sampling", "top_p is ", s.top_p,
        "; expected 0 < top_p <= 1 (1: all tokens)");
}

std::int32_t sample(std::span<const real> logits, const Sampling& sampling, Rng& rng) {
  check_sampling(sampling);
  check(!logits.empty(), "sample", "there are no logits");
  const std::int32_t greedy = best(logits);
  if (sampling.temperature == 0) return greedy;

  const auto max = static_cast<double>(logits[static_cast<std::size_t>(greedy)]);
  std::vector<Candidate> candidates(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double below = static_cast<double>(logits[i]) - max;  // first: a tiny T cannot overflow
    candidates[i] = {static_cast<std::int32_t>(i), std::exp(below / sampling.temperature)};
  }
  const auto k = static_cast<std::size_t>(sampling.top_k);
  if (k > 0 && k < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k),
                     candidates.end(), more_probable);
    candidates.resize(k);
  }
  if (sampling.top_p < 1) {
    std::ranges::sort(candidates, more_probable);
    candidates.resize(nucleus(candidates, sampling.top_p));
  }
  // nth_element's order differs between standard libraries, and the draw depends on the order.
  if (candidates.size() < logits.size()) std::ranges::sort(candidates, {}, &Candidate::id);
  double left = rng.uniform() * total(candidates);
  std::int32_t chosen = greedy;  // rounding may leave a rest behind the last candidate
  for (const Candidate& c : candidates) {
    if (left < c.weight) return c.id;
    left -= c.weight;
    if (c.weight > 0) chosen = c.id;
  }
  return chosen;
}

std::vector<std::int32_t> generate(const Gpt& model, std::span<const std::int32_t> prompt,
                                   std::int64_t n, const Sampling& sampling, Rng& rng,
                                   const OnToken& on_token) {
  check_sampling(sampling);
  check_request(model.config(), prompt, n);
  const auto block = static_cast<std::size_t>(model.config().block_size);
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  const auto last = [&](std::size_t count) {
    return std::span(std::as_const(text)).last(std::min(count, text.size()));
  };

  Reader reader(model);
  std::size_t unread = block;  // at the end of the text
  for (std::int64_t i = 0; i < n; ++i) {
    if (reader.full()) {
      reader.forget();
      unread = std::max<std::size_t>(1, block / 2);
    }
    const std::span<const real> logits = reader.read(last(unread));
    text.push_back(sample(logits, sampling, rng));
    unread = 1;
    if (on_token && !on_token(text.back())) break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace notch::nn
