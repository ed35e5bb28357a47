// Gradient rows of the ops a transformer adds: normalization, lookup, attention, losses.

#include <algorithm>
#include <numeric>
#include <utility>

#include "autograd/kernels/rotary.h"
#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"

namespace notch::model_ops_test {

using test::Fill;
using test::Input;
using test::require_gradients;
using Vars = std::span<const Var>;
using Ids = std::vector<std::int32_t>;

/// n ids in [0, V); every `ignored`-th is -1.
Ids targets(std::int64_t n, std::int64_t V, std::int64_t ignored = 0) {
  Ids ids;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool skip = ignored && i % ignored == ignored - 1;
    ids.push_back(static_cast<std::int32_t>(skip ? -1 : (i * 7 + i / 3) % V));
  }
  return ids;
}

TEST_CASE("gradients of layer normalization") {
  // The last shape has more rows than one tile of the parameter gradients.
  for (const Shape& x : {Shape{2, 5}, {1, 2}, {7}, {2, 3, 4}, {70, 3}}) {
    const Input gamma{{x.last()}, Fill::off_zero};
    require_gradients({.op = "layernorm",
                       .what = "with beta",
                       .inputs = {{x, Fill::distinct}, gamma, gamma},
                       .recipe = [](Graph&, Vars in) { return layernorm(in[0], in[1], in[2]); }});
    require_gradients(
        {.op = "layernorm",
         .what = "without beta",
         .inputs = {{x, Fill::distinct}, gamma},
         .recipe = [](Graph&, Vars in) { return layernorm(in[0], in[1], std::nullopt); }});
  }
  // One channel: x equals its mean, so the output is beta and x has no gradient.
  require_gradients({.op = "layernorm",
                     .what = "one channel",
                     .inputs = {{{3, 1}}, {{1}}, {{1}}},
                     .recipe = [](Graph&, Vars in) { return layernorm(in[0], in[1], in[2]); }});
}

TEST_CASE("gradients of RMS normalization") {
  for (const Shape& x : {Shape{2, 5}, {1, 2}, {7}, {2, 3, 4}, {70, 3}, {3, 1}})
    require_gradients({.op = "rmsnorm",
                       .inputs = {{x, Fill::off_zero}, {{x.last()}, Fill::off_zero}},
                       .recipe = [](Graph&, Vars in) { return rmsnorm(in[0], in[1], 1e-3); }});
}

TEST_CASE("gradients of the rotary embedding and of SwiGLU") {
  std::vector<real> angles(9 * 4);
  kernels::rotary_table(angles, 9, 4, 100);
  for (const std::int64_t first : {0, 4})
    require_gradients({.op = "rotary",
                       .what = str("from position ", first),
                       .inputs = {{{2, 5, 12}}},
                       .recipe = [&](Graph&, Vars in) {
                         return rotary(in[0], {angles.data(), {9, 4}}, first);
                       }});
  for (const Shape& x : {Shape{1}, {2, 3, 5}})
    require_gradients({.op = "swiglu", .inputs = {{x}, {x}}, .recipe = [](Graph&, Vars in) {
                         return swiglu(scale(in[0], 3), in[1]);
                       }});
}

TEST_CASE("gradients of lookups with repeated and unused ids") {
  struct Case {
    Shape table{};
    std::int64_t B = 1, T = 1;
    Ids ids{};
  };
  for (const Case& c : {Case{{1, 1}, 1, 1, {0}}, Case{{5, 3}, 2, 3, {4, 0, 4, 4, 1, 0}},
                        Case{{3, 70}, 1, 4, {2, 2, 1, 2}}}) {
    require_gradients({.op = "embedding", .inputs = {{c.table}}, .recipe = [&](Graph&, Vars in) {
                         return embedding(in[0], c.ids, c.B, c.T);
                       }});
  }
}

TEST_CASE("gradients of causal attention, with and without dropout") {
  struct Case {
    std::int64_t B = 1, T = 1, NH = 1, HS = 1;
  };
  // 70 positions: more than one block of query rows. 20 heads: more than one per workspace.
  for (const auto& [B, T, NH, HS] : {Case{1, 1, 1, 1}, Case{2, 5, 2, 3}, Case{1, 7, 3, 1},
                                     Case{1, 70, 1, 2}, Case{5, 3, 4, 1}}) {
    for (const double p : {0.0, 0.3}) {
      require_gradients({.op = "causal_attention",
                         .what = str("B ", B, " T ", T, " NH ", NH, " dropout ", p),
                         .inputs = {{{B, T, 3 * NH * HS}}},
                         .recipe = [NH = NH, p](Graph&, Vars in) {
                           return causal_attention(scale(in[0], 2), static_cast<int>(NH), p);
                         }});
    }
  }
}

