// Lesson 02. Order, accumulation, zeroing: when a gradient may be passed on, and where it is kept.
#include <vector>

#include "autograd/ops.h"
#include "autograd/param.h"
#include "experiments/lessons/lesson.h"

namespace notch::lessons {
namespace {

/// The mistake: a line hands its gradient on whenever some of it arrives.
void pass_on_at_once(const Graph& g, std::uint32_t line, std::vector<double>& grad) {
  for (const std::uint32_t input : g.inputs(g.nodes()[line])) {
    grad[input] += grad[line];  // the rule of a sum: both sides get it unchanged
    pass_on_at_once(g, input, grad);
  }
}

/// w after each of 100 steps against the gradient of (w - 1)², from w = 3.
std::vector<experiments::PlotPoint> descend(bool zero) {
  ParamStore store;
  Param& w = store.add("w", {1});
  store.allocate_values();
  store.allocate_gradients();
  w.value.flat()[0] = 3;
  real one = 1;
  Graph g;
  std::vector<experiments::PlotPoint> path;
  for (int step = 0; step < 100; ++step) {
    path.push_back({.x = double(step), .y = double(w.value.flat()[0])});
    g.begin(Graph::Mode::training);
    const Var v = g.param(w), c = g.constant({&one, {1}});
    const Var e = sub(v, c);
    if (zero) store.zero_gradients();
    g.backward(mul(e, e));
    w.value.flat()[0] -= real(0.1) * w.grad.flat()[0];
  }
  return path;
}

}  // namespace

void order(Page& page) {
  page.say(
      "Order first. Let a = 1, b = a + a and c = b + b, so c = 4 a and dc/da = 4. The line c reads "
      "b twice. So the gradient of b arrives in two parts, and b must wait for both before it "
      "hands anything to a.");
  real one = 1;
  Graph g;
  g.begin(Graph::Mode::training);
  const Var a = g.input({&one, {1}}, "a");
  const Var b = add(a, a);
  const Var c = add(b, b);
  std::vector<double> grad(g.nodes().size(), 0);
  grad[c.id] = 1;
  pass_on_at_once(g, c.id, grad);
  g.backward(c);
  page.number("wrong", "dc/da, every part handed on at once", grad[a.id]);
  page.number("right", "dc/da, the tape read from the end", g.grad(a)[0]);
  page.say(
      "The mistake counts the first part of b twice. A correct order is one in which every line "
      "comes before the lines it reads. It is called a topological order, and the tape gives it "
      "for nothing: a line can only read older lines, so the list read backwards is such an order. "
      "It also needs no recursion. A chain of 100000 sums would overflow the stack of a program "
      "that calls itself once per line; a loop does not care.");
  g.begin(Graph::Mode::training);
  const Var x = g.input({&one, {1}}, "x");
  Var sum = x;
  for (int i = 0; i < 100000; ++i) sum = add(sum, x);
  g.backward(sum);
  page.number("chain", "d(x + x + ... + x)/dx, 100000 plus signs", g.grad(x)[0]);

  page.say(
      "Second, accumulation. When parts of a gradient meet, they are added. A Param is a number "
      "that lives longer than the tape: a weight. Its gradient lives as long, so it goes on adding "
      "over steps until somebody sets it to zero. Here is f = w w at w = 3, with df/dw = 6.");
  ParamStore store;
  Param& w = store.add("w", {1});
  store.allocate_values();
  store.allocate_gradients();
  w.value.flat()[0] = 3;
  const auto step = [&](double seed) {
    g.begin(Graph::Mode::training);
    const Var v = g.param(w);
    g.backward(mul(v, v), static_cast<real>(seed));
    return w.grad.flat()[0];
  };
  page.number("first", "gradient after one step", step(1));
  page.number("second", "after a second step, nothing set to zero", step(1));
  store.zero_gradients();
  page.number("zeroed", "after zero_gradients() and one step", step(1));
  page.say(
      "Adding is useful. A batch too large for the memory is cut into parts, and every part is "
      "seeded with its share: backward(loss, 1/2) twice gives the mean of the two gradients.");
  store.zero_gradients();
  step(0.5);
  page.number("halves", "two steps seeded with 1/2", step(0.5));

  page.say(
      "Third, what happens when zeroing is forgotten. We walk down (w - 1)² from w = 3: each step "
      "takes 0.1 of the gradient off w. With zeroing, w comes to 1. Without, old gradients push "
      "on: w swings around 1 for ever. The loss may still look as if it falls, at first.");
  experiments::Plot plot{.title = "Walking down (w - 1)²", .x_label = "step", .y_label = "w"};
  plot.series = {
      {.name = "gradient set to zero", .color = "#0072B2", .line = true, .points = descend(true)},
      {.name = "forgotten", .color = "#D55E00", .line = true, .points = descend(false)}};
  page.number("with", "w after 99 steps, with zeroing", plot.series[0].points.back().y);
  page.number("without", "w after 99 steps, without", plot.series[1].points.back().y);
  page.picture("02_order", plot);
}

}  // namespace notch::lessons
