// Lesson 10. Fake quantization: the network multiplies with rounded weights while it trains, and the
// optimizer moves the exact ones. Rounding has slope 0; the straight-through estimator writes 1.
#include <algorithm>
#include <array>

#include "experiments/lessons/lesson.h"
#include "quant/ops/fake_quant.h"

namespace notch::lessons {
namespace {

using quant::Ste;

struct Weight {
  double rounded = 0, gradient = 0;  // ŵ and dL/dw
};

/// Two weights that share a step s = 0.7/qmax. slope(ŵ) is dL/dŵ, as the rest of a network would
/// hand it back.
template <class Slope>
std::array<Weight, 2> through(double w1, double w2, int bits, Ste ste, const Slope& slope) {
  std::array<real, 2> w{static_cast<real>(w1), static_cast<real>(w2)};
  const quant::Spec spec{.bits = bits};
  const real step = real(0.7) / static_cast<real>(quant::grid_of(spec).qmax);
  const auto range = quant::anchor_ranges(w, {.scales = {step}, .zero_points = {}}, spec);
  Graph g;
  g.begin(Graph::Mode::training);
  const Var exact = g.input({w.data(), {1, 2}}, "w");
  const Var rounded = quant::fake_quant_ste(exact, spec, range, ste);
  std::array<Weight, 2> out{};
  std::array<real, 2> handed_back{};
  for (std::size_t i = 0; i < 2; ++i) {
    out[i].rounded = static_cast<double>(rounded.value().flat()[i]);
    handed_back[i] = static_cast<real>(slope(out[i].rounded));
  }
  g.backward(rounded, handed_back);
  for (std::size_t i = 0; i < 2; ++i) out[i].gradient = static_cast<double>(g.grad(exact)[i]);
  return out;
}

double constant(double) { return -0.05; }
/// The first weight, for the loss L = (ŵ - 0.33)², whose slope at ŵ is 2 (ŵ - 0.33).
Weight to_033(double w, int bits = 4) {
  return through(w, 0.7, bits, Ste::clipped, [](double at) { return 2 * (at - 0.33); })[0];
}

}  // namespace

void ste(Page& page) {
  page.say(
      "A weight w = 0.37 has a grid with step s = 0.1. The network sees ŵ, the nearest point of "
      "the grid. This is called fake quantization: ŵ is rounded, but still a float. A small change "
      "of w changes nothing, so the true slope of ŵ is 0 and the chain rule tells w nothing.");
  const Weight here = through(0.37, 0.7, 4, Ste::clipped, constant)[0];
  const Weight beside = through(0.371, 0.7, 4, Ste::clipped, constant)[0];
  page.number("rounded", "ŵ", here.rounded);
  page.number("slope", "(ŵ at 0.371 - ŵ at 0.37) / 0.001", (beside.rounded - here.rounded) / 0.001);
  page.say(
      "Let the loss L have the slope -0.05 at ŵ. The straight-through estimator (STE) pretends "
      "that ŵ is w and hands the number on. One step with the rate 0.005 gives w - 0.005 · "
      "(-0.05): a negative gradient makes the weight larger.");
  page.number("gradient", "dL/dw by STE", here.gradient);
  page.number("moved", "w after the step", 0.37 - 0.005 * here.gradient, 8);
  page.say(
      "A weight of 1.0 lies outside the grid, which ends at 7 s = 0.7. It is clipped. The clipped "
      "STE gives it 0, as moving it changes nothing. The plain STE may push it further out.");
  page.number("outside", "ŵ of 1.0", through(0.37, 1.0, 4, Ste::clipped, constant)[1].rounded);
  page.number("clipped", "dL/dw, clipped",
              through(0.37, 1.0, 4, Ste::clipped, constant)[1].gradient);
  page.number("plain", "dL/dw, plain", through(0.37, 1.0, 4, Ste::plain, constant)[1].gradient);

  page.say(
      "How wrong is it? Take L = (ŵ - 0.33)². Between 0.3 and 0.4 a fair slope is that of the line "
      "that joins L(0.3) and L(0.4): the slope of L on average, when w is rounded up or down by "
      "chance so that ŵ is w on average. STE takes the slope of L at one end of the line.");
  double mean = 0;
  for (int i = 0; i < 100; ++i) mean += to_033(0.3005 + 0.001 * i).gradient / 100;
  const double fair = (0.07 * 0.07 - 0.03 * 0.03) / 0.1;
  page.number("fair", "the fair slope", fair);
  page.number("low", "STE at w = 0.34, where ŵ = 0.3", to_033(0.34).gradient);
  page.number("high", "STE at w = 0.36, where ŵ = 0.4", to_033(0.36).gradient);
  page.number("mean", "mean of STE at 100 places between", mean);
  page.number("bias", "its bias at 0.36", to_033(0.36).gradient - fair);
  const double s3 = 0.7 / 3;  // 3 bits: 0.36 lies between s and 2 s, where the fair slope is
  page.number("bias_3_bits", "with 3 bits, so s = 0.2333, its bias at 0.36",
              to_033(0.36, 3).gradient - (3 * s3 - 2 * 0.33));  // (L(2s) - L(s)) / s
  page.say(
      "STE is right on average over a cell of the grid, and wrong at each place by half a step "
      "times the second derivative of L (here 2). Fewer bits: a wider step, a larger bias.");

  page.say(
      "One can watch it. Minimise L from w = 0.371 with the rate 0.02. Below 0.35 the gradient "
      "pushes w up, above it pushes w down. So w never settles: it oscillates about the place "
      "where rounding changes.");
  double w = 0.371, before = 0.4, lowest = 1, highest = 0, high_share = 0;
  int flips = 0;
  experiments::PlotSeries exact{.name = "w", .color = "#0072B2", .line = true};
  experiments::PlotSeries rounded{.name = "ŵ", .color = "#D55E00", .line = true};
  for (int step = 0; step < 400; ++step) {
    const Weight now = to_033(w);
    if (std::abs(now.rounded - before) > 0.01) ++flips;
    before = now.rounded;
    if (step < 60) exact.points.push_back({.x = static_cast<double>(step), .y = w});
    if (step < 60) rounded.points.push_back({.x = static_cast<double>(step), .y = before});
    if (step >= 300) lowest = std::min(lowest, w), highest = std::max(highest, w);
    if (step >= 300 && before > 0.35) high_share += 0.01;
    w -= 0.02 * now.gradient;
  }
  page.number("flips", "changes of ŵ in 400 steps", flips);
  page.number("lowest", "of the last 100 steps: lowest w", lowest);
  page.number("highest", "highest w", highest);
  page.number("high_share", "share with ŵ = 0.4", high_share);
  page.number("mean_rounded", "mean ŵ", 0.4 * high_share + 0.3 * (1 - high_share));
  page.say(
      "The mean is what the loss wants and the grid does not have. But a model is shipped once, "
      "with the ŵ of one moment. Two cures: a learning rate that falls to 0 makes w slow, and "
      "freezing holds a weight that turns back too often at its most frequent code.");
  page.number("at_chance", "L when training stops anywhere",
              high_share * 0.07 * 0.07 + (1 - high_share) * 0.03 * 0.03);
  page.number("frozen", "L frozen at the code nearest to the mean", 0.03 * 0.03);
  page.picture("10_ste", {.title = "A weight that never settles",
                          .x_label = "step",
                          .y_label = "value",
                          .series = {exact, rounded}});
  page.say("Try: start at 0.33 exactly. Does it help? Then use the rate 0.002.");
}

}  // namespace notch::lessons