TEST_CASE("gradients of grouped attention, with and without dropout") {
  struct Case {
    std::int64_t B = 1, T = 1, NH = 1, KV = 1, HS = 1;
  };
  for (const auto& [B, T, NH, KV, HS] :
       {Case{1, 1, 1, 1, 1}, Case{2, 5, 4, 2, 3}, Case{1, 70, 2, 1, 2}, Case{5, 3, 4, 4, 1}}) {
    for (const double p : {0.0, 0.3}) {
      require_gradients({.op = "causal_attention",
                         .what = str("B ", B, " T ", T, " NH ", NH, " KV ", KV, " dropout ", p),
                         .inputs = {{{B, T, NH * HS}}, {{B, T, KV * HS}}, {{B, T, KV * HS}}},
                         .recipe = [NH = NH, p](Graph&, Vars in) {
                           return causal_attention(scale(in[0], 2), in[1], in[2],
                                                   static_cast<int>(NH), p);
                         }});
    }
  }
  // One Var for all three: each gradient adds to the same memory.
  require_gradients(
      {.op = "causal_attention",
       .what = "q, k and v are one",
       .inputs = {{{2, 5, 6}}},
       .recipe = [](Graph&, Vars in) { return causal_attention(in[0], in[0], in[0], 2); }});
}

TEST_CASE("gradients of cross-entropy, with ignored targets") {
  for (const Shape& logits : {Shape{1}, {5}, {4, 3}, {2, 3, 7}, {3, 1}}) {
    for (const std::int64_t ignored : {0, 2}) {
      if (logits.rank() < 2 && ignored) continue;
      const Ids ids = targets(logits.size() / logits.last(), logits.last(), ignored);
      require_gradients(
          {.op = "cross_entropy",
           .what = str("every ", ignored, " ignored"),
           .inputs = {{logits}},
           .recipe = [&](Graph&, Vars in) { return cross_entropy(scale(in[0], 3), ids); }});
    }
  }
}

TEST_CASE("gradients of head_loss, with ignored targets") {
  struct Case {
    Shape x{};
    std::int64_t V = 1, ignored = 0;
  };
  for (const auto& [x, V, ignored] : {Case{{1, 1}, 1}, Case{{2, 3, 4}, 7}, Case{{2, 3, 4}, 7, 3},
                                      Case{{5, 2}, 3, 2}, Case{{3}, 5}}) {
    const Ids ids = targets(x.size() / x.last(), V, ignored);
    require_gradients({.op = "head_loss",
                       .what = str(x, " every ", ignored, " ignored"),
                       .inputs = {{x}, {{V, x.last()}}},
                       .recipe = [&](Graph&, Vars in) { return head_loss(in[0], in[1], ids); }});
  }
}

TEST_CASE("gradients of head_loss with a teacher of another width") {
  auto teacher_x = test::draw({{2, 3, 5}}, 1), teacher_head = test::draw({{7, 5}}, 2);
  for (const double tau : {1.0, 2.5}) {
    for (const auto& [alpha, reverse] :
         {std::pair{0.0, 0.0}, {0.3, 0.0}, {1.0, 0.0}, {0.3, 1.0}, {1.0, 0.4}}) {
      for (const std::int64_t ignored : {0, 3}) {
        const Teacher teacher{
            {teacher_x.data(), {2, 3, 5}}, {teacher_head.data(), {7, 5}}, tau, alpha, reverse};
        const Ids ids = targets(6, 7, ignored);
        require_gradients(
            {.op = "head_loss",
             .what = str("tau ", tau, " alpha ", alpha, " reverse ", reverse, " ignored ", ignored),
             .inputs = {{{2, 3, 4}}, {{7, 4}}},
             .recipe = [&](Graph&, Vars in) { return head_loss(in[0], in[1], ids, teacher); }});
      }
    }
  }
}

// More rows than one chunk. Differences would cost rows² here; the general ops, whose gradients are
// checked above, compose the same function.

struct Run {
  std::vector<real> loss{}, dx{}, dhead{};
};

