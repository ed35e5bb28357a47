// Against the formulas of llama.cpp's tools/perplexity/perplexity.cpp, from logits, one chunk at a time.
#include "experiments/run/llama_perplexity.h"

#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/quant/tiny_models.h"
#include "tests/random_ids.h"

namespace notch::experiments::llama_perplexity_test {

using test::error_of;
using test::make_gpt;

std::vector<std::int32_t> random_tokens(std::size_t n) { return test::random_ids(n, 11, 5, 1); }

/// ln p of every token after every position of a text.
std::vector<std::vector<double>> log_probabilities(nn::Model& model,
                                                   std::vector<std::int32_t> ids) {
  Graph graph;
  graph.begin(Graph::Mode::inference);
  const Var logits = model.logits(graph, {ids, 1, std::ssize(ids)});
  std::vector<std::vector<double>> rows;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const auto z = logits.value().flat().subspan(t * 11, 11);
    double sum = 0;
    for (const real x : z) sum += std::exp(static_cast<double>(x));
    std::vector<double>& row = rows.emplace_back();
    for (const real x : z) row.push_back(static_cast<double>(x) - std::log(sum));
  }
  return rows;
}

struct Prediction {
  std::vector<double> q{}, p{};
  std::size_t target = 0;
};

/// Of positions ctx/2 … ctx - 2 of every whole chunk.
std::vector<Prediction> predictions(nn::Model& model, nn::Model& base,
                                    const std::vector<std::int32_t>& tokens, std::size_t ctx,
                                    int before = -1) {
  std::vector<Prediction> all;
  for (std::size_t begin = 0; begin + ctx <= tokens.size(); begin += ctx) {
    std::vector<std::int32_t> ids(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                  tokens.begin() + static_cast<std::ptrdiff_t>(begin + ctx));
    if (before >= 0) ids[0] = before;
    const auto q = log_probabilities(model, ids), p = log_probabilities(base, ids);
    for (std::size_t t = ctx / 2; t + 1 < ctx; ++t)
      all.push_back({q[t], p[t], static_cast<std::size_t>(tokens[begin + t + 1])});
  }
  return all;
}

struct Sums {
  double n = 0, x = 0, xx = 0;
  void add(double v) { ++n, x += v, xx += v * v; }
  double mean() const { return x / n; }
  double error() const { return std::sqrt((xx / n - mean() * mean()) / (n - 1)); }
};

TEST_CASE("the second half of every whole chunk is scored") {
  const auto model = make_gpt();
  for (const std::size_t ctx : {8u, 7u, 4u}) {
    for (const int before : {-1, 3}) {
      const auto tokens = random_tokens(5 * ctx + 3);
      Sums nll;
      for (const Prediction& p : predictions(*model, *model, tokens, ctx, before))
        nll.add(-p.q[p.target]);
      LlamaProtocol protocol{.ctx = static_cast<std::int64_t>(ctx)};
      if (before >= 0) protocol.before = static_cast<std::int32_t>(before);
      const LlamaPerplexity e = llama_perplexity(*model, tokens, protocol);
      CHECK(e.chunks == 5);
      CHECK(e.scored == static_cast<std::int64_t>(5 * (ctx - ctx / 2 - 1)));
      CHECK(e.perplexity.value == Approx(std::exp(nll.mean())).epsilon(1e-6));
      CHECK(e.perplexity.error == Approx(std::exp(nll.mean()) * nll.error()).epsilon(1e-4));
      CHECK_FALSE(e.from_base);
      protocol.chunks = 2;
      CHECK(llama_perplexity(*model, tokens, protocol).chunks == 2);
    }
  }
}

