// How long values live: training frees behind the backward sweep, inference recycles on runs that
// repeat the previous one.

#include <algorithm>
#include <string>

#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::lifetimes_test {

using test::Array;
using test::copy;
using test::error_of;
using Reals = std::vector<real>;

constexpr auto kTraining = Graph::Mode::training;
constexpr auto kInference = Graph::Mode::inference;
constexpr std::int64_t kN = 4096;
constexpr std::size_t kBlock = kN * sizeof(real);  // bytes of one activation
constexpr std::size_t kLoss = 64;                  // one element, rounded up to the alignment
constexpr int kDepth = 20;

/// Notes how much memory is in use when it runs; passes its input on.
struct Probe {
  static constexpr std::string_view name = "probe";
  const Graph* graph;
  std::size_t* peak;
  Tensor forward(Forward& f) {
    *peak = std::max(*peak, graph->arena().bytes_in_use());
    return f.view(0, f.in(0).shape);
  }
  void backward(Backward& b) const { b.pass_dout(0); }
};

/// y = x², once as an op that keeps its value and once as one that can make it again.
template <bool kAgain>
struct Square {
  static constexpr std::string_view name = "square";
  int* runs;
  Tensor run(Forward& f) const {
    ++*runs;
    const Tensor x = f.in(0), y = f.out(x.shape);
    std::transform(x.data, x.data + x.size(), y.data, [](real v) { return v * v; });
    return y;
  }
  Tensor forward(Forward& f) { return run(f); }
  Tensor recompute(Forward& f) const requires kAgain { return run(f); }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    const auto [dx, fresh] = b.first_grad(0);
    for (std::size_t i = 0; i < dx.size(); ++i)
      dx[i] = (fresh ? 0 : dx[i]) + 2 * x.data[i] * b.dout()[i];
  }
};

Array ramp() {
  Array a{{kN}, Reals(kN)};
  for (std::size_t i = 0; i < a.values.size(); ++i)
    a.values[i] = static_cast<real>(i % 101) / 100 - 0.5f;
  return a;
}

/// A residual chain: every value is used twice, the second time two ops later.
Var chain(Graph& g, Var x, std::size_t* peak = nullptr) {
  std::size_t ignored = 0;
  for (int i = 0; i < kDepth; ++i) {
    const Var y = tanh(x);
    const Var probed = g.record(Probe{&g, peak ? peak : &ignored}, {y});
    x = add(x, scale(probed, 0.5));
  }
  return x;
}

TEST_CASE("after backward only the loss and input gradients are in use") {
  ParamStore params;
  Param& p = params.add("p", {kN});
  params.allocate_values();
  params.allocate_gradients();
  Array a = ramp();
  Graph g;
  g.begin(kTraining, 1);
  const Var w = g.param(p);
  const Var constant = exp(g.constant(a.tensor()));
  const Var x = dropout(add(chain(g, w), constant), 0.1);
  const std::int32_t targets[] = {3, 1};
  const Var loss = cross_entropy(reshape(layernorm(x, w, w), {2, kN / 2}), targets);
  exp(x);  // recorded after everything the loss needs, and used by nobody
  g.backward(loss);
  CHECK(g.arena().bytes_in_use() == kLoss);

  g.begin(kTraining, 1);
  const Var in = g.input(a.tensor());
  g.backward(sum(chain(g, in)));
  CHECK(g.arena().bytes_in_use() == kBlock + kLoss);
}

TEST_CASE("activation gradients reuse memory as backward passes them") {
  Array a = ramp();
  Graph g;
  std::size_t forward_peak = 0;
  g.begin(kTraining);
  const Var loss = sum(chain(g, g.input(a.tensor()), &forward_peak));
  const std::size_t values = g.arena().bytes_in_use();
  g.backward(loss);
  CHECK(values >= 3 * kDepth * kBlock);
  CHECK(g.arena().peak_bytes() <= values + 4 * kBlock);
}

