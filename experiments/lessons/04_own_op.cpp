// Lesson 04. Write your own op: SiLU, y = x σ(x), which the engine does not have.
#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/ops.h"
#include "experiments/lessons/lesson.h"

namespace notch::lessons {
namespace {

// An op is a plain struct: a name, what it computes, how gradients flow back. Forward keeps what
// backward will need: here σ(x), so that it is not computed twice.
struct Silu {
  static constexpr std::string_view name = "silu";
  std::span<real> sigma{};

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), y = f.out(x.shape);
    sigma = f.keep<real>(x.size());
    for (std::size_t i = 0; i < sigma.size(); ++i) {
      sigma[i] = 1 / (1 + std::exp(-x.data[i]));
      y.data[i] = x.data[i] * sigma[i];
    }
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    const std::span<const real> dy = b.dout();
    const std::span<real> dx = b.grad(0);  // empty when nobody wants it
    for (std::size_t i = 0; i < dx.size(); ++i) {
      dx[i] += dy[i] * sigma[i] * (1 + x.data[i] * (1 - sigma[i]));
    }
  }
};

/// The same with a mistake: what is in the gradient already is lost, as with = in place of +=.
struct Overwriting : Silu {
  static constexpr std::string_view name = "overwriting_silu";
  void backward(Backward& b) const {
    std::ranges::fill(b.grad(0), real(0));
    Silu::backward(b);
  }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

void own_op(Page& page) {
  page.say(
      "SiLU is a function between the layers of many language models: y = x σ(x) with the sigmoid "
      "σ(x) = 1 / (1 + exp(-x)). Look at struct Silu in the source: that is all an op is. g.record "
      "runs it and writes its line on the tape. Its rule, by the product rule and σ' = σ (1 - σ): "
      "dy/dx = σ (1 + x (1 - σ)).");
  std::vector<real> x = {1, -2, 0.5};
  Graph g;
  g.begin(Graph::Mode::training);
  const Var vx = g.input({x.data(), {3}}, "x");
  const Var y = g.record(Silu{}, {vx});
  page.numbers("y", "silu of [1, -2, 0.5]", y.value().flat());

  page.say("Before we believe the rule, the check of lesson 03, with a mixed cotangent.");
  const std::vector<real> r = {1, -2, 0.5};
  g.backward(y, r);
  page.numbers("dx", "gradient with r = [1, -2, 0.5]", g.grad(vx));
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<double>(x[i]), h = 1e-5;
    const double slope = static_cast<double>(r[i]) * (silu(at + h) - silu(at - h)) / (2 * h);
    worst = std::max(worst, std::fabs(slope - static_cast<double>(g.grad(vx)[i])));
  }
  page.number("checked", "largest difference below 1e-6 (1 = yes)", worst < 1e-6);

  page.say(
      "One rule of the house: backward adds (+=), it never sets (=). Somebody else may have added "
      "to the same gradient before. Take z = silu(x) + x at x = 1. The sum hands its gradient to x "
      "first, then SiLU comes. With = it wipes out the part that was there.");
  const auto slope_of_sum = [&](auto op) {
    g.begin(Graph::Mode::training);
    const Var v = g.input({x.data(), {1}}, "x");
    const Var a = g.record(op, {v});
    const Var z = add(a, v);
    g.backward(z);
    return g.grad(v)[0];
  };
  page.number("adding", "dz/dx with +=", slope_of_sum(Silu{}));
  page.number("overwriting", "dz/dx with =", slope_of_sum(Overwriting{}));
  page.say(
      "No error is reported and training still works a little. Mistakes of this kind are found by "
      "tests only. Note also where the test must look: an x that is used once would not show it.");

  // The picture: one tensor of 121 places, and the cotangent 1 for each of them: they do not mix.
  std::vector<real> places(121);
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = static_cast<real>(i) / 10 - 6;
  g.begin(Graph::Mode::training);
  const Var all = g.input({places.data(), {121}}, "x");
  const Var curve = g.record(Silu{}, {all});
  g.keep(curve);
  g.backward(curve, std::vector<real>(places.size(), 1));
  experiments::Plot plot{.title = "SiLU and its derivative", .x_label = "x", .y_label = "y"};
  plot.series = {{.name = "x σ(x)", .color = "#0072B2", .line = true},
                 {.name = "derivative", .color = "#D55E00", .line = true}};
  double lowest = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto at = static_cast<double>(places[i]);
    const auto value = static_cast<double>(curve.value().flat()[i]);
    plot.series[0].points.push_back({.x = at, .y = value});
    plot.series[1].points.push_back({.x = at, .y = static_cast<double>(g.grad(all)[i])});
    lowest = std::min(lowest, value);
  }
  page.number("lowest", "lowest value of SiLU in the picture", lowest);
  page.picture("04_own_op", plot);
}

}  // namespace notch::lessons
