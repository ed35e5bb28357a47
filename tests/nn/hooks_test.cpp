// The seam: chains of links, their order, how they come and go, and what is asked once per step.

#include "nn/hooks.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "nn/gpt.h"
#include "tests/catch.h"

namespace notch::nn::hooks_test {

using WeightNext = Chain<Param&>::Next;
using LinearNext = Chain<const Linear&, Var>::Next;
using EmbeddingNext = Chain<const Embedding&, const Tokens&>::Next;
using Names = std::vector<std::string>;

constexpr auto kTraining = Graph::Mode::training;
constexpr auto kInference = Graph::Mode::inference;

const std::int32_t kIds[] = {3, 1, 4, 1, 5, 2};
const Tokens kTokens{kIds, 2, 3};

/// One Linear [2, 2] and one Embedding [6, 2] with hooks of their own.
struct Bench {
  ParamStore params;
  Hooks hooks;
  Linear linear = make_linear(params, hooks, "fc", 2, 2, true);
  Embedding table = make_embedding(params, hooks, "wte", 6, 2);
  Graph g;
  real x[2] = {1, 10};
  Bench() {
    params.allocate_values();
    params.allocate_gradients();
    std::ranges::copy(std::initializer_list<real>{1, 2, 3, 4}, linear.weight->value.data);
    std::ranges::copy(std::initializer_list<real>{100, 200}, linear.bias->value.data);
    for (int i = 0; i < 12; ++i) table.weight->value.data[i] = static_cast<real>(i);
    g.begin(kTraining);
  }
  std::vector<real> run_linear() {
    const Var y = linear(g, g.constant({x, {1, 2}}));
    return {y.value().data, y.value().data + 2};
  }
};

GptConfig tiny() {
  return {.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 8};
}

/// Notes the names of the parameters it is asked for.
auto noting(Names& names) {
  return [&names](Graph& g, Param& p, const WeightNext& next) {
    names.push_back(p.name);
    return next(g, p);
  };
}

TEST_CASE("without links the answers are the plain ones") {
  Bench t;
  CHECK(t.hooks.weight_chain.empty());
  CHECK(t.run_linear() == std::vector<real>{121, 243});
  const Var rows = t.table(t.g, kTokens);
  CHECK(rows.shape() == Shape{2, 3, 2});
  CHECK(rows.value().data[0] == 6);
  CHECK(rows.value().data[11] == 5);
}

TEST_CASE("links run in the order they were attached, the plain answer last") {
  Bench t;
  Names order;
  const auto first = t.hooks.weight_chain.attach([&](Graph& g, Param& p, const WeightNext& next) {
    order.push_back("first");
    return scale(next(g, p), 2);
  });
  const auto second = t.hooks.weight_chain.attach([&](Graph& g, Param& p, const WeightNext& next) {
    order.push_back("second");
    const Var w = next(g, p);
    return mul(w, w);
  });
  CHECK(t.run_linear() == std::vector<real>{2 * (1 + 40) + 100, 2 * (9 + 160) + 200});
  CHECK(order == Names{"first", "second"});
}

TEST_CASE("a link may answer itself or change what the next one is asked") {
  Bench t;
  {
    const auto doubled =
        t.hooks.linear_chain.attach([](Graph& g, const Linear& l, Var x, const LinearNext& next) {
          return next(g, l, scale(x, 2));
        });
    CHECK(t.run_linear() == std::vector<real>{2 * 21 + 100, 2 * 43 + 200});
    const auto both =
        t.hooks.linear_chain.attach([](Graph& g, const Linear& l, Var x, const LinearNext& next) {
          const Var y = next(g, l, x);
          return sub(y, next(g, l, scale(x, 0.5)));  // the rest of the chain twice
        });
    CHECK(t.run_linear() == std::vector<real>{21, 43});
  }
  const auto replaced = t.hooks.linear_chain.attach(
      [](Graph&, const Linear&, Var x, const LinearNext&) { return x; });
  CHECK(t.run_linear() == std::vector<real>{1, 10});
}

TEST_CASE("embedding links see the layer and the tokens") {
  Bench t;
  const auto shifted = t.hooks.embedding_chain.attach(
      [](Graph& g, const Embedding& e, const Tokens& tokens, const EmbeddingNext& next) {
        CHECK(e.name == "wte");
        std::vector<std::int32_t> ids(tokens.ids.begin(), tokens.ids.end());
        for (std::int32_t& id : ids) id = (id + 1) % 6;
        return next(g, e, {ids, tokens.B, tokens.T});
      });
  CHECK(t.table(t.g, kTokens).value().data[0] == 8);  // row 4
}

TEST_CASE("a link is gone when its attachment is, whatever the order") {
  Bench t;
  const auto timed = [&](real factor) {
    return t.hooks.linear_chain.attach(
        [factor](Graph& g, const Linear& l, Var x, const LinearNext& next) {
          return scale(next(g, l, x), factor);
        });
  };
  const std::vector<real> plain = {121, 243};
  const auto times = [&](real f) { return std::vector<real>{121 * f, 243 * f}; };
  std::optional<Attachment> two(timed(2)), three(timed(3)), five(timed(5));
  CHECK(t.run_linear() == times(30));
  three.reset();
  CHECK(t.run_linear() == times(10));
  Attachment moved = std::move(*two);
  two.reset();
  CHECK(t.run_linear() == times(10));
  moved = timed(7);  // the link that `moved` held goes
  CHECK(t.run_linear() == times(35));
  five.reset();
  moved = {};
  CHECK(t.run_linear() == plain);
  CHECK(t.hooks.linear_chain.empty());
}

TEST_CASE("an error in a link leaves the chain as it was") {
  Bench t;
  bool fail = true;
  const auto link =
      t.hooks.linear_chain.attach([&](Graph& g, const Linear& l, Var x, const LinearNext& next) {
        check(!fail, "link", "on purpose");
        return next(g, l, x);
      });
  CHECK(test::error_of([&] { t.run_linear(); }).where == "link");
  CHECK(t.g.label().empty());
  fail = false;
  t.g.begin(kTraining);
  CHECK(t.run_linear() == std::vector<real>{121, 243});
}

TEST_CASE("gradients pass through weight links to the parameter") {
  Bench t;
  const auto link = t.hooks.weight_chain.attach(
      [](Graph& g, Param& p, const WeightNext& next) { return scale(next(g, p), 3); });
  const Var y = t.linear(t.g, t.g.constant({t.x, {1, 2}}));
  t.g.backward(sum(y));
  const auto dw = t.linear.weight->grad.flat();
  CHECK(std::vector<real>(dw.begin(), dw.end()) == std::vector<real>{3, 30, 3, 30});
}

TEST_CASE("a weight is asked for once per step, also when tied or reused") {
  Gpt model(tiny());
  model.init(1);
  Names asked;
  const auto link = model.hooks().weight_chain.attach(noting(asked));
  Graph g;
  for (const auto mode : {kTraining, kTraining, kInference, kInference}) {
    asked.clear();
    g.begin(mode);
    model.logits(g, kTokens);
    model.logits(g, kTokens);
    Names once = asked;
    std::ranges::sort(once);
    CHECK(std::ranges::adjacent_find(once) == once.end());
    CHECK(std::ranges::count(asked, "wte.weight") == 1);
    CHECK(std::ranges::count(asked, "wpe.weight") == 1);
    CHECK(asked.size() == 2 + 4 * 2);  // both tables, four Linears per block; the head is wte
  }
}

TEST_CASE("a step keeps its weights while another graph reads the model") {
  Bench t;
  Names asked;
  const auto link = t.hooks.weight_chain.attach(noting(asked));
  Graph other;
  other.begin(kInference);
  const Var first = t.hooks.weight(t.g, *t.linear.weight);
  t.hooks.weight(other, *t.linear.weight);
  CHECK(t.hooks.weight(t.g, *t.linear.weight).id == first.id);
  CHECK(asked == Names{"fc.weight", "fc.weight"});  // once for each graph
}

TEST_CASE("what was asked in one graph is not an answer in another") {
  Gpt model(tiny());
  model.init(1);
  model.params().allocate_gradients();
  Names asked;
  const auto link = model.hooks().weight_chain.attach(noting(asked));
  std::vector<real> first;
  for (int run = 0; run < 3; ++run) {
    Graph g;  // the same address and the same number of steps each time
    asked.clear();
    g.begin(kInference);
    const auto y = model.logits(g, kTokens).value().flat();
    CHECK(asked.size() == 10);
    if (run == 0) first.assign(y.begin(), y.end());
    CHECK(std::ranges::equal(y, first));
  }
}

TEST_CASE("every Linear and the head ask the chain in the order they run") {
  Gpt model(tiny());
  model.init(1);
  Names seen;
  const auto link = model.hooks().linear_chain.attach(
      [&](Graph& g, const Linear& l, Var x, const LinearNext& next) {
        CHECK(x.value().cols() == l.in_features());
        CHECK(g.label() == l.name);
        seen.push_back(l.name);
        return next(g, l, x);
      });
  Graph g;
  g.begin(kInference);
  model.logits(g, kTokens);
  Names expected;
  for (const Linear* l : model.linears()) expected.push_back(l->name);
  expected.push_back(model.head().name);
  CHECK(seen == expected);
  CHECK(seen.front() == "h.0.attn.c_attn");
  CHECK(seen.back() == "lm_head");
}

}  // namespace notch::nn::hooks_test