TEST_CASE("steps that repeat their shapes reserve nothing new") {
  Array a = ramp();
  Graph g;
  const auto step = [&] {
    g.begin(kTraining);
    g.backward(sum(chain(g, g.input(a.tensor()))));
    g.begin(kInference);
    chain(g, g.input(a.tensor()));
  };
  step();
  step();
  const std::size_t reserved = g.arena().bytes_reserved(), peak = g.arena().peak_bytes();
  for (int i = 0; i < 5; ++i) step();
  CHECK(g.arena().bytes_reserved() == reserved);
  CHECK(g.arena().peak_bytes() == peak);
}

TEST_CASE("a recomputable value is in memory only while an op reads it") {
  Array a = ramp();
  int runs[2] = {};
  std::size_t in_use[2] = {};
  Reals gradients[2];
  const auto run = [&]<bool kAgain>(std::bool_constant<kAgain>) {
    Graph g;
    g.begin(kTraining);
    const Var x = g.input(a.tensor());
    Var y = x;
    for (int i = 0; i < 3; ++i) {
      const Var squared = g.record(Square<kAgain>{&runs[kAgain]}, {y});
      y = mul(tanh(squared), x);
    }
    in_use[kAgain] = g.arena().bytes_in_use();
    g.backward(sum(y));
    const auto d = g.grad(x);
    gradients[kAgain].assign(d.begin(), d.end());
  };
  run(std::false_type{});
  run(std::true_type{});
  CHECK(in_use[0] - in_use[1] >= 3 * kBlock);  // the squares
  CHECK(runs[0] == 3);
  CHECK(runs[1] == 3);  // tanh's gradient needs its output only, so nothing was made again
  CHECK(gradients[0] == gradients[1]);

  Graph g;
  g.begin(kTraining);
  int made = 0;
  const Var x = g.input(a.tensor());
  const Var y = g.record(Square<true>{&made}, {x});
  const Var z = mul(y, y);  // its gradient reads y
  CHECK(made == 1);
  g.backward(sum(z));
  CHECK(made == 2);
  for (std::size_t i = 0; i < kN; ++i)  // d(x⁴)/dx
    REQUIRE(g.grad(x)[i] == 4 * (a.values[i] * a.values[i]) * a.values[i]);
}

TEST_CASE("a recomputable value is there for a caller and for views") {
  Array a = ramp();
  Graph g;
  int made = 0;
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var y = g.record(Square<true>{&made}, {x});
  const Var z = scale(y, 2);
  CHECK(y.value().data[7] == a.values[7] * a.values[7]);
  CHECK(made == 2);
  const Var w = g.record(Square<true>{&made}, {z});
  const Var seen = reshape(w, {2, kN / 2});
  scale(w, 3);
  CHECK(made == 3);  // the view holds w's memory
  const real square = a.values[7] * a.values[7];
  CHECK(seen.value().data[7] == 4 * (square * square));
  CHECK_NOTHROW(g.backward(sum(seen)));
  CHECK(g.arena().bytes_in_use() == kBlock + kLoss);
}

TEST_CASE("after backward a value is gone unless it was kept") {
  Array a = ramp();
  Graph g;
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var gone = exp(x), kept = exp(x);
  const Var loss = sum(add(gone, kept));
  g.keep(kept);
  const Reals before = copy(kept.value().flat());
  g.backward(loss);
  CHECK(error_of([&] { gone.value(); }).where == "graph");
  CHECK(copy(kept.value().flat()) == before);
}

TEST_CASE("an inference run twice recycles values and computes the same") {
  Array a = ramp();
  Graph g;
  Reals results[3];
  std::size_t peaks[3] = {};
  for (int run = 0; run < 3; ++run) {
    g.begin(kInference);
    results[run] = copy(chain(g, g.input(a.tensor()), &peaks[run]).value().flat());
  }
  CHECK(results[1] == results[0]);
  CHECK(results[2] == results[0]);
  CHECK(peaks[0] >= (3 * kDepth - 2) * kBlock);
  CHECK(peaks[1] <= 4 * kBlock);
  CHECK(peaks[2] == peaks[1]);
}

