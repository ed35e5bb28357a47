#include "nn/speculate.h"

#include <cmath>
#include <map>

#include "nn/gpt.h"
#include "tests/catch.h"

namespace speculate_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;

constexpr std::int64_t kVocab = 5;

/// Random weights, large enough for decided distributions.
std::unique_ptr<Gpt> tiny_model(std::uint64_t seed, std::int64_t block = 16) {
  auto model = std::make_unique<Gpt>(GptConfig{
      .vocab_size = kVocab, .block_size = block, .n_layer = 1, .n_head = 2, .n_embd = 16});
  model->init(seed);
  for (Param& p : model->params().params())
    if (p.value.shape.rank() == 2)
      for (real& v : p.value.flat()) v *= 20;
  return model;
}

struct Pair {
  std::unique_ptr<Gpt> large = tiny_model(1), small = tiny_model(2);
  Fp32KvCache large_cache{kv_shape(large->sizes())}, small_cache{kv_shape(small->sizes())};
  Speculation run(std::span<const std::int32_t> prompt, std::int64_t n, std::int64_t k,
                  const Sampling& sampling, Rng& rng) {
    return speculate(*large, large_cache, {*small, small_cache, k}, prompt, n, sampling, rng);
  }
};

/// p(next | text) of a model by itself, in double, through the sampling.
std::vector<double> distribution(const Gpt& model, std::span<const std::int32_t> text,
                                 const Sampling& sampling) {
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var logits =
      model.next_logits(g, {.ids = text, .B = 1, .T = static_cast<std::int64_t>(text.size())});
  Sampler sampler(sampling);
  const std::span<const double> weights = sampler.weights(logits.value().flat());
  std::vector<double> p(weights.begin(), weights.end());
  for (double& v : p) v /= sampler.total();
  return p;
}

/// Probability of every continuation of three tokens.
std::map<std::vector<std::int32_t>, double> three_tokens(const Gpt& model,
                                                         const std::vector<std::int32_t>& prompt,
                                                         const Sampling& sampling) {
  std::map<std::vector<std::int32_t>, double> all;
  for (std::int32_t a = 0; a < kVocab; ++a)
    for (std::int32_t b = 0; b < kVocab; ++b)
      for (std::int32_t c = 0; c < kVocab; ++c) {
        std::vector<std::int32_t> text = prompt;
        double p = 1;
        for (const std::int32_t id : {a, b, c}) {
          p *= distribution(model, text, sampling)[static_cast<std::size_t>(id)];
          text.push_back(id);
        }
        all[{a, b, c}] = p;
      }
  return all;
}

TEST_CASE("speculated tokens have the large model's distribution") {
  Pair models;
  const std::vector<std::int32_t> prompt{3, 1};
  for (const Sampling& sampling : {Sampling{}, Sampling{.temperature = 1.5, .top_k = 4}}) {
    const auto expected = three_tokens(*models.large, prompt, sampling);
    std::map<std::vector<std::int32_t>, int> seen;
    constexpr int kRuns = 20'000;
    Rng rng(7);
    std::int64_t proposed = 0, accepted = 0;
    for (int i = 0; i < kRuns; ++i) {
      const Speculation s = models.run(prompt, 3, 2, sampling, rng);
      REQUIRE(s.tokens.size() == 3);
      ++seen[s.tokens];
      proposed += s.proposed;
      accepted += s.accepted;
    }
    // The draft is another model: some proposals are refused, some are not.
    CHECK(accepted > 0);
    CHECK(accepted < proposed);
    // Cells that expect fewer than 5 are joined, as the chi-square approximation wants.
    double statistic = 0, rest_expected = 0, rest_seen = 0, cells = 0;
    for (const auto& [tokens, p] : expected) {
      const double want = kRuns * p, got = seen[tokens];
      if (p == 0) CHECK(got == 0);
      if (want < 5) {
        rest_expected += want;
        rest_seen += got;
        continue;
      }
      statistic += (got - want) * (got - want) / want;
      ++cells;
    }
    if (rest_expected >= 5) {
      statistic += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
      ++cells;
    }
    REQUIRE(cells >= 10);
    // Mean and standard deviation of chi-square with k degrees of freedom are k and √(2k).
    const double k = cells - 1;
    CHECK(statistic < k + 5 * std::sqrt(2 * k));
  }
}

TEST_CASE("greedy speculation writes the large model's text, past the context") {
  Pair models;
  for (const std::vector<std::int32_t>& prompt :
       std::vector<std::vector<std::int32_t>>{{0}, {1, 2, 3}, {4, 4, 1, 0, 2, 2, 1}}) {
    Rng a(1), b(1);
    const auto plain = generate(*models.large, prompt, 60, {.temperature = 0}, a);
    for (const std::int64_t k : {1, 4, 7}) {
      const Speculation s = models.run(prompt, 60, k, {.temperature = 0}, b);
      CHECK(s.tokens == plain);
      CHECK(s.passes >= 60 / (k + 1));
    }
  }
}

