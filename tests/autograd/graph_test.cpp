// The tape: which values may be used, how gradients flow and add up, what is refused.

#include "autograd/graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::graph_test {

using test::Array;
using test::copy;
using test::error_of;
using Reals = std::vector<real>;

constexpr auto kTraining = Graph::Mode::training;
constexpr auto kInference = Graph::Mode::inference;

TEST_CASE("a value of an earlier step is refused") {
  Graph g;
  Array a{{2}, {1, 2}};
  g.begin(kTraining);
  const Var old = g.input(a.tensor());
  g.begin(kTraining);
  const Var now = g.input(a.tensor());
  CHECK(error_of([&] { old.value(); }).where == "graph");
  CHECK(error_of([&] { add(now, old); }).where == "graph");
  CHECK(error_of([&] { g.grad(old); }).where == "graph");
  CHECK(error_of([&] { g.keep(old); }).where == "graph");
}

TEST_CASE("a value of another graph is refused") {
  Graph g, other;
  Array a{{2}, {1, 2}};
  g.begin(kTraining);
  other.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var y = other.input(a.tensor());
  CHECK(error_of([&] { add(x, y); }).where == "graph");
}

TEST_CASE("a graph refuses values of an earlier one at the same address") {
  Array a{{2}, {1, 2}};
  std::optional<Graph> g;
  g.emplace().begin(kTraining);
  const Var old = g->input(a.tensor());
  g.emplace().begin(kTraining);
  g->input(a.tensor());
  CHECK(error_of([&] { old.value(); }).where == "graph");
}