TEST_CASE("a recycled value is refused, a kept one is not") {
  Array a = ramp();
  Graph g;
  Var inner, kept;
  Reals first;
  for (int run = 0; run < 2; ++run) {
    g.begin(kInference);
    inner = exp(g.input(a.tensor()));
    kept = tanh(inner);
    g.keep(kept);
    if (run == 0) first = copy(kept.value().flat());
    chain(g, add(kept, inner));
  }
  CHECK(copy(kept.value().flat()) == first);
  CHECK(error_of([&] { inner.value(); }).where == "graph");
  CHECK(error_of([&] { exp(inner); }).where == "graph");
}

TEST_CASE("the last value of a run stays readable when it is a view") {
  Array a = ramp();
  Graph g;
  Reals results[3];
  for (Reals& result : results) {
    g.begin(kInference);
    const Var y = exp(g.input(a.tensor()));
    result = copy(reshape(reshape(y, {kN / 2, 2}), {2, kN / 2}).value().flat());
  }
  CHECK(results[1] == results[0]);
  CHECK(results[2] == results[0]);
}

TEST_CASE("a view keeps the memory it looks at until its own last use") {
  Array a = ramp();
  Graph g;
  Reals results[3];
  for (Reals& result : results) {
    g.begin(kInference);
    const Var y = exp(g.input(a.tensor()));
    const Var view = reshape(y, {2, kN / 2});
    const Var other = tanh(scale(g.input(a.tensor()), 3));  // would take y's memory
    result = copy(add(reshape(other, {2, kN / 2}), view).value().flat());
  }
  CHECK(results[1] == results[0]);
  CHECK(results[2] == results[0]);
}

TEST_CASE("a run unlike the one before keeps its values and is right") {
  Array a = ramp();
  const auto two = [](Graph& g, Var x) { return add(exp(tanh(x)), chain(g, x)); };
  const auto three = [](Graph& g, Var x) { return add(tanh(exp(x)), chain(g, relu(x))); };
  const auto alone = [&](const auto& f) {
    Graph g;
    g.begin(kInference);
    return copy(f(g, g.input(a.tensor())).value().flat());
  };
  const Reals want_two = alone(two), want_three = alone(three);
  Graph g;
  for (int run = 0; run < 6; ++run) {
    g.begin(kInference);
    const Var x = g.input(a.tensor());
    const bool first = run % 3 != 2;  // two, two, three, two, two, three
    CHECK(copy((first ? two(g, x) : three(g, x)).value().flat()) ==
          (first ? want_two : want_three));
  }
}

TEST_CASE("training between two inferences leaves their plan alone") {
  Array a = ramp();
  Graph g;
  Reals results[3];
  std::size_t peak = 0;
  for (int run = 0; run < 3; ++run) {
    g.begin(kInference);
    peak = 0;
    results[run] = copy(chain(g, g.input(a.tensor()), &peak).value().flat());
    g.begin(kTraining);
    g.backward(sum(exp(g.input(a.tensor()))));
  }
  CHECK(results[2] == results[0]);
  CHECK(peak <= 4 * kBlock);
}

TEST_CASE("a run that was cut short is no plan for the next one") {
  Array a = ramp(), wrong{{3}, {1, 2, 3}};
  Graph g;
  Reals results[4];
  for (int run = 0; run < 4; ++run) {
    g.begin(kInference);
    const Var x = exp(g.input(a.tensor()));
    const Var y = tanh(x);
    if (run == 1) {
      // In this run tanh was the last to use x; the next one needs x again.
      CHECK(error_of([&] { add(y, g.constant(wrong.tensor())); }).where == "add");
      continue;
    }
    results[run] = copy(add(y, x).value().flat());
  }
  CHECK(results[2] == results[0]);
  CHECK(results[3] == results[0]);
}

TEST_CASE("a run that needs a value for longer fails once, not for ever") {
  Array a = ramp();
  Graph g;
  const auto shorter = [&] {
    g.begin(kInference);
    const Var x = exp(g.input(a.tensor()));
    return std::pair(x, tanh(x));
  };
  shorter();
  const auto longer = [&] {
    const auto [x, y] = shorter();
    return copy(add(y, x).value().flat());
  };
  CHECK(error_of([&] { longer(); }).where == "graph");
  const Reals second = longer();
  CHECK(longer() == second);
}

}  // namespace notch::lifetimes_test
