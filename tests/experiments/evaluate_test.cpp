// Evaluation against a plain double computation from the logits, window by window.
#include "experiments/run/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/run/results.h"
#include "nn/architectures.h"
#include "nn/model_dir.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"
#include "tests/random_ids.h"

namespace notch::experiments::evaluate_test {

using test::error_of;
using test::make_gpt;
using test::tiny_config;

std::vector<std::int32_t> random_tokens(std::size_t n, std::uint64_t seed = 5) {
  return test::random_ids(n, 11, seed, 1);
}

using Row = std::vector<double>;  // log-probabilities of the next token

/// Of every position of one sequence.
std::vector<Row> log_probabilities(const nn::Gpt& model, std::span<const std::int32_t> inputs) {
  Graph graph;
  graph.begin(Graph::Mode::inference);
  const Var logits = model.logits(graph, {inputs, 1, std::ssize(inputs)});
  const auto V = static_cast<std::size_t>(model.config().vocab_size);
  std::vector<Row> rows;
  for (std::size_t t = 0; t < inputs.size(); ++t) {
    const auto z = logits.value().flat().subspan(t * V, V);
    double sum = 0;
    for (const real x : z) sum += std::exp(static_cast<double>(x));
    Row& row = rows.emplace_back();
    for (const real x : z) row.push_back(static_cast<double>(x) - std::log(sum));
  }
  return rows;
}

/// The same for a whole split in windows of T: rows[i] predicts tokens[i + 1].
std::vector<Row> split_log_probabilities(const nn::Gpt& model,
                                         const std::vector<std::int32_t>& tokens) {
  const auto T = static_cast<std::size_t>(model.config().block_size);
  std::vector<Row> rows;
  for (std::size_t start = 0; start + 1 < tokens.size(); start += T) {
    const std::size_t length = std::min(T, tokens.size() - 1 - start);
    std::vector<std::int32_t> inputs(length);
    for (std::size_t t = 0; t < length; ++t) inputs[t] = tokens[start + t];
    for (Row& row : log_probabilities(model, inputs)) rows.push_back(std::move(row));
  }
  return rows;
}

TEST_CASE("The loss is the sum over windows, from logits in double") {
  const auto model = make_gpt();
  const std::vector<std::int32_t> tokens = random_tokens(5 * 8 + 3 + 1);
  const Evaluation e = evaluate(*model, tokens, 2.5);
  const std::vector<Row> rows = split_log_probabilities(*model, tokens);
  REQUIRE(rows.size() == 43);
  REQUIRE(e.window_tokens == std::vector<std::int64_t>{8, 8, 8, 8, 8, 3});
  REQUIRE(e.window_losses.size() == 6);
  double total = 0;
  for (std::size_t w = 0, i = 0; w < 6; ++w) {
    double sum = 0;
    for (std::int64_t t = 0; t < e.window_tokens[w]; ++t, ++i) sum -= rows[i][tokens[i + 1]];
    CHECK(e.window_losses[w] == Approx(sum).epsilon(1e-6));
    total += sum;
  }
  CHECK(e.loss == Approx(total / 43).epsilon(1e-6));
  CHECK(e.bits_per_byte == Approx(total / 43 / std::log(2.0) / 2.5).epsilon(1e-6));
  CHECK(e.perplexity == Approx(std::exp(total / 43)).epsilon(1e-6));
  CHECK_FALSE(e.from_base);
}

TEST_CASE("A vocabulary scored in pieces scores as one that fits") {
  nn::GptConfig config = tiny_config();
  config.vocab_size = 60000;  // 279 rows a piece
  const auto model = make_gpt(config), base = make_gpt(config, 2);
  const std::vector<std::int32_t> tokens = random_tokens(700);
  const Evaluation e = evaluate(*model, tokens, 1, base.get());
  const std::vector<Row> q = split_log_probabilities(*model, tokens),
                         p = split_log_probabilities(*base, tokens);
  double loss = 0, kl = 0;
  for (std::size_t i = 0; i < q.size(); ++i) {
    loss -= q[i][tokens[i + 1]] / double(q.size());
    for (std::size_t v = 0; v < q[i].size(); ++v) {
      kl += std::exp(p[i][v]) * (p[i][v] - q[i][v]) / double(q.size());
    }
  }
  CHECK(e.loss == Approx(loss).epsilon(1e-5));
  CHECK(e.from_base->kl_mean == Approx(kl).epsilon(1e-4));
}

TEST_CASE("A base computes once what is kept of it") {
  const auto base = make_gpt(tiny_config(), 1);
  const std::vector<std::int32_t> tokens =
      random_tokens(18 * 8 + 5 + 1);  // of two lengths: 2 passes
  int passes = 0;
  const nn::Attachment counting = base->hooks().embedding_chain.attach(
      [&](Graph& g, const nn::Embedding& table, const nn::Tokens& ids, const auto& next) {
        ++passes;
        return next(g, table, ids);
      });
  const std::size_t first = 18 * 8 * 11 * sizeof(real), rest = 5 * 11 * sizeof(real);
  const auto passes_of_two = [&](std::size_t bytes) {
    passes = 0;
    KeptLogits kept(*base, tokens, bytes);
    for (const std::uint64_t seed : {std::uint64_t{2}, std::uint64_t{3}}) {
      const auto model = make_gpt(tiny_config(), seed);
      const Evaluation e = evaluate(*model, 1, kept);
      const int so_far = passes;
      const Evaluation alone = evaluate(*model, tokens, 1, base.get());
      passes = so_far;
      CHECK(e.window_losses == alone.window_losses);
      CHECK(e.from_base->kl_mean == alone.from_base->kl_mean);
      CHECK(e.from_base->kl_99 == alone.from_base->kl_99);
      CHECK(e.from_base->same_top == alone.from_base->same_top);
    }
    return passes;
  };
  const int none = passes_of_two(0);
  REQUIRE(none > 0);
  CHECK(passes_of_two(first + rest) == none / 2);
  CHECK(passes_of_two(first + rest - 1) == none * 3 / 4);
  CHECK(passes_of_two(rest) == none * 3 / 4);
}

TEST_CASE("The divergence from a base is Σ p ln(p/q) token by token") {
  const auto model = make_gpt(tiny_config(), 1), base = make_gpt(tiny_config(), 2);
  const std::vector<std::int32_t> tokens = random_tokens(150);
  const std::vector<Row> q = split_log_probabilities(*model, tokens);
  const std::vector<Row> p = split_log_probabilities(*base, tokens);
  std::vector<double> kl;
  double same = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    double sum = 0;
    for (std::size_t v = 0; v < 11; ++v) sum += std::exp(p[i][v]) * (p[i][v] - q[i][v]);
    kl.push_back(sum);
    same += std::ranges::max_element(p[i]) - p[i].begin() ==
            std::ranges::max_element(q[i]) - q[i].begin();
  }
  double mean = 0;
  for (const double d : kl) mean += d / 149;
  std::ranges::sort(kl);
  const Evaluation e = evaluate(*model, tokens, 1, base.get());
  REQUIRE(e.from_base);
  CHECK(e.from_base->kl_mean == Approx(mean).epsilon(1e-5));
  CHECK(e.from_base->kl_99 == Approx(kl[147]).epsilon(1e-5));  // rank ⌈0.99 · 149⌉ = 148
  CHECK(e.from_base->same_top == Approx(same / 149));
  CHECK(same > 0);
  CHECK(same < 149);

