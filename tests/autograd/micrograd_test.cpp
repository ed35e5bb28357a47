// The example of micrograd's README (Karpathy 2020, github.com/karpathy/micrograd), built from
// scalar ops: its printed numbers are the expectation.

#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::micrograd_test {

TEST_CASE("micrograd's example gives micrograd's value and gradients") {
  test::Array four{{1}, {-4}}, two{{1}, {2}}, one{{1}, {1}}, ten{{1}, {10}};
  Graph g;
  g.begin(Graph::Mode::training);
  const Var a = g.input(four.tensor(), "a"), b = g.input(two.tensor(), "b");
  const Var unit = g.constant(one.tensor(), "1");
  Var c = add(a, b);
  Var d = add(mul(a, b), mul(mul(b, b), b));      // a b + b³
  c = add(c, add(c, unit));                       // c += c + 1
  c = add(c, sub(add(unit, c), a));               // c += 1 + c + (-a)
  d = add(d, add(scale(d, 2), relu(add(b, a))));  // d += d * 2 + (b + a).relu()
  d = add(d, add(scale(d, 3), relu(sub(b, a))));  // d += 3 * d + (b - a).relu()
  const Var e = sub(c, d);
  const Var f = mul(e, e);
  const Var half = scale(f, 0.5);
  const Var out = add(half, div(g.constant(ten.tensor(), "10"), f));  // g = f / 2 + 10 / f
  CHECK(out.item() == Approx(24.7041).epsilon(1e-4));
  g.backward(out);
  CHECK(g.grad(a)[0] == Approx(138.8338).epsilon(1e-4));
  CHECK(g.grad(b)[0] == Approx(645.5773).epsilon(1e-4));
}

}  // namespace notch::micrograd_test