TEST_CASE("a draft that is the model itself is always accepted") {
  Pair models;
  models.small = tiny_model(1);
  Rng rng(3);
  const std::vector<std::int32_t> prompt{2};
  const Speculation s = models.run(prompt, 15, 4, {}, rng);
  CHECK(s.accepted == s.proposed);
  CHECK(s.passes == 3);  // 4 accepted and one more, three times
}

TEST_CASE("the draft length is the one with the most tokens per time") {
  // By hand: at α = 0.8 and cost 0.2, n = 0 … 5 give 1, 1.5, 1.743, 1.845, 1.868, 1.845.
  CHECK(best_draft_length(0.8, 0.2, 7) == 4);
  CHECK(best_draft_length(0.8, 0.2, 3) == 3);
  CHECK(best_draft_length(0.5, 0.6, 7) == 0);  // 1.5/1.6 is a loss
  CHECK(best_draft_length(0.5, 0.4, 7) == 1);  // 1.5/1.4 against 1.75/1.8
  CHECK(best_draft_length(0, 0, 7) == 7);      // nothing gained, nothing lost
  CHECK(best_draft_length(1, 0.9, 7) == 7);
}

TEST_CASE("a draft that does not pay is dropped, one that does is used") {
  Pair models;
  const std::vector<std::int32_t> prompt{2};
  Rng rng(5), same(5), again(5);
  const Draft poor{*models.small, models.small_cache, 7, 0.6};
  const Speculation lost = speculate(*models.large, models.large_cache, poor, prompt, 400, {}, rng);
  // At first, while nothing is known; then one in 32 passes.
  CHECK(lost.proposed <= 20 + 400 / 32 + 1);
  CHECK(speculate(*models.large, models.large_cache, poor, prompt, 400, {}, same).tokens ==
        lost.tokens);
  models.small = tiny_model(1);
  const Draft perfect{*models.small, models.small_cache, 7, 0.1};
  const Speculation won =
      speculate(*models.large, models.large_cache, perfect, prompt, 400, {}, again);
  CHECK(won.accepted == won.proposed);
  CHECK(won.passes <= 100);  // 4 tokens each at least: 8, but for the first and where the window moves
}

TEST_CASE("generation stops when told, and other vocabularies are refused") {
  Pair models;
  Rng rng(4);
  const std::vector<std::int32_t> prompt{2};
  int told = 0;
  const Speculation s =
      speculate(*models.large, models.large_cache, {*models.small, models.small_cache, 3}, prompt,
                50, {}, rng, [&](std::int32_t) { return ++told < 2; });
  CHECK(s.tokens.size() == 2);
  Gpt other(GptConfig{.vocab_size = 6, .block_size = 16, .n_layer = 1, .n_head = 2, .n_embd = 16});
  CHECK(error_of([&] {
          speculate(*models.large, models.large_cache, {other, models.small_cache, 3}, prompt, 5,
                    {}, rng);
        }).fault == Fault::usage);
  CHECK(error_of([&] { models.run(prompt, 5, 8, {}, rng); }).fault == Fault::usage);
}

TEST_CASE("models of padded tables speculate over the ids that have text") {
  const auto padded = [](const Gpt& model, std::int64_t vocab) {
    GptConfig config = model.config();
    config.vocab_size = vocab;
    auto wide = std::make_unique<Gpt>(config);
    for (Param& p : wide->params().params()) {
      const std::span<real> from = model.params().find(p.name)->value.flat();
      std::ranges::fill(p.value.flat(), real{0});
      std::ranges::copy(from, p.value.data);
    }
    return wide;
  };
  const auto large = tiny_model(1), small = tiny_model(2);
  const auto large_wide = padded(*large, 9), small_wide = padded(*small, 12);
  const std::vector<std::int32_t> prompt{1, 2};
  Fp32KvCache a(kv_shape(large->sizes())), b(kv_shape(small->sizes()));
  for (const double temperature : {0.0, 1.0}) {
    const Sampling sampling{.temperature = temperature, .ids = static_cast<int>(kVocab)};
    Rng expected_rng(3);
    const auto expected =
        speculate(*large, a, {*small, b, 3}, prompt, 12, sampling, expected_rng).tokens;
    for (const Gpt* model : {large.get(), large_wide.get()}) {
      for (const Gpt* draft : {small.get(), small_wide.get()}) {
        Rng rng(3);
        CHECK(speculate(*model, a, {*draft, b, 3}, prompt, 12, sampling, rng).tokens == expected);
      }
    }
  }
  // Caches of the text alone are enough, one position less is not.
  Fp32KvCache c(1, 2, 16, 14), d(1, 2, 16, 14), less(1, 2, 16, 13);
  Rng one(3), two(3);
  CHECK(speculate(*large, c, {*small, d, 3}, prompt, 12, {}, one).tokens ==
        speculate(*large, a, {*small, b, 3}, prompt, 12, {}, two).tokens);
  Rng rng(3);
  const auto refused = [&](KvCache& cache, const Gpt& draft, std::int64_t n) {
    return error_of([&] {
             speculate(*large, cache, {draft, b, 3}, prompt, n, {}, rng);
           }).fault == Fault::usage;
  };
  CHECK(refused(less, *small, 12));
  CHECK(refused(a, *small, -1));
  CHECK(refused(a, *small_wide, 2));
}

}  // namespace speculate_test
