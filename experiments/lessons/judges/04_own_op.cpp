#include <cmath>

#include "autograd/ops.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_own_op(Judge& judge, Var (*softplus)(Var x)) {
  std::vector<real> x = {0, 1, -2, 100};
  const std::vector<real> r = {1, -2, 4, 3};
  Graph g;
  g.begin(Graph::Mode::training);
  const Var vx = g.input({x.data(), {4}}, "x");
  const Var y = softplus(vx);
  // log 2; 1 + log(1 + 1/e); log(1 + 1/e²); 100 + e^-100.
  judge.equal("softplus of [0, 1, -2, 100]", y.value().flat(),
              {std::log(2.0), 1 + std::log1p(std::exp(-1.0)), std::log1p(std::exp(-2.0)), 100},
              1e-5, "x + log(1 + exp(-x)) where x is large");
  g.backward(y, r);
  const Vector slope = {0.5, 1 / (1 + std::exp(-1.0)), 1 / (1 + std::exp(2.0)), 1};
  judge.equal("its gradient with dout = [1, -2, 4, 3]", g.grad(vx),
              {slope[0], -2 * slope[1], 4 * slope[2], 3 * slope[3]}, 1e-5,
              "dx_i += dout_i / (1 + exp(-x_i))");

  g.begin(Graph::Mode::training);
  const Var again = g.input({x.data(), {2, 2}}, "x");
  const Var smooth = softplus(again);
  const Var both = add(smooth, again);
  g.backward(both, r);
  judge.equal("gradient of softplus(x) + x, x of shape [2, 2]", g.grad(again),
              {slope[0] + 1, -2 * (slope[1] + 1), 4 * (slope[2] + 1), 3 * (slope[3] + 1)}, 1e-5,
              "add to the gradient (+=): another line has been there before");

  g.begin(Graph::Mode::training);
  const Var weight = g.input({x.data(), {4}}, "w");
  const Var fixed = g.constant({x.data(), {4}}, "constant");
  const Var fixed_plus = softplus(fixed);
  const Var product = mul(fixed_plus, weight);
  g.backward(sum(product));
  judge.equal("gradient of a factor beside softplus(constant)", g.grad(weight),
              {std::log(2.0), 1 + std::log1p(std::exp(-1.0)), std::log1p(std::exp(-2.0)), 100},
              1e-5, "the gradient of a constant is empty: loop over its size, not over x's");
}

}  // namespace notch::lessons