  SECTION("and the losses are those of an evaluation without a base") {
    CHECK(e.window_losses == evaluate(*model, tokens, 1).window_losses);
  }
  SECTION("and it is nothing from a model to itself") {
    const Evaluation self = evaluate(*model, tokens, 1, model.get());
    CHECK(std::abs(self.from_base->kl_mean) < 1e-12);
    CHECK(std::abs(self.from_base->kl_99) < 1e-12);
    CHECK(self.from_base->same_top == 1);
  }
  SECTION("a base of another vocabulary is refused") {
    nn::GptConfig config = tiny_config();
    config.vocab_size = 12;
    const auto other = make_gpt(config);
    CHECK(error_of([&] { evaluate(*model, tokens, 1, other.get()); }).fault == Fault::usage);
  }
}

TEST_CASE("A limit keeps the first windows, or all there are") {
  const auto model = make_gpt();
  const std::vector<std::int32_t> tokens = random_tokens(44);
  const Evaluation all = evaluate(*model, tokens, 1);
  const Evaluation two = evaluate(*model, tokens, 1, nullptr, {.windows = 2});
  REQUIRE(two.window_losses.size() == 2);
  for (std::size_t w = 0; w < 2; ++w) {
    CHECK(two.window_losses[w] == Approx(all.window_losses[w]).epsilon(1e-6));
  }
  CHECK(two.loss == Approx((all.window_losses[0] + all.window_losses[1]) / 16).epsilon(1e-6));
  CHECK(evaluate(*model, tokens, 1, nullptr, {.windows = 99}).window_losses == all.window_losses);
}

TEST_CASE("Shorter windows score as the model of that context") {
  const auto model = make_gpt(tiny_config());
  const std::int64_t context = model->sizes().block_size;
  REQUIRE(context > 3);
  const auto cut = nn::shortened(nn::clone(*model), 3);
  const auto tokens = random_tokens(20);
  const Evaluation e = evaluate(*model, tokens, 1, nullptr, {.window = 3});
  CHECK(e.window_losses == evaluate(*cut, tokens, 1).window_losses);
  CHECK(e.window_tokens == std::vector<std::int64_t>{3, 3, 3, 3, 3, 3, 1});
  CHECK(evaluate(*model, tokens, 1, nullptr, {.window = context}).window_losses ==
        evaluate(*model, tokens, 1).window_losses);
  CHECK(error_of([&] { evaluate(*model, tokens, 1, nullptr, {.window = context + 1}); }).fault ==
        Fault::usage);
}

