// The checker itself: it must see each kind of wrong backward.

#include "tests/gradients/gradcheck.h"

#include <algorithm>

#include "tests/catch.h"

namespace notch::gradcheck_test {

enum class Wrong { nothing, last_element, overwrites, writes_unwanted_too };

/// y = a · a + b, with a backward that is wrong in one way.
struct SquarePlus {
  static constexpr std::string_view name = "square_plus";
  Wrong wrong;
  Tensor forward(Forward& f) {
    const Tensor a = f.in(0), b = f.in(1), y = f.out(a.shape);
    for (std::int64_t i = 0; i < y.size(); ++i) y.data[i] = a.data[i] * a.data[i] + b.data[i];
    return y;
  }
  void backward(Backward& back) const {
    const Tensor a = back.in(0);
    const auto dy = back.dout();
    const auto da = back.grad(0), db = back.grad(1);
    for (std::size_t i = 0; i < dy.size(); ++i) {
      const double right = 2 * a.data[i] * dy[i];
      const bool off = wrong == Wrong::last_element && i + 1 == dy.size();
      if (!da.empty()) {
        da[i] = (wrong == Wrong::overwrites ? 0 : da[i]) + (off ? right * (1 + 1e-5) : right);
      }
      if (!db.empty()) db[i] += dy[i];
      if (wrong == Wrong::writes_unwanted_too && da.empty()) db[i] += dy[i];
    }
  }
};

std::optional<test::Mismatch> mismatch_of(Wrong wrong) {
  return test::check_gradients({.op = "square_plus",
                                .inputs = {{{2, 3}}, {{2, 3}}},
                                .recipe = [wrong](Graph& g, std::span<const Var> in) {
                                  return g.record(SquarePlus{wrong}, {in[0], in[1]});
                                }});
}

TEST_CASE("the gradient checker accepts a right backward") {
  CHECK_FALSE(mismatch_of(Wrong::nothing).has_value());
}

TEST_CASE("the checker names input and index of an error of 1e-5") {
  const auto m = mismatch_of(Wrong::last_element);
  REQUIRE(m.has_value());
  CHECK(m->op == "square_plus");
  CHECK(m->input == "input 0 [2, 3]");
  CHECK(m->index == 5);
  CHECK(m->received == Approx(m->expected * (1 + 1e-5)).epsilon(1e-7));
}

TEST_CASE("the checker sees a backward that overwrites, not adds") {
  const auto m = mismatch_of(Wrong::overwrites);
  REQUIRE(m.has_value());
  CHECK(m->pass == "adding");
}

TEST_CASE("the checker sees an error when one gradient is unwanted") {
  const auto m = mismatch_of(Wrong::writes_unwanted_too);
  REQUIRE(m.has_value());
  CHECK(m->pass == "alone");
  CHECK(m->input == "input 1 [2, 3]");
}

TEST_CASE("a gradient row that does not record its op is refused") {
  const auto error = test::error_of([] {
    test::check_gradients({.op = "softmax",
                           .inputs = {{{2}}},
                           .recipe = [](Graph&, std::span<const Var> in) { return exp(in[0]); }});
  });
  CHECK(error.where == "softmax");
}

TEST_CASE("parameter gradients are compared parameter by parameter") {
  ParamStore params;
  Param& w = params.add("w", {3});
  params.allocate_values();
  params.allocate_gradients();
  for (int i = 0; i < 3; ++i) w.value.data[i] = 0.3 * i - 0.2;
  const auto loss = [&](double wrong) {
    return [&params, wrong](Graph& g) {
      const Var x = g.param(*params.find("w"));
      const Var y = mul(x, x);
      // A constant of the same value has the same difference quotient but no gradient.
      const Tensor copy = x.value();
      return sum(add(y, scale(g.constant(copy), wrong)));
    };
  };
  CHECK_FALSE(test::check_parameter_gradients("squares", params, loss(0)).has_value());
  const auto m = test::check_parameter_gradients("squares", params, loss(1e-4));
  REQUIRE(m.has_value());
  CHECK(m->input == "w");
  CHECK(m->index == 0);
}

}  // namespace notch::gradcheck_test
