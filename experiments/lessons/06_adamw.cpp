// Lesson 06. AdamW by hand: what the optimizer does with a gradient.
#include <cmath>
#include <vector>

#include "experiments/lessons/lesson.h"
#include "optim/adamw.h"

namespace notch::lessons {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;

/// The engine's AdamW on one weight that begins at 1: the weight after each of these gradients.
std::vector<double> adamw(const std::vector<double>& gradients, double lr, double decay) {
  ParamStore store;
  Param& w = store.add("w", {1});
  store.allocate_values();
  store.allocate_gradients();
  w.value.flat()[0] = 1;
  optim::AdamW optimizer({{.params = {&w}, .weight_decay = decay}},
                         {.beta1 = kBeta1, .beta2 = kBeta2});
  std::vector<double> path;
  for (const double gradient : gradients) {
    w.grad.flat()[0] = static_cast<real>(gradient);
    optimizer.step(lr);
    path.push_back(static_cast<double>(w.value.flat()[0]));
  }
  return path;
}

}  // namespace

void adamw(Page& page) {
  page.say(
      "Gradient descent takes the same share of every gradient. That is bad when gradients differ "
      "in size: steep directions force a small learning rate, and flat ones then hardly move. "
      "AdamW gives each weight its own step. It remembers two averages for each weight: m, of the "
      "gradients g, and v, of their squares. Then it moves the weight by lr m / √v.");
  page.say(
      "Here is one weight, w = 1, with learning rate lr = 0.1 and weight decay 0.1. Three "
      "gradients come: 0.5, -0.2, 0.1. We do by hand what the engine does:");
  const std::vector<double> gradients = {0.5, -0.2, 0.1};
  double m = 0, v = 0, w = 1;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const double g = gradients[i], t = static_cast<double>(i + 1);
    m = kBeta1 * m + (1 - kBeta1) * g;
    v = kBeta2 * v + (1 - kBeta2) * g * g;
    const double m_hat = m / (1 - std::pow(kBeta1, t)), v_hat = v / (1 - std::pow(kBeta2, t));
    w = w - 0.1 * 0.1 * w - 0.1 * m_hat / (std::sqrt(v_hat) + 1e-8);
    const std::string step = std::to_string(i + 1);
    page.number("m" + step, "m after step " + step, m);
    page.number("v" + step, "v after step " + step, v);
    page.number("w" + step, "w after step " + step, w, 9);
  }
  page.numbers("engine", "the engine's w", adamw(gradients, 0.1, 0.1));

  page.say(
      "Three things to see. First, m and v begin at 0, so they are too small at the start. "
      "Dividing by 1 - β^t mends that exactly (the hats in the source: m_hat, v_hat). Without it "
      "the first step would not be lr but this many times lr:");
  page.number("uncorrected", "(1 - β1) / √(1 - β2)", (1 - kBeta1) / std::sqrt(1 - kBeta2));
  page.say(
      "Second, the size of a gradient does not matter, only its sign and how steady it is. In the "
      "first step m/√v is g/|g|. Two weights at 1, one with gradient 0.0001, one with 100:");
  page.number("tiny", "w after one step with gradient 0.0001", adamw({0.0001}, 0.1, 0)[0]);
  page.number("huge", "w after one step with gradient 100", adamw({100}, 0.1, 0)[0]);
  page.say(
      "Third, the W. Weight decay pulls weights towards 0, so that none grows without a reason. "
      "Adam with decay in the gradient (g + 0.1 w) sends the pull through m/√v, which makes it as "
      "large as any gradient. AdamW takes lr 0.1 w off beside all that. See a weight whose "
      "gradient is 0, after one step:");
  page.number("decoupled", "AdamW", adamw({0}, 0.1, 0.1)[0]);
  page.number("coupled", "Adam with the decay in the gradient", adamw({0.1 * 1.0}, 0.1, 0)[0]);

  page.say(
      "Last, a valley: f = (x² + 100 y²) / 2, from (1, 1). Gradient descent cannot use a learning "
      "rate above 0.02, or y flies off; x then crawls. Adam takes steps of equal size in both.");
  experiments::Plot plot{
      .title = "f = (x² + 100 y²) / 2", .x_label = "step", .y_label = "log10 of f"};
  plot.series = {{.name = "gradient descent, lr 0.018", .color = "#D55E00", .line = true},
                 {.name = "AdamW, lr 0.05", .color = "#0072B2", .line = true}};
  ParamStore store;
  Param& p = store.add("xy", {2});
  store.allocate_values();
  store.allocate_gradients();
  optim::AdamW optimizer({{.params = {&p}}}, {.beta1 = kBeta1, .beta2 = kBeta2});
  for (std::size_t which = 0; which < 2; ++which) {
    const std::span<real> at = p.value.flat(), slope = p.grad.flat();
    at[0] = at[1] = 1;
    double f = 0;
    for (int step = 0; step <= 100; ++step) {
      const auto x = static_cast<double>(at[0]), y = static_cast<double>(at[1]);
      f = (x * x + 100 * y * y) / 2;
      plot.series[which].points.push_back({.x = double(step), .y = std::log10(f)});
      slope[0] = at[0];
      slope[1] = 100 * at[1];
      if (which == 0) at[0] -= real(0.018) * slope[0], at[1] -= real(0.018) * slope[1];
      if (which == 1) optimizer.step(0.05);
    }
    page.number(which == 0 ? "descent" : "adam", plot.series[which].name + ": f after 100 steps", f,
                3);
  }
  page.say(
      "In the picture AdamW flies past the valley's floor and swings back: m remembers the way it "
      "came. That is one reason why learning rates are lowered towards the end of a training.");
  page.picture("06_adamw", plot);
}

}  // namespace notch::lessons
