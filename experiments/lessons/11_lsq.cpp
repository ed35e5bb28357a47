// Lesson 11. LSQ, learned step size quantization (Esser et al. 2020): the step of the grid is trained
// like a weight. What its gradient is the gradient of, and where it leads.
#include <array>
#include <cmath>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "experiments/lessons/lesson.h"
#include "optim/adamw.h"
#include "quant/ops/fake_quant.h"

namespace notch::lessons {
namespace {

constexpr std::array kFourWeights{0.37, 0.95, -1.2, 0.04};
constexpr double kStep = 0.1;
double cut(double v) { return std::min(7.0, std::max(-8.0, v)); }  // to the codes of 4 bits
double code(double v) { return std::nearbyint(cut(v)); }

struct Slopes {
  std::array<double, 4> w{};  // dŵ/dw
  double log_step = 0;        // dŵ/d(log s), with LSQ's factor
};

/// Backward from the four ŵ, with `seed` as dL/dŵ.
Slopes backward(const std::array<real, 4>& seed) {
  std::array<real, 4> weights{};
  for (std::size_t i = 0; i < 4; ++i) weights[i] = static_cast<real>(kFourWeights[i]);
  const std::array<real, 1> start{static_cast<real>(kStep)};
  real log_step = 0;  // the op learns l in s = start · exp(l): s can never become negative
  Graph g;
  g.begin(Graph::Mode::training);
  const Var w = g.input({weights.data(), {1, 4}}, "w");
  const Var l = g.input({&log_step, {1}}, "l");
  const quant::Spec full{.bits = 4, .grid = quant::GridKind::full};
  g.backward(quant::fake_quant_lsq(w, l, start, full, quant::Ste::clipped), seed);
  Slopes out{.log_step = static_cast<double>(g.grad(l)[0])};
  for (std::size_t i = 0; i < 4; ++i) out.w[i] = static_cast<double>(g.grad(w)[i]);
  return out;
}

/// The mean of (ŵ - w)², and log s to be learned from it.
Var error(Graph& g, std::span<real> w, Param& l, real start, const quant::Spec& spec) {
  const Var exact = g.constant({w.data(), {1, std::ssize(w)}}, "w");
  const std::span<const real> first(&start, 1);
  const Var rounded = quant::fake_quant_lsq(exact, g.param(l), first, spec, quant::Ste::clipped);
  const Var off = sub(rounded, exact);
  return mean(mul(off, off));
}

}  // namespace

void lsq(Page& page) {
  page.say(
      "Four weights, step s = 0.1, 4 bits with the codes -8 … 7. v = w/s is a weight measured in "
      "steps. Its code is v, rounded and cut to the grid, and ŵ = s · code.");
  std::vector<double> codes, slopes;
  double factor = 1 / std::sqrt(4 * 7.0), frozen = 0, stairs = 0, h = 1e-5;
  for (std::size_t i = 0; i < 4; ++i) {
    const double w = kFourWeights[i], added = code(w / kStep) - cut(w / kStep);
    codes.push_back(code(w / kStep));
    std::array<real, 4> one{};
    one[i] = 1;
    slopes.push_back(backward(one).log_step / kStep / factor);
    const double up = kStep + h, down = kStep - h;
    frozen += (up * (cut(w / up) + added) - down * (cut(w / down) + added)) / (2 * h);
    stairs += (up * code(w / up) - down * code(w / down)) / (2 * h);
  }
  page.numbers("codes", "codes of (0.37, 0.95, -1.2, 0.04)", codes);
  page.say(
      "LSQ says how ŵ moves with s: by code - v for a weight inside the grid, by its code for a "
      "clipped one. How ŵ moves with w is the clipped STE of lesson 10.");
  page.numbers("slopes", "dŵ/ds by LSQ", slopes);
  page.numbers("dw", "dŵ/dw", backward({1, 1, 1, 1}).w);
  page.say(
      "Where does code - v come from? Freeze what rounding has added to v, and nothing else. Then "
      "ŵ = s (cut(w/s) + added) has a derivative, and a finite difference finds LSQ's numbers. The "
      "true ŵ, whose codes do not change in a small difference, has the codes as its slopes.");
  page.number("frozen", "sum of the slopes, rounding frozen", frozen);
  page.number("stairs", "sum of the slopes of the true ŵ", stairs);
  page.say(
      "Is the true one not better? It does not see that codes change. Let s grow from 0.37/5 to "
      "0.37/3: ŵ of 0.37 begins at 0.37 and ends at 0.37, so a fair slope is 0 on average. The "
      "codes on the way are 5, 4, 3; the jumps between them take back all that they add.");
  double by_codes = 0, by_lsq = 0;
  for (int i = 0; i < 1000; ++i) {
    const double v = 0.37 / (0.074 + (0.37 / 3 - 0.074) * (i + 0.5) / 1000);
    by_codes += code(v) / 1000, by_lsq += (code(v) - v) / 1000;
  }
  page.number("by_codes", "mean of the true slope on the way", by_codes, 3);
  page.number("by_lsq", "mean of LSQ's slope on the way", by_lsq, 3);
  page.say(
      "All weights of a row push one step, so its gradient would be far larger than a weight's. "
      "LSQ multiplies it by 1/√(weights · largest code), here 1/√28. This engine learns log s, so "
      "that s stays positive; that slope is s times the slope in s.");
  page.number("factor", "1 / √28", factor);
  page.number("scaled", "sum of LSQ's slopes, times that", frozen * factor);
  page.number("log_step", "the engine's gradient of log s", backward({1, 1, 1, 1}).log_step);
  page.number("start", "the paper's first step, 2 mean|w| / √7", 1.28 / std::sqrt(7.0));

  page.say(
      "Now let it learn: 256 normal weights, one step, the loss is the mean of (ŵ - w)². It starts "
      "at absmax, where nothing is clipped. Lesson 09 tried 81 steps; LSQ goes downhill from one.");
  Rng rng(11);
  std::vector<real> w(256);
  for (real& v : w) v = static_cast<real>(rng.normal());
  experiments::PlotSeries curve{.name = "loss, 3 bits", .color = "#0072B2", .line = true};
  for (const int bits : {3, 2}) {
    const quant::Spec spec{.bits = bits};
    const real absmax = quant::choose_unit(w, spec, quant::RangeRule::absmax).at.scale;
    const real ratio = quant::best_ratio(w, spec);
    ParamStore store;
    Param& l = store.add("l", {1});
    store.allocate_values();
    store.allocate_gradients();
    optim::AdamW adamw({{.params = {&l}}});
    Graph g;
    const auto loss = [&](double at) {  // at a multiple of absmax
      l.value.data[0] = static_cast<real>(std::log(at));
      g.begin(Graph::Mode::inference);
      return static_cast<double>(error(g, w, l, absmax, spec).item());
    };
    const std::string key = std::to_string(bits) + ".", tail = " " + std::to_string(bits) + " bits";
    page.number(key + "absmax", "loss at absmax," + tail, loss(1));
    page.number(key + "searched", "at the best of 81 steps", loss(static_cast<double>(ratio)));
    for (int i = 30; bits == 3 && i <= 100; ++i)
      curve.points.push_back({i / 100.0, loss(i / 100.0)});
    l.value.data[0] = 0;
    for (int step = 0; step < 300; ++step) {
      store.zero_gradients();
      g.begin(Graph::Mode::training);
      g.backward(error(g, w, l, absmax, spec));
      adamw.step(0.02 * (1 - step / 300.0));  // the rate falls to 0
    }
    const double learned = std::exp(static_cast<double>(l.value.data[0]));
    page.number(key + "learned", "at LSQ's step", loss(learned));
    page.number(key + "ratio", "LSQ's step / absmax", learned, 3);
  }
  page.say(
      "No search, and almost the same place. When a network trains, its own loss stands here, "
      "weights and steps move together, and no search could follow: this is what LSQ is for.");
  page.picture("11_lsq", {.title = "The loss as a function of the step",
                          .x_label = "step / absmax",
                          .y_label = "mean (ŵ - w)²",
                          .series = {curve}});
  page.say("Try: start LSQ at a tenth of absmax. It comes back: which weights push the step up?");
}

}  // namespace notch::lessons