TEST_CASE("backward is refused where it has no meaning") {
  Graph g;
  Array a{{2}, {1, 2}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var y = exp(x);
  const Var loss = sum(y);
  const Var constant = sum(g.constant(a.tensor()));
  const Reals three(3, 1);
  CHECK(error_of([&] { g.backward(y); }).where == "backward");         // two elements
  CHECK(error_of([&] { g.backward(y, three); }).where == "backward");  // three for two
  CHECK(error_of([&] { g.backward(constant); }).where == "backward");  // no gradient wanted
  g.backward(loss);
  CHECK_THROWS_AS(g.backward(loss), Error);  // swept already
  g.begin(kInference);
  const Var z = sum(g.input(a.tensor()));
  CHECK(error_of([&] { g.backward(z); }).where == "backward");
}

TEST_CASE("a value that is used twice gets the sum of both gradients") {
  Graph g;
  Array a{{3}, {1, -2, 0.5}};
  const auto gradient = [&](auto&& f) {
    g.begin(kTraining);
    const Var x = g.input(a.tensor());
    g.backward(sum(f(x)));
    return copy(g.grad(x));
  };
  CHECK(gradient([](Var x) { return add(x, x); }) == Reals{2, 2, 2});
  CHECK(gradient([](Var x) { return sub(x, x); }) == Reals{0, 0, 0});
  CHECK(gradient([](Var x) { return mul(x, x); }) == Reals{2, -4, 1});
  CHECK(gradient([](Var x) { return add(add(x, x), x); }) == Reals{3, 3, 3});
  CHECK(gradient([](Var x) { return mul(mul(x, x), x); }) == Reals{3, 12, 0.75});  // 3 x²
  CHECK(gradient([](Var x) {
          const Var both[] = {x, scale(x, 5), x};
          return concat(both, 0);
        }) == Reals{7, 7, 7});
}

TEST_CASE("paths of a diamond add up, whatever their lengths") {
  Graph g;
  Array a{{1}, {3}}, b{{1}, {2}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor()), y = g.input(b.tensor());
  const Var p = mul(x, y);            // 6
  const Var q = mul(p, x);            // 18
  const Var r = add(p, scale(q, 2));  // 42
  const Var loss = mul(r, p);         // (xy + 2x²y) xy = x²y² + 2x³y²
  CHECK(loss.item() == 252);
  g.backward(loss);
  CHECK(g.grad(x)[0] == 2 * 3 * 4 + 6 * 9 * 4);   // 2xy² + 6x²y²
  CHECK(g.grad(y)[0] == 2 * 9 * 2 + 4 * 27 * 2);  // 2x²y + 4x³y
}

TEST_CASE("views share memory forward and add their gradients backward") {
  Graph g;
  Array a{{2, 2}, {1, 2, 3, 4}}, w{{4}, {10, 20, 30, 40}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var y = scale(x, 2);
  const Var flat = reshape(y, {4});
  const Var column = reshape(flat, {4, 1});
  CHECK(flat.value().data == y.value().data);
  CHECK(column.value().data == y.value().data);
  const Var weighted = mul(flat, g.constant(w.tensor()));
  g.backward(sum(add(add(weighted, reshape(column, {4})), reshape(y, {4}))));
  CHECK(copy(g.grad(x)) == Reals{2 * (10 + 2), 2 * (20 + 2), 2 * (30 + 2), 2 * (40 + 2)});
}

TEST_CASE("a view of a parameter adds to the parameter's gradient") {
  ParamStore params;
  Param& p = params.add("p", {2, 2});
  params.allocate_values();
  params.allocate_gradients();
  Graph g;
  g.begin(kTraining);
  const Var row = reshape(g.param(p), {4});
  g.backward(sum(row));
  CHECK(copy(p.grad.flat()) == Reals{1, 1, 1, 1});
}

TEST_CASE("gradients of parameters add up until they are zeroed") {
  ParamStore params;
  Param& p = params.add("p", {2});
  params.allocate_values();
  params.allocate_gradients();
  Graph g;
  const auto step = [&](real seed) {
    g.begin(kTraining);
    g.backward(sum(g.param(p)), seed);
  };
  step(1);
  step(0.5);
  CHECK(copy(p.grad.flat()) == Reals{1.5, 1.5});
  params.zero_gradients();
  step(2);
  CHECK(copy(p.grad.flat()) == Reals{2, 2});
}

TEST_CASE("a parameter is one node per step, a constant has no gradient") {
  ParamStore params;
  Param& p = params.add("p", {1});
  Param& packed = params.add("packed", {1});
  params.allocate_values([](const Param& q) { return q.name == "p"; });
  Graph g;
  g.begin(kTraining);
  const Var first = g.param(p);
  CHECK(g.param(p).id == first.id);
  CHECK(g.nodes().size() == 1);
  CHECK(error_of([&] { g.backward(exp(first)); }).where == "backward");
  CHECK(error_of([&] { g.param(packed); }).where == "packed");
  params.allocate_gradients();
  g.begin(kTraining);
  g.backward(exp(g.param(p)));
  CHECK(p.grad.data[0] == 1);
}

TEST_CASE("backward from the middle leaves later nodes alone") {
  Graph g;
  Array a{{2}, {1, 2}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor()), unused = g.input(a.tensor());
  const Var y = mul(x, x);
  sum(mul(y, unused));
  const Reals dout = {10, 100};
  g.backward(y, dout);
  CHECK(copy(g.grad(x)) == Reals{20, 400});
  CHECK(g.grad(unused).empty());
  CHECK(error_of([&] { g.grad(y); }).where == "graph");  // kept for leaves only
}

TEST_CASE("an error inside an op leaves a graph that begins anew") {
  Graph g;
  Array a{{2, 3}, {1, 2, 3, 4, 5, 6}}, b{{2}, {1, 2}};
  for (const auto mode : {kTraining, kInference}) {
    g.begin(mode);
    const Var x = exp(g.input(a.tensor()));
    CHECK(error_of([&] { add(x, g.constant(b.tensor())); }).where == "add");
    g.begin(mode);
    CHECK(sum(g.input(a.tensor())).item() == 21);
  }
}

TEST_CASE("checking names the first non-finite node by op and layer") {
  Graph g;
  g.set_check_finite(true);
  Array a{{3}, {1, 0, -1}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const auto error = error_of([&] {
    const LabelScope outer(g, "h.0");
    const Var y = exp(x);
    const LabelScope inner(g, "h.0.mlp");
    exp(log(y));          // log of positive numbers: fine
    add(exp(y), log(x));  // log(0) and log(-1)
  });
  CHECK(error.fault == Fault::numeric);
  CHECK(error.field == "log");
  CHECK(error.where == "h.0.mlp");
  CHECK(g.label().empty());
}

TEST_CASE("checking names a non-finite gradient of finite values") {
  Graph g;
  g.set_check_finite(true);
  Array a{{2}, {4, 1e-30f}};
  Array huge{{2}, {1, 1e30f}};
  g.begin(kTraining);
  const Var x = g.input(a.tensor());
  const Var scaled = mul(x, g.constant(huge.tensor()));  // [4, 1]
  const Var y = mul(scaled, g.constant(huge.tensor()));  // [4, 1e30]
  const Var loss = sum(y);
  const auto error = error_of([&] { g.backward(loss); });  // d/dx = 1e60
  CHECK(error.fault == Fault::numeric);
  CHECK(error.field == "input");
}

TEST_CASE("checking names the parameter whose gradient overflows") {
  ParamStore params;
  Param& w = params.add("h.0.mlp.c_fc.weight", {1, 1});
  params.allocate_values();
  params.allocate_gradients();
  Array a{{1, 1}, {1e30f}};
  Graph g;
  g.set_check_finite(true);
  g.begin(kTraining);
  const Var x = g.constant(a.tensor());
  const Var y = scale(linear(x, g.param(w)), 1e20);  // w = 0: the value is 0, d/dw = 1e50
  const auto error = error_of([&] { g.backward(sum(y)); });
  CHECK(error.fault == Fault::numeric);
  CHECK(error.where == "h.0.mlp.c_fc.weight");
}

TEST_CASE("dropout masks differ between nodes and between steps") {
  // Also along the diagonal (next step, previous node): a key that adds the two would repeat.
  constexpr std::int64_t kN = 256;
  Array ones{{kN}, Reals(kN, 1)};
  Graph g;
  std::vector<Reals> masks;
  for (std::uint64_t key = 10; key < 13; ++key) {
    g.begin(kTraining, key);
    const Var x = g.constant(ones.tensor());
    for (int node = 0; node < 3; ++node) masks.push_back(copy(dropout(x, 0.5).value().flat()));
  }
  for (std::size_t i = 0; i < masks.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK_FALSE(masks[i] == masks[j]);
  g.begin(kTraining, 10);
  CHECK(copy(dropout(g.constant(ones.tensor()), 0.5).value().flat()) == masks[0]);
}

TEST_CASE("dropout scales what it keeps, inference is the identity") {
  constexpr std::int64_t kN = 20000;
  Array ones{{kN}, Reals(kN, 1)};
  Graph g;
  g.begin(kTraining, 3);
  const Reals dropped = copy(dropout(g.constant(ones.tensor()), 0.25).value().flat());
  const auto zeros = std::ranges::count(dropped, real{0});
  // Binomial(20000, 1/4): standard deviation 61, five of them allowed.
  CHECK(std::abs(zeros - kN / 4) < 5 * 61);
  CHECK(std::ranges::count_if(dropped, [](real v) { return std::abs(v - 4.0f / 3) < 1e-6f; }) ==
        kN - zeros);
  g.begin(kInference, 3);
  const Var x = g.constant(ones.tensor());
  CHECK(dropout(x, 0.25).id == x.id);
  CHECK(error_of([&] { dropout(x, 1); }).where == "dropout");
}

TEST_CASE("an empty Var is refused by every op and by the graph") {
  Array ones{{2, 2}, Reals(4, 1)};
  Graph g;
  g.begin(kTraining);
  const Var x = g.input(ones.tensor()), none{};
  const std::array<std::int32_t, 2> ids{0, 1};
  const std::array<Var, 2> parts{x, none}, first{none, x};
  const auto refused = [](const auto& action) {
    const ErrorParts e = error_of(action);
    CHECK(e.fault == Fault::usage);
    CHECK(e.where == "graph");
    CHECK(e.what.find("empty Var") != std::string::npos);
  };
  refused([&] { none.value(); });
  refused([&] { none.shape(); });
  refused([&] { none.item(); });
  refused([&] { add(none, x); });
  refused([&] { add(x, none); });
  refused([&] { exp(none); });
  refused([&] { dropout(none, 0.5); });
  refused([&] { matmul(none, x); });
  refused([&] { matmul(x, none); });
  refused([&] { linear(x, none); });
  refused([&] { linear(x, x, none); });
  refused([&] { sum(none); });
  refused([&] { softmax(none); });
  refused([&] { reshape(none, {4}); });
  refused([&] { slice(none, 0, 0, 1); });
  refused([&] { concat(parts, 0); });
  refused([&] { concat(first, 0); });
  refused([&] { embedding(none, ids, 1, 2); });
  refused([&] { g.backward(none); });
  refused([&] { g.keep(none); });
  refused([&] { g.grad(none); });
  CHECK(sum(x).item() == 4);  // the graph still works
}

TEST_CASE("a tensor without values is refused where they are asked for") {
  ParamStore store;
  Param& p = store.add("w", {2, 3});
  const auto refused = [](const auto& action) {
    const ErrorParts e = error_of(action);
    CHECK(e.fault == Fault::usage);
    CHECK(e.what.find("[2, 3]") != std::string::npos);
    CHECK(e.hint.find("allocate_values") != std::string::npos);
  };
  Graph g;
  g.begin(kTraining);
  refused([&] { p.value.flat(); });
  refused([&] { g.constant(p.value); });
  refused([&] { g.input(p.value); });
  store.allocate_values();
  CHECK(p.value.flat().size() == 6);
  refused([&] { p.grad.flat(); });
  store.allocate_gradients();
  CHECK(p.grad.flat().size() == 6);
  CHECK(Tensor{nullptr, {0, 3}}.flat().empty());  // nothing is missing
}

}  // namespace notch::graph_test