TEST_CASE("Windows beyond one forward pass score as each alone") {
  const auto model = make_gpt();
  const std::vector<std::int32_t> tokens = random_tokens(8 * 600 + 6);  // 512 windows per pass
  const Evaluation e = evaluate(*model, tokens, 1);
  REQUIRE(e.window_losses.size() == 601);
  const std::vector<Row> rows = split_log_probabilities(*model, tokens);
  for (const std::size_t w : {0u, 511u, 512u, 599u, 600u}) {
    double sum = 0;
    for (std::size_t i = 8 * w; i < std::min<std::size_t>(8 * w + 8, rows.size()); ++i) {
      sum -= rows[i][tokens[i + 1]];
    }
    INFO(w);
    CHECK(e.window_losses[w] == Approx(sum).epsilon(1e-6));
  }
}

TEST_CASE("A NaN or infinity in a model is a numeric fault") {
  const std::vector<std::int32_t> tokens = random_tokens(44);
  for (const real bad :
       {std::numeric_limits<real>::quiet_NaN(), std::numeric_limits<real>::infinity()}) {
    const auto model = make_gpt(), sound = make_gpt();
    model->params().find("h.1.mlp.c_fc.weight")->value.flat()[3] = bad;
    CHECK(error_of([&] { evaluate(*model, tokens, 1); }).fault == Fault::numeric);
    CHECK(error_of([&] { evaluate(*sound, tokens, 1, model.get()); }).fault == Fault::numeric);
  }
}

/// Every next token has the same distribution, whatever came before: a 0.5, b 0.3, c 0.2.
std::unique_ptr<nn::Gpt> unigrams() {
  auto model = std::make_unique<nn::Gpt>(nn::GptConfig{.vocab_size = 3,
                                                       .block_size = 4,
                                                       .n_layer = 1,
                                                       .n_head = 1,
                                                       .n_embd = 2,
                                                       .tie_embeddings = false});
  for (Param& p : model->params().params()) std::ranges::fill(p.value.flat(), real{0});
  model->params().find("ln_f.bias")->value.flat()[0] = 1;
  const auto head = model->head().weight->value.flat();
  head[0] = static_cast<real>(std::log(0.5));
  head[2] = static_cast<real>(std::log(0.3));
  head[4] = static_cast<real>(std::log(0.2));
  return model;
}

TEST_CASE("The task's answer is the candidate of highest probability") {
  const auto model = unigrams();
  const auto tokenizer = data::Tokenizer::characters("abc");
  const auto right = [&](std::vector<std::string> candidates, int correct,
                         std::string prompt = "ab") {
    const std::vector<data::TenseExample> one{{std::move(prompt), std::move(candidates), correct}};
    return task_accuracy(*model, tokenizer, one);
  };
  CHECK(right({"aa", "b"}, 1) == 1);   // 0.25 against 0.3: the sum counts, not the mean
  CHECK(right({"ac", "cb"}, 0) == 1);  // 0.10 against 0.06: the first token counts
  CHECK(right({"bb", "ca"}, 1) == 1);  // 0.09 against 0.10: so does the last
  CHECK(right({"bb", "ca"}, 0) == 0);
  CHECK(right({"bb", "ca"}, 1, "abcabcabcabc") == 1);  // cut on the left
  CHECK(error_of([&] { right({"abcabc", "a"}, 0); }).fault == Fault::usage);
  const std::vector<data::TenseExample> three{
      {"a", {"aa", "b"}, 1}, {"cab", {"c", "b", "ab"}, 1}, {"c", {"a", "b"}, 1}};
  CHECK(task_accuracy(*model, tokenizer, three) == Approx(2.0 / 3));
}

