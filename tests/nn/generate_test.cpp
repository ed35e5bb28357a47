#include "nn/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "nn/gpt.h"
#include "nn/llama.h"
#include "tests/catch.h"
#include "tests/nn/rounding_bound.h"
#include "tests/random_ids.h"

namespace generate_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;

constexpr real kInfinity = std::numeric_limits<real>::infinity();
constexpr real kNan = std::numeric_limits<real>::quiet_NaN();

// Weights ten times GPT-2's: logits that differ clearly and attention that is not uniform.
std::unique_ptr<Gpt> lively_model(std::int64_t block_size) {
  auto model = std::make_unique<Gpt>(GptConfig{
      .vocab_size = 13, .block_size = block_size, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model->init(3);
  for (Param& p : model->params().params()) {
    if (p.value.shape.rank() == 2) {
      for (real& v : p.value.flat()) v *= 10;
    }
  }
  return model;
}

std::vector<std::int32_t> random_tokens(std::size_t n, std::uint64_t seed = 1) {
  return notch::test::random_ids(n, 13, seed);
}

// Logits [T, V] of one forward, with or without a cache.
std::vector<real> logits_of(const Gpt& model, std::span<const std::int32_t> ids,
                            KvCache* cache = nullptr) {
  Graph g;
  g.begin(Graph::Mode::inference);
  const Tokens tokens{.ids = ids, .B = 1, .T = static_cast<std::int64_t>(ids.size())};
  const std::span<const real> all = model.logits(g, tokens, cache).value().flat();
  return {all.begin(), all.end()};
}

// Logits whose softmax is `p`.
std::vector<real> log_of(const std::vector<double>& p) {
  std::vector<real> logits;
  for (const double x : p) logits.push_back(static_cast<real>(std::log(x) + 3));
  return logits;
}

std::vector<double> frequencies(const std::vector<real>& logits, const Sampling& sampling,
                                int draws) {
  Rng rng(11);
  std::vector<int> count(logits.size());
  for (int i = 0; i < draws; ++i) {
    ++count[static_cast<std::size_t>(sample(logits, sampling, rng))];
  }
  std::vector<double> share;
  for (const int n : count) share.push_back(static_cast<double>(n) / draws);
  return share;
}

// Each share within 5 standard errors of its probability; exactly 0 where that is 0.
void check_frequencies(const std::vector<real>& logits, const Sampling& sampling,
                       const std::vector<double>& expected) {
  constexpr int kDraws = 40'000;
  const std::vector<double> share = frequencies(logits, sampling, kDraws);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double p = expected[i];
    CHECK(std::abs(share[i] - p) <= 5 * std::sqrt(p * (1 - p) / kDraws));
  }
}

TEST_CASE("cached logits equal those of one full pass, however text is cut") {
  const auto model = lively_model(12);
  const std::vector<std::int32_t> ids = random_tokens(12);
  const std::vector<real> full = logits_of(*model, ids);
  // The same sums in another order; attention's over up to 12 positions or 8 channels of a head.
  const std::vector<double> bounds =
      test::rounding_bounds(*model, {.ids = ids, .B = 1, .T = 12}, 16 + 12);
  REQUIRE(bounds.size() == full.size());
  // The bound says something: it is small beside the logits.
  double scale = 0;
  for (const real v : full) scale = std::max(scale, std::abs(static_cast<double>(v)));
  REQUIRE(scale > 1);
  CHECK(std::ranges::max(bounds) < 2e-2);
  const std::vector<std::vector<std::size_t>> cuts{{12},
                                                   {7, 5},
                                                   {11, 1},
                                                   {1, 11},
                                                   {5, 1, 1, 1, 1, 1, 1, 1},
                                                   {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
  for (const std::vector<std::size_t>& cut : cuts) {
    Fp32KvCache cache(2, 2, 16, 12);
    std::vector<real> pieced;
    std::size_t at = 0;
    for (const std::size_t n : cut) {
      const std::vector<real> part = logits_of(*model, std::span(ids).subspan(at, n), &cache);
      pieced.insert(pieced.end(), part.begin(), part.end());
      at += n;
    }
    CHECK(cache.length() == 12);
    for (std::size_t i = 0; i < full.size(); ++i) {
      CHECK(std::abs(static_cast<double>(full[i]) - static_cast<double>(pieced[i])) <= bounds[i]);
    }
  }
}

TEST_CASE("a cleared cache has no memory of what it held") {
  const auto model = lively_model(8);
  Fp32KvCache cache(2, 2, 16, 8);
  logits_of(*model, random_tokens(8, 5), &cache);
  CHECK(error_of([&] { logits_of(*model, random_tokens(1), &cache); }).fault == Fault::usage);
  cache.clear();
  const std::vector<real> again = logits_of(*model, random_tokens(6), &cache);
  Fp32KvCache fresh(2, 2, 16, 8);
  CHECK(again == logits_of(*model, random_tokens(6), &fresh));
}

TEST_CASE("copies of a cached prompt go on as the prompt alone would") {
  const auto model = lively_model(12);
  const std::vector<std::int32_t> prompt = random_tokens(9, 4), ways = random_tokens(6, 8);
  Fp32KvCache one(2, 2, 16, 12);
  logits_of(*model, prompt, &one);
  Fp32KvCache three(one, 3);
  CHECK(three.length() == 9);
  Graph g;
  g.begin(Graph::Mode::inference);
  const std::span<const real> all =
      model->logits(g, {.ids = ways, .B = 3, .T = 2}, &three).value().flat();
  for (std::size_t i = 0; i < 3; ++i) {
    Fp32KvCache alone(2, 2, 16, 12);
    logits_of(*model, prompt, &alone);
    const std::vector<real> expected = logits_of(*model, std::span(ways).subspan(2 * i, 2), &alone);
    CHECK(std::ranges::equal(all.subspan(i * expected.size(), expected.size()), expected));
  }
  CHECK(error_of([&] { Fp32KvCache(three, 2); }).fault == Fault::usage);
}

TEST_CASE("temperature 0 takes the first largest logit and draws nothing") {
  Rng rng(1);
  const Rng::State before = rng.state();
  CHECK(sample(std::vector<real>{-1, 2, 2, 0}, {.temperature = 0}, rng) == 1);
  CHECK(sample(std::vector<real>{-kInfinity, -5}, {.temperature = 0}, rng) == 1);
  CHECK(sample(std::vector<real>{7}, {.temperature = 0}, rng) == 0);
  CHECK(rng.state() == before);
}

TEST_CASE("top_k = 1, a tiny top_p and a tiny temperature are greedy") {
  Rng rng(2), noise(3);
  for (int i = 0; i < 200; ++i) {
    std::vector<real> logits(20);
    for (real& v : logits) v = static_cast<real>(noise.normal());
    const std::int32_t greedy = sample(logits, {.temperature = 0}, rng);
    CHECK(sample(logits, {.top_k = 1}, rng) == greedy);
    CHECK(sample(logits, {.top_p = 1e-9}, rng) == greedy);
    CHECK(sample(logits, {.temperature = 1e-300}, rng) == greedy);
  }
  // Of equals at the edge the smaller ids stay.
  for (int i = 0; i < 50; ++i) {
    CHECK(sample(std::vector<real>{1, 2, 2, 2}, {.top_k = 1}, rng) == 1);
    CHECK(sample(std::vector<real>{2, 1, 2, 2}, {.top_k = 2}, rng) != 3);
  }
}

TEST_CASE("tokens come with the probabilities of the tempered cut softmax") {
  const std::vector<real> logits = log_of({0.15, 0.5, 0.05, 0.3});
  check_frequencies(logits, {}, {0.15, 0.5, 0.05, 0.3});
  check_frequencies(logits, {.top_k = 4}, {0.15, 0.5, 0.05, 0.3});
  check_frequencies(logits, {.top_k = 2}, {0, 0.625, 0, 0.375});
  check_frequencies(logits, {.top_p = 0.79}, {0, 0.625, 0, 0.375});
  check_frequencies(logits, {.top_p = 0.81}, {0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95});
  check_frequencies(logits, {.top_p = 0.49}, {0, 1, 0, 0});
  // Temperature 1/2 squares the probabilities: 0.25 and 0.09 of 0.365.
  check_frequencies(logits, {.temperature = 0.5},
                    {0.0225 / 0.365, 0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365});
  // top_p counts after temperature: now the first alone has 0.685.
  check_frequencies(logits, {.temperature = 0.5, .top_p = 0.6}, {0, 1, 0, 0});
  // top_p counts after top_k: of the first three, the first has 0.526.
  check_frequencies(logits, {.top_k = 3, .top_p = 0.52}, {0, 1, 0, 0});
  check_frequencies({-kInfinity, 0, 0}, {}, {0, 0.5, 0.5});
}

TEST_CASE("logits that are no distribution are a numeric error") {
  Rng rng(1);
  for (const std::vector<real>& logits : std::vector<std::vector<real>>{
           {kNan, 0}, {0, kNan}, {kInfinity, 0}, {0, kInfinity}, {-kInfinity, -kInfinity}}) {
    for (const double temperature : {0.0, 1.0}) {
      const Sampling sampling{.temperature = temperature};
      CHECK(error_of([&] { sample(logits, sampling, rng); }).fault == Fault::numeric);
    }
  }
  const auto model = lively_model(8);
  model->params().find("h.1.mlp.c_fc.weight")->value.data[0] = kNan;
  const std::vector<std::int32_t> prompt{1, 2};
  CHECK(error_of([&] { generate(*model, prompt, 1, {}, rng); }).fault == Fault::numeric);
}

TEST_CASE("sampling outside its ranges is a usage error") {
  for (const Sampling& s :
       {Sampling{.temperature = -1}, Sampling{.temperature = std::nan("")},
        Sampling{.temperature = std::numeric_limits<double>::infinity()}, Sampling{.top_k = -1},
        Sampling{.top_p = 0}, Sampling{.top_p = 1.1}, Sampling{.top_p = std::nan("")}}) {
    CHECK(error_of([&] { check_sampling(s); }).fault == Fault::usage);
  }
}

TEST_CASE("greedy generation follows full passes, also past block_size") {
  for (const std::int64_t block : {1, 2, 5, 8}) {
    const auto model = lively_model(block);
    for (const std::size_t prompt_length : std::vector<std::size_t>{1, 3, 8, 30}) {
      const std::vector<std::int32_t> prompt = random_tokens(prompt_length, 9);
      Rng rng(1);
      const std::vector<std::int32_t> tokens =
          generate(*model, prompt, 25, {.temperature = 0}, rng);
      REQUIRE(tokens.size() == 25);
      // Independently: the window starts where the last re-reading started.
      std::vector<std::int32_t> text = prompt;
      const auto size = static_cast<std::size_t>(block);
      std::size_t start = text.size() > size ? text.size() - size : 0;
      for (const std::int32_t token : tokens) {
        if (text.size() - start > size) {
          start = text.size() - std::max<std::size_t>(1, size / 2);
        }
        const std::vector<real> logits = logits_of(*model, std::span(text).subspan(start));
        const auto last = logits.end() - 13;
        REQUIRE(token == std::max_element(last, logits.end()) - last);
        text.push_back(token);
      }
    }
  }
}

TEST_CASE("generation repeats from the same seed and stops when told") {
  const auto model = lively_model(8);
  const std::vector<std::int32_t> prompt{4, 4};
  std::vector<std::int32_t> told;
  Rng a(5), b(5), c(6);
  const Sampling sampling{.temperature = 1.5, .top_k = 9, .top_p = 0.95};
  const auto first = generate(*model, prompt, 40, sampling, a, [&](std::int32_t token) {
    told.push_back(token);
    return true;
  });
  CHECK(first == told);
  CHECK(first == generate(*model, prompt, 40, sampling, b));
  CHECK(first != generate(*model, prompt, 40, sampling, c));
  const auto stopped =
      generate(*model, prompt, 40, sampling, c, [n = 0](std::int32_t) mutable { return ++n < 3; });
  CHECK(stopped.size() == 3);
  CHECK(generate(*model, prompt, 0, sampling, c).empty());
}

TEST_CASE("a cache holds what the text needs, not the whole context") {
  // Positions that no memory could hold: keys and values of 2^40 tokens.
  Llama model({.vocab_size = 13,
               .block_size = std::int64_t{1} << 40,
               .n_layer = 1,
               .n_head = 2,
               .n_kv_head = 2,
               .n_embd = 16,
               .n_inner = 16});
  model.init(1);
  const std::vector<std::int32_t> prompt{4, 7, 1};
  CHECK(positions_needed(model.sizes(), 3, 5) == 8);
  CHECK(positions_needed({.block_size = 6}, 3, 5) == 6);
  CHECK(positions_needed({.block_size = 6}, 30, 5) == 6);
  CHECK(positions_needed(model.sizes(), 3, std::numeric_limits<std::int64_t>::max()) ==
        model.sizes().block_size);
  Rng a(5), b(5), c(5);
  const auto text = generate(model, prompt, 5, {}, a);
  CHECK(text.size() == 5);
  Fp32KvCache enough(1, 2, 16, 8), small(1, 2, 16, 7);
  CHECK(generate(model, prompt, 5, {}, b, {}, &enough) == text);
  CHECK(error_of([&] { generate(model, prompt, 5, {}, c, {}, &small); }).fault == Fault::usage);
}

TEST_CASE("an empty prompt or one of another vocabulary is refused") {
  const auto model = lively_model(8);
  Rng rng(1);
  const auto refusal = [&](const std::vector<std::int32_t>& prompt) {
    return error_of([&] { generate(*model, prompt, 3, {}, rng); });
  };
  CHECK(refusal({}).fault == Fault::usage);
  CHECK_FALSE(refusal({}).hint.empty());
  CHECK(refusal({0, 13}).found == "13");
  CHECK(refusal({-1}).expected == "0 to 12");
  const std::vector<std::int32_t> prompt{0};
  CHECK(error_of([&] { generate(*model, prompt, -1, {}, rng); }).fault == Fault::usage);
}

TEST_CASE("ids without text are never drawn, others keep their proportions") {
  const std::vector<real> logits{1, 2, 0, 50, 60};
  const std::span<const real> below = std::span(logits).first(3);
  for (const double temperature : {0.0, 0.7}) {
    Sampler limited({.temperature = temperature, .top_k = 2, .ids = 3});
    Sampler alone({.temperature = temperature, .top_k = 2});
    const std::span<const double> some = limited.weights(logits), all = alone.weights(below);
    CHECK(std::vector<double>(some.begin(), some.end()) ==
          std::vector<double>(all.begin(), all.end()));
    Rng rng(1), same(1);
    for (int i = 0; i < 20; ++i) CHECK(limited.draw(logits, rng) == alone.draw(below, same));
  }
  CHECK(Sampler({.ids = 9}).weights(logits).size() == 5);
  CHECK(error_of([] { Sampler({.ids = -1}); }).fault == Fault::usage);
}

}  // namespace generate_test
