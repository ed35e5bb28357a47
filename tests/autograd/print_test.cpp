// The tape as text: one line per node with what a reader needs to follow it.

#include "autograd/print.h"

#include <sstream>

#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::print_test {

std::vector<std::vector<std::string>> words_by_line(const std::string& text) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    lines.emplace_back();
    for (std::string word; words >> word;) lines.back().push_back(word);
  }
  return lines;
}

using Words = std::vector<std::string>;

/// sum(3 · w · x) with w = [1, 2], x = [10, 20].
struct Example {
  ParamStore params;
  test::Array x{{2}, {10, 20}};
  Graph g;
  Var loss;
  Example() {
    Param& w = params.add("w", {2});
    params.allocate_values();
    params.allocate_gradients();
    w.value.data[0] = 1;
    w.value.data[1] = 2;
    g.set_trace(true);
    g.begin(Graph::Mode::training);
    const Var weight = g.param(w);
    const Var in = g.input(x.tensor(), "x");
    const LabelScope scope(g, "layer");
    loss = sum(scale(mul(weight, in), 3));
  }
};

TEST_CASE("print gives one line per node: id, op, label, shape, inputs") {
  Example e;
  const auto lines = words_by_line(print(e.g));
  REQUIRE(lines.size() == 5);
  CHECK(lines[0] == Words{"%0", "param", "w", "[2]"});
  CHECK(lines[1] == Words{"%1", "leaf", "x", "[2]"});
  CHECK(lines[2] == Words{"%2", "mul", "layer", "[2]", "%0", "%1"});
  CHECK(lines[3] == Words{"%3", "scale", "layer", "[2]", "%2"});
  CHECK(lines[4] == Words{"%4", "sum", "layer", "[1]", "%3"});
}

TEST_CASE("print gives gradient norms after backward of a traced graph") {
  Example e;
  e.g.backward(e.loss);
  const auto lines = words_by_line(print(e.g));
  REQUIRE(lines.size() == 5);
  const auto norm = [&](std::size_t i) {
    REQUIRE(lines[i].size() > 2);
    REQUIRE(lines[i][lines[i].size() - 2] == "|grad|");
    return std::stod(lines[i].back());
  };
  CHECK(norm(4) == 1);
  CHECK(norm(3) == Approx(std::sqrt(2)).epsilon(1e-3));           // [1, 1]
  CHECK(norm(2) == Approx(std::sqrt(18)).epsilon(1e-3));          // [3, 3]
  CHECK(norm(1) == Approx(std::sqrt(9 + 36)).epsilon(1e-3));      // 3 w
  CHECK(norm(0) == Approx(std::sqrt(900 + 3600)).epsilon(1e-3));  // 3 x
}

TEST_CASE("to_dot draws every node and every edge, leaves as boxes") {
  Example e;
  const std::string dot = to_dot(e.g);
  const auto count = [&](const std::string& what) {
    int n = 0;
    for (auto at = dot.find(what); at != std::string::npos; at = dot.find(what, at + 1)) ++n;
    return n;
  };
  CHECK(dot.starts_with("digraph"));
  CHECK(count("shape=box") == 2);
  CHECK(count("shape=ellipse") == 3);
  CHECK(count(" -> ") == 4);
  for (const char* edge : {"n0 -> n2;", "n1 -> n2;", "n2 -> n3;", "n3 -> n4;"})
    CHECK(count(edge) == 1);
  CHECK(count("{") == count("}"));
}

}  // namespace notch::print_test