/// Says "bbb" rather than "a", and "a" for certain where an x has come before: uniform attention
/// carries the x's value to all later positions.
std::unique_ptr<nn::Gpt> sees_x() {
  auto model = std::make_unique<nn::Gpt>(nn::GptConfig{.vocab_size = 4,  // . a b x
                                                       .block_size = 8,
                                                       .n_layer = 1,
                                                       .n_head = 1,
                                                       .n_embd = 4,
                                                       .tie_embeddings = false});
  for (Param& p : model->params().params()) std::ranges::fill(p.value.flat(), real{0});
  const auto at = [&](std::string_view name, std::size_t row, std::size_t col) -> real& {
    return model->params().find(name)->value.flat()[4 * row + col];
  };
  for (const char* norm : {"h.0.ln_1.weight", "ln_f.weight"}) {
    for (std::size_t c = 0; c < 4; ++c) at(norm, 0, c) = 1;
  }
  at("wte.weight", 3, 0) = 1;
  at("wte.weight", 3, 1) = -1;
  at("h.0.attn.c_attn.weight", 8 + 2, 0) = 1;  // the values are rows 8 to 11
  at("h.0.attn.c_attn.weight", 8 + 3, 0) = -1;
  for (std::size_t c = 0; c < 4; ++c) at("h.0.attn.c_proj.weight", c, c) = 100;
  at("ln_f.bias", 0, 0) = 1;
  const auto head = model->head().weight->value.flat();
  head[4 * 1] = static_cast<real>(std::log(0.05));
  head[4 * 2] = static_cast<real>(std::log(0.9));
  head[4 * 0] = head[4 * 3] = static_cast<real>(std::log(0.025));
  head[4 * 1 + 2] = 10;
  return model;
}

TEST_CASE("A short label sees no more of its prompt than a long one") {
  const auto model = sees_x();
  const auto tokenizer = data::Tokenizer::characters(".abx");
  // The context holds 8 characters before "a" and 6 before "bbb": the x is seventh from the end.
  std::vector<data::TenseExample> examples;
  for (int i = 0; i < 10; ++i) {
    examples.push_back({.prompt = "...x......", .candidates = {"a", "bbb"}, .correct = 0});
    examples.push_back({.prompt = "..........", .candidates = {"a", "bbb"}, .correct = 1});
  }
  CHECK(task_accuracy(*model, tokenizer, examples) == 0.5);

  // With a prompt cut for each label the same model knows every answer.
  std::size_t right = 0;
  for (const data::TenseExample& e : examples) {
    std::vector<double> scores;
    for (const std::string& label : e.candidates) {
      const std::vector<std::int32_t> ids =
          tokenizer.encode(e.prompt.substr(e.prompt.size() - (9 - label.size())) + label);
      const std::vector<Row> rows = log_probabilities(*model, std::span(ids).first(ids.size() - 1));
      double score = 0;
      for (std::size_t t = ids.size() - label.size(); t < ids.size(); ++t) {
        score += rows[t - 1][static_cast<std::size_t>(ids[t])];
      }
      scores.push_back(score);
    }
    right += std::ranges::max_element(scores) - scores.begin() == e.correct;
  }
  CHECK(right == examples.size());
}

TEST_CASE("Sequences of many lengths in a batch score as each alone") {
  const auto model = make_gpt();
  const auto tokenizer = data::Tokenizer::characters("abcdefghijk");
  Rng rng(3, 1);
  const auto word = [&](std::uint64_t longest) {
    std::string s;
    for (std::uint64_t n = 1 + rng.below(longest); n > 0; --n) {
      s += static_cast<char>('a' + rng.below(11));
    }
    return s;
  };
  std::vector<data::TenseExample> right, wrong;
  for (int i = 0; i < 40; ++i) {
    data::TenseExample example{.prompt = word(12)};
    std::vector<double> scores;
    for (int c = 0; c < 3; ++c) example.candidates.push_back(word(4));
    const std::size_t longest = std::ranges::max(example.candidates, {}, &std::string::size).size();
    // 8 inputs and a target: all labels follow what the longest leaves of the prompt.
    const std::string prompt =
        example.prompt.substr(example.prompt.size() - std::min(example.prompt.size(), 9 - longest));
    for (const std::string& label : example.candidates) {
      const std::vector<std::int32_t> ids = tokenizer.encode(prompt + label);
      const std::size_t kept = ids.size();
      const std::vector<Row> rows = log_probabilities(*model, std::span(ids).first(kept - 1));
      double score = 0;
      for (std::size_t t = kept - label.size(); t < kept; ++t) {
        score += rows[t - 1][static_cast<std::size_t>(ids[t])];
      }
      scores.push_back(score);
    }
    example.correct = static_cast<int>(std::ranges::max_element(scores) - scores.begin());
    right.push_back(example);
    example.correct = (example.correct + 1) % 3;
    wrong.push_back(example);
  }
  CHECK(task_accuracy(*model, tokenizer, right) == 1);
  CHECK(task_accuracy(*model, tokenizer, wrong) == 0);
  CHECK(task_accuracy(*model, tokenizer, {}) == 0);
}

TEST_CASE("the worst window is whole, not what is left of the text") {
  RowResult base, row;
  base.eval.window_tokens = row.eval.window_tokens = {8, 8, 1};
  base.eval.window_losses = {16, 16, 1};
  row.eval.window_losses = {16, 20, 9};  // per token: 0, +0.5, and +8 of a single token
  CHECK(worst_window(row, base) == 0.5);
}

}  // namespace notch::experiments::evaluate_test
