// Lesson 01. Scalars and the tape: y = tanh(w x + b), and how much y moves when w, x or b moves.
#include <cmath>

#include "autograd/ops.h"
#include "autograd/print.h"
#include "experiments/lessons/lesson.h"

namespace notch::lessons {

void scalars(Page& page) {
  page.say(
      "A neural network is a long formula. Training changes its numbers a little, again and again, "
      "so that the result gets better. For this we must know, of every number, how the result "
      "moves when the number moves. That is the derivative. We begin with the smallest network: "
      "one weight w, one input x, one bias b, and y = tanh(w x + b).");

  // A Tensor is a view: an address and a shape. [1] is one number (a scalar).
  real w = 0.5, x = 2, b = -0.5;
  Graph g;
  g.begin(Graph::Mode::training);
  const Var vw = g.input({&w, {1}}, "w");
  const Var vx = g.input({&x, {1}}, "x");
  const Var vb = g.input({&b, {1}}, "b");
  const Var product = mul(vw, vx);
  const Var z = add(product, vb);
  const Var y = tanh(z);

  page.say(
      "Each call above did two things: it computed a value, and it wrote one line into a list. The "
      "list is called the tape. Here it is: line number, operation, name, shape, and the lines it "
      "read. A line only reads lines above it.");
  page.show("tape", print(g));
  page.number("z", "z = w x + b", z.item());
  page.number("y", "y = tanh(z)", y.item());

  page.say(
      "Now backwards. We begin at y with dy/dy = 1 and go up the tape. Every operation knows one "
      "small rule. tanh: dz = dy (1 - y y). A sum hands its gradient to both sides. A product "
      "hands each side the gradient times the other side. This is the chain rule, done once per "
      "line, and it is all that autograd (automatic differentiation) does. A gradient is the "
      "derivative of the last line with respect to the line it belongs to.");
  g.backward(y);
  const double dw = static_cast<double>(g.grad(vw)[0]);
  page.number("dw", "dy/dw = (1 - y y) x", dw);
  page.number("dx", "dy/dx = (1 - y y) w", static_cast<double>(g.grad(vx)[0]));
  page.number("db", "dy/db = (1 - y y)", static_cast<double>(g.grad(vb)[0]));

  page.say(
      "Is it true? Move w a little to both sides and look. The change of y, divided by the change "
      "of w, must be close to dy/dw. This is called a finite difference.");
  const auto formula = [&](double weight) {
    return std::tanh(weight * static_cast<double>(x) + static_cast<double>(b));
  };
  const double h = 0.001, centre = static_cast<double>(w);
  page.number("difference", "(y(w + h) - y(w - h)) / 2h, with h = 0.001",
              (formula(centre + h) - formula(centre - h)) / (2 * h));
  page.say(
      "The two differ by less than one part in a million. The finite difference costs two runs of "
      "the formula for every number. Walking back costs about one more run for all numbers "
      "together, however many there are. That is why networks with billions of weights can be "
      "trained.");

  // The picture: the curve y(w), and the straight line that the derivative promises.
  experiments::Plot plot{
      .title = "y = tanh(w x + b) and its tangent", .x_label = "w", .y_label = "y"};
  experiments::PlotSeries curve{.name = "y(w)", .color = "#0072B2", .line = true};
  experiments::PlotSeries tangent{
      .name = "y + dy/dw (change of w)", .color = "#D55E00", .line = true};
  for (double v = -1; v <= 1.501; v += 0.02) curve.points.push_back({.x = v, .y = formula(v)});
  for (const double v : {centre - 0.4, centre + 0.4}) {
    tangent.points.push_back({.x = v, .y = formula(centre) + dw * (v - centre)});
  }
  plot.series = {curve, tangent};
  page.picture("01_scalars", plot);
  page.say("Try: set b to 3 and run again. Why is every gradient almost 0 now?");
}

}  // namespace notch::lessons
