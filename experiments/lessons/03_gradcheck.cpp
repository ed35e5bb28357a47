// Lesson 03. Tensors, and how to check a gradient so that a mistake cannot hide.
#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "experiments/lessons/lesson.h"

namespace notch::lessons {
namespace {

using Vector = std::vector<double>;

Vector softmax_of(const Vector& x) {
  Vector p(x.size());
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += p[i] = std::exp(x[i]);
  for (double& v : p) v /= sum;
  return p;
}
double weighted(const Vector& x, const Vector& r) {  // L(x) = Σ r softmax(x)
  double sum = 0;
  const Vector p = softmax_of(x);
  for (std::size_t i = 0; i < x.size(); ++i) sum += r[i] * p[i];
  return sum;
}
/// dL/dx_i = p_i (r_i - Σ r p), times `factor`: 1 is right, 0 is a rule that was never written.
Vector rule(const Vector& x, const Vector& r, double factor) {
  Vector p = softmax_of(x);
  const double mean = weighted(x, r);
  for (std::size_t i = 0; i < x.size(); ++i) p[i] *= factor * (r[i] - mean);
  return p;
}
/// The largest difference between a rule and finite differences, over the largest derivative.
double error_of(const Vector& gradient, const Vector& x, const Vector& r) {
  double error = 0, largest = 1e-30;
  for (std::size_t i = 0; i < x.size(); ++i) {
    Vector up = x, down = x;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    const double slope = (weighted(up, r) - weighted(down, r)) / 2e-5;
    error = std::max(error, std::fabs(slope - gradient[i]));
    largest = std::max({largest, std::fabs(slope), std::fabs(gradient[i])});
  }
  return largest < 1e-9 ? 0 : error / largest;  // nothing but rounding on both sides
}

}  // namespace

void gradcheck(Page& page) {
  page.say(
      "A tensor is a block of numbers with a shape. Numbers of a row stand side by side: of shape "
      "[2, 3], element (i, j) is number 3 i + j. An operation on tensors is one line of the tape "
      "for many numbers. linear(x, w) multiplies every row of x with every row of w.");
  std::vector<real> x = {1, 2, 3, 4, 5, 6}, w = {1, 0, -1, 2, 1, 0};
  Graph g;
  g.begin(Graph::Mode::training);
  const Var vx = g.input({x.data(), {2, 3}}, "x");
  const Var vw = g.input({w.data(), {2, 3}}, "w");
  const Var y = linear(vx, vw);  // [2, 2]
  page.numbers("y", "y = x wᵀ, row after row", y.value().flat());
  page.say(
      "backward needs to know how much each of the four results counts. These four numbers are "
      "called the cotangent, here r = [1, 0, 0, 2]. The tape then gives the derivatives of Σ r y.");
  const std::vector<real> r = {1, 0, 0, 2};
  g.backward(y, r);
  page.numbers("dx", "dx = r w", g.grad(vx));
  page.numbers("dw", "dw = rᵀ x", g.grad(vw));

  page.say(
      "Somebody wrote those rules by hand, and hands make mistakes. The gradient check compares a "
      "rule with finite differences. But which r? Many programs take r = 1 everywhere: they check "
      "the sum of the outputs. Look what this does to softmax, p_i = exp(x_i) / Σ exp(x_j), whose "
      "outputs always sum to 1. We try its right rule, its rule times 5, and no rule at all.");
  const Vector at = {1, 2, 3}, ones = {1, 1, 1}, mixed = {1, -2, 0.5};
  page.number("ones.right", "r = 1: error of the right rule",
              error_of(rule(at, ones, 1), at, ones));
  page.number("ones.five", "r = 1: error of five times the rule",
              error_of(rule(at, ones, 5), at, ones));
  page.number("ones.none", "r = 1: error of no rule", error_of(rule(at, ones, 0), at, ones));
  page.number("mixed.five", "r = [1, -2, 0.5]: five times the rule",
              error_of(rule(at, mixed, 5), at, mixed));
  page.number("mixed.none", "r = [1, -2, 0.5]: no rule", error_of(rule(at, mixed, 0), at, mixed));
  const bool right = error_of(rule(at, mixed, 1), at, mixed) < 1e-9;
  page.number("mixed.right", "r = [1, -2, 0.5]: right rule within 1e-9 (1 = yes)", right);
  page.say(
      "A sum that is always 1 has derivative 0, and 5 times 0 is 0. The check with r = 1 is blind. "
      "Its report is green whatever the code does. So r must be random. The engine's rule:");
  std::vector<real> start = {1, 2, 3};
  g.begin(Graph::Mode::training);
  const Var logits = g.input({start.data(), {3}}, "x");
  g.backward(softmax(logits), std::vector<real>{1, -2, 0.5});
  page.numbers("softmax", "dx of softmax, r = [1, -2, 0.5]", g.grad(logits));

  page.say(
      "The step h matters too. Too large: the curve bends between the two points. Too small: the "
      "two results are so close that rounding eats the difference. In float, which has 7 digits, "
      "there is hardly a good h at all. So gradients are checked in double, with 16 digits.");
  experiments::Plot plot{.title = "Finite difference of exp at 1: its relative error",
                         .x_label = "log10 of h",
                         .y_label = "log10 of the error"};
  plot.series = {{.name = "float", .color = "#D55E00", .line = true},
                 {.name = "double", .color = "#0072B2", .line = true}};
  Vector best(2, 1);
  for (double k = -10; k <= -0.99; k += 0.25) {
    const double h = std::pow(10, k);
    const auto f = static_cast<float>(h);
    const double in_float = static_cast<double>((std::exp(1 + f) - std::exp(1 - f)) / (2 * f));
    const double in_double = (std::exp(1 + h) - std::exp(1 - h)) / (2 * h);
    for (std::size_t i = 0; i < 2; ++i) {
      const double error = std::fabs((i == 0 ? in_float : in_double) / std::exp(1.0) - 1);
      best[i] = std::min(best[i], error);
      plot.series[i].points.push_back({.x = k, .y = std::log10(std::max(error, 1e-16))});
    }
  }
  page.number("best.float", "smallest error in float over all h", best[0], 2);
  page.number("best.double", "smallest error in double over all h", best[1], 2);
  page.picture("03_gradcheck", plot);
}

}  // namespace notch::lessons