/// Loss and gradients of `loss_of(x, head)`, with a loss gradient other than 1.
Run run(const std::vector<real>& x, const std::vector<real>& head, std::int64_t C,
        const std::function<Var(Var, Var)>& loss_of) {
  auto x_copy = x, head_copy = head;
  Graph g;
  g.begin(Graph::Mode::training);
  const Var xs = g.input({x_copy.data(), {std::ssize(x) / C, C}});
  const Var w = g.input({head_copy.data(), {std::ssize(head) / C, C}});
  const Var loss = loss_of(xs, w);
  Run r{.loss = {loss.item()}};
  g.backward(loss, 3);
  r.dx.assign(g.grad(xs).begin(), g.grad(xs).end());
  r.dhead.assign(g.grad(w).begin(), g.grad(w).end());
  return r;
}

void require_close(const Run& a, const Run& b) {
  const auto close = [](real p, real q) { return std::abs(p - q) < 1e-12; };
  CHECK(std::ranges::equal(a.loss, b.loss, close));
  CHECK(std::ranges::equal(a.dx, b.dx, close));
  CHECK(std::ranges::equal(a.dhead, b.dhead, close));
}

TEST_CASE("head_loss in chunks equals cross-entropy of the logits") {
  constexpr std::int64_t kRows = 300, kVocab = 20000, kChannels = 3;  // chunks of 256 rows
  const Ids ids = targets(kRows, kVocab, 4);
  const auto x = test::draw({{kRows, kChannels}}, 1), head = test::draw({{kVocab, kChannels}}, 2);
  require_close(
      run(x, head, kChannels, [&](Var h, Var w) { return head_loss(h, w, ids); }),
      run(x, head, kChannels, [&](Var h, Var w) { return cross_entropy(linear(h, w), ids); }));
}

TEST_CASE("head_loss with a teacher in chunks equals its formula") {
  constexpr std::int64_t kRows = 4100, kVocab = 3, kChannels = 2;  // chunks of 4096 rows
  constexpr double kTau = 1.5, kAlpha = 0.3;
  const Ids ids = targets(kRows, kVocab, 5);
  const auto x = test::draw({{kRows, kChannels}}, 1), head = test::draw({{kVocab, kChannels}}, 2);
  auto teacher_x = test::draw({{kRows, 1}}, 3), teacher_head = test::draw({{kVocab, 1}}, 4);
  const Teacher teacher{
      {teacher_x.data(), {kRows, 1}}, {teacher_head.data(), {kVocab, 1}}, kTau, kAlpha};
  std::vector<real> counts(kRows);  // 1 where the target counts
  std::ranges::transform(ids, counts.begin(), [](std::int32_t id) { return id < 0 ? 0 : 1; });
  const double counted = std::accumulate(counts.begin(), counts.end(), 0.0);
  const auto formula = [&](Var h, Var w) {
    Graph& g = *h.graph;
    const Var logits = linear(h, w);
    const Var teacher_logits = linear(g.constant(teacher.x), g.constant(teacher.head));
    const Var p = softmax(scale(teacher_logits, 1 / kTau));
    const Var q = softmax(scale(logits, 1 / kTau));
    const Var kl = sum(mul(p, sub(log(p), log(q))), 1);  // [rows]
    const Var mean_kl = scale(sum(mul(kl, g.constant({counts.data(), {kRows}}))), 1 / counted);
    return add(scale(cross_entropy(logits, ids), 1 - kAlpha), scale(mean_kl, kAlpha * kTau * kTau));
  };
  require_close(
      run(x, head, kChannels, [&](Var h, Var w) { return head_loss(h, w, ids, teacher); }),
      run(x, head, kChannels, formula));
}

TEST_CASE("a student equal to its teacher has no distillation gradient") {
  // KL(p || p) = 0 is a minimum for every temperature.
  auto x = test::draw({{4, 3}}, 1), head = test::draw({{5, 3}}, 2);
  const Tensor xs{x.data(), {4, 3}}, w{head.data(), {5, 3}};
  const Ids ids = targets(4, 5);
  Graph g;
  for (const double tau : {0.5, 1.0, 4.0}) {
    g.begin(Graph::Mode::training);
    const Var student = g.input(xs);
    const Var student_head = g.input(w);
    const Var loss = head_loss(student, student_head, ids, Teacher{xs, w, tau, 1, 0.5});
    CHECK(std::abs(loss.item()) < 1e-15);
    g.backward(loss);
    for (const real d : g.grad(student)) CHECK(std::abs(d) < 1e-15);
    for (const real d : g.grad(student_head)) CHECK(std::abs(d) < 1e-15);
  }
}

}  // namespace notch::model_ops_test