TEST_CASE("the comparison with a base is llama-perplexity's") {
  const auto model = make_gpt(test::tiny_config(), 1), base = make_gpt(test::tiny_config(), 2);
  for (Param& p : model->params().params()) {  // close to the base, not equal
    const auto other = base->params().find(p.name)->value.flat();
    for (std::size_t i = 0; i < other.size(); ++i)
      p.value.flat()[i] = other[i] + real(0.1) * p.value.flat()[i];
  }
  const auto tokens = random_tokens(8 * 30);
  const LlamaPerplexity e = llama_perplexity(*model, tokens, {.ctx = 8}, base.get());
  REQUIRE(e.from_base);
  const BaseComparison& b = *e.from_base;
  Sums q, p, kl, dp, dp2, same;
  double products = 0;
  std::vector<double> kls, changes;
  for (const Prediction& x : predictions(*model, *base, tokens, 8)) {
    const double nq = -x.q[x.target], np = -x.p[x.target];
    double divergence = 0;
    for (std::size_t i = 0; i < 11; ++i) divergence += std::exp(x.p[i]) * (x.p[i] - x.q[i]);
    const double change = std::exp(-nq) - std::exp(-np);
    q.add(nq), p.add(np), kl.add(divergence), dp.add(change), dp2.add(change * change);
    same.add(std::ranges::max_element(x.q) - x.q.begin() ==
             std::ranges::max_element(x.p) - x.p.begin());
    products += nq * np;
    kls.push_back(divergence), changes.push_back(change);
  }
  const double covariance = (products / q.n - q.mean() * p.mean()) / (q.n - 1);
  CHECK(b.base_perplexity.value == Approx(std::exp(p.mean())).epsilon(1e-6));
  CHECK(b.correlation == Approx(covariance / (q.error() * p.error())).epsilon(1e-4));
  CHECK(b.log_ratio.value == Approx(q.mean() - p.mean()).epsilon(1e-4));
  CHECK(b.log_ratio.error ==
        Approx(std::sqrt(q.error() * q.error() + p.error() * p.error() - 2 * covariance))
            .epsilon(1e-3));
  CHECK(b.kl.value == Approx(kl.mean()).epsilon(1e-4));
  CHECK(b.kl.error == Approx(kl.error()).epsilon(1e-3));
  CHECK(b.change.value == Approx(dp.mean()).epsilon(1e-3));
  CHECK(b.change.error == Approx(dp.error()).epsilon(1e-3));
  const double rms = std::sqrt(dp2.mean());
  CHECK(b.rms_change.value == Approx(rms).epsilon(1e-4));
  CHECK(b.rms_change.error == Approx(0.5 / rms * dp2.error()).epsilon(1e-3));
  CHECK(b.same_top.value == Approx(same.mean()));
  CHECK(b.same_top.error ==
        Approx(std::sqrt(same.mean() * (1 - same.mean()) / (same.n - 1))).margin(1e-12));
  CHECK(same.mean() < 1);
  // 90 values: rank 0.99 · 89 = 88.11, so 0.89 of the last but one and 0.11 of the last.
  REQUIRE(kls.size() == 90);
  std::ranges::sort(kls);
  std::ranges::sort(changes);
  CHECK(b.kl_quantiles.high == Approx(kls[89]).epsilon(1e-3));
  CHECK(b.kl_quantiles.q99 == Approx(0.89 * kls[88] + 0.11 * kls[89]).epsilon(1e-3));
  CHECK(b.kl_quantiles.median == Approx((kls[44] + kls[45]) / 2).epsilon(1e-3));
  CHECK(b.kl_quantiles.low == Approx(kls[0]).epsilon(1e-2).margin(1e-9));
  CHECK(b.change_quantiles.low == Approx(changes[0]).epsilon(1e-3));
  CHECK(b.change_quantiles.q25 == Approx(0.75 * changes[22] + 0.25 * changes[23]).margin(1e-6));
  // Against itself there is no difference.
  const BaseComparison none = *llama_perplexity(*model, tokens, {.ctx = 8}, model.get()).from_base;
  CHECK(none.kl.value == 0);
  CHECK(none.same_top.value == 1);
  CHECK(none.correlation == Approx(1));
}

TEST_CASE("a text or a context that has no chunks is refused") {
  const auto model = make_gpt();
  const auto fault = [&](std::size_t n, std::int64_t ctx) {
    const auto tokens = random_tokens(n);
    return error_of([&] { llama_perplexity(*model, tokens, {.ctx = ctx}); }).fault;
  };
  CHECK(fault(15, 8) == Fault::input);
  CHECK(fault(100, 9) == Fault::usage);
  CHECK(fault(100, 3) == Fault::usage);
}

}  // namespace notch::experiments::llama_perplexity_test
