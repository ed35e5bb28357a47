// The second moment of a tied table's lookups, against gradients by central differences: the
// embedding of each token is moved through a hook and the losses are taken from the logits.
#include "quant/methods/tied_table.h"

#include <cmath>
#include <vector>

#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace notch::quant::tied_table_test {

constexpr std::int64_t kBatch = 2, kContext = 5;

struct Text {
  std::vector<std::int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  nn::Tokens tokens() const { return {ids, kBatch, kContext}; }
};

/// The logits [B·T, V] when `move` is added to what the model looks up.
std::vector<double> logits(nn::Model& model, const Text& text, std::vector<real> move) {
  const nn::Attachment moved = model.hooks().embedding_chain.attach(
      [&](Graph& g, const nn::Embedding& e, const nn::Tokens& tokens, const auto& next) -> Var {
        const Var rows = next(g, e, tokens);
        if (e.weight != model.head().weight) return rows;
        return add(rows, g.constant({move.data(), rows.shape()}));
      });
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var out = model.logits(g, text.tokens());
  return {out.value().flat().begin(), out.value().flat().end()};
}

std::vector<double> softmax(const std::vector<double>& all, std::size_t row, std::size_t V) {
  std::vector<double> p(V);
  double sum = 0;
  for (std::size_t v = 0; v < V; ++v) sum += p[v] = std::exp(all[row * V + v]);
  for (double& x : p) x /= sum;
  return p;
}

/// Σ of -log p(successor) over the tokens that have one in their window.
double loss(nn::Model& model, const Text& text, const std::vector<real>& move, std::size_t V) {
  const std::vector<double> z = logits(model, text, move);
  double sum = 0;
  for (std::size_t i = 0; i < text.ids.size(); ++i) {
    if ((i + 1) % kContext == 0) continue;
    sum -= std::log(softmax(z, i, V)[static_cast<std::size_t>(text.ids[i + 1])]);
  }
  return sum;
}

TEST_CASE("a tied table's lookups weigh as the later loss feels them") {
  const auto model = test::make_gpt();
  nn::Model& view = *model;
  const Text text;
  const std::size_t C = 12, V = 11, n = text.ids.size();
  std::vector<double> gradients(n * C);
  for (std::size_t i = 0; i < n * C; ++i) {
    constexpr double h = 1e-5;
    std::vector<real> move(n * C);
    move[i] = static_cast<real>(h);
    const double up = loss(view, text, move, V);
    move[i] = static_cast<real>(-h);
    gradients[i] = (up - loss(view, text, move, V)) / (2 * h);
  }
  // E[1 - Σ p²], of the first window.
  const std::vector<double> z = logits(view, text, std::vector<real>(n * C));
  double spread = 0;
  for (std::size_t t = 0; t < kContext; ++t) {
    double squares = 0;
    for (const double p : softmax(z, t, V)) squares += p * p;
    spread += (1 - squares) / kContext;
  }
  const nn::Tokens tokens = text.tokens();
  const std::vector<double> moment = lookup_moment(view, {&tokens, 1}).matrix();
  REQUIRE(moment.size() == C * C);
  for (std::size_t i = 0; i < C; ++i) {
    for (std::size_t j = 0; j < C; ++j) {
      double expected = 0;
      for (std::size_t t = 0; t < n; ++t) {
        expected += gradients[t * C + i] * gradients[t * C + j] / static_cast<double>(n);
      }
      CHECK(moment[i * C + j] == Approx(expected / spread).epsilon(1e-6).margin(1e-9));
    }
  }
}

TEST_CASE("text without a successor says nothing about lookups") {
  const auto model = test::make_gpt();
  nn::Model& view = *model;
  const std::vector<std::int32_t> ids{1, 2, 3};
  const nn::Tokens tokens{ids, 3, 1};
  for (const double h : lookup_moment(view, {&tokens, 1}).matrix()) CHECK(h == 0);
}

TEST_CASE("a model certain of everything gives lookups no weight") {
  const auto model = test::make_gpt();
  nn::Model& view = *model;
  // Σ p² is 1 to the last bit: the denominator of the weight is 0.
  const nn::Attachment certain = view.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& l, Var x, const auto& next) -> Var {
        const Var y = next(g, l, x);
        return &l == &view.head() ? scale(y, 1e9) : y;
      });
  const Text text;
  const nn::Tokens tokens = text.tokens();
  for (const double h : lookup_moment(view, {&tokens, 1}).matrix()) CHECK(h == 0);
}

}  // namespace notch::quant::tied_table_test
