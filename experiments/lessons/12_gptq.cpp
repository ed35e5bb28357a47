// Lesson 12. GPTQ by hand (Frantar et al. 2022): round one column, let the columns still to come make
// up for the error. Then four versions with one wrong line each.
#include <array>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/lesson.h"
#include "experiments/lessons/random_layer.h"
#include "quant/methods/gptq.h"
#include "quant/methods/reference.h"

namespace notch::lessons {
namespace {

enum class Version { right, A, B, C, D };

/// Codes times steps of rows of K weights, on the codes -7 … 7. `trace`, unless null, gets every
/// weight as it is when it is rounded.
Matrix round_rows(Matrix W, std::size_t K, const Matrix& steps, Matrix Hinv, Version version,
                  Matrix* trace = nullptr) {
  const Matrix original = W;
  Matrix Q(W.size());
  const auto h = [&](std::size_t i, std::size_t j) -> double& { return Hinv[i * K + j]; };
  for (std::size_t c = 0; c < K; ++c) {
    for (std::size_t r = 0; r < steps.size(); ++r) {
      double* w = &W[r * K];
      Q[r * K + c] = nearest(w[c], steps[r]);
      if (trace) trace->push_back(w[c]);
      double e = (version == Version::D ? original[r * K + c] : w[c]) - Q[r * K + c];
      if (version != Version::C) e /= h(c, c);
      if (version == Version::A) e = -e;
      for (std::size_t j = c + 1; j < K; ++j) w[j] -= e * h(j, c);
    }
    if (version == Version::B) continue;
    for (std::size_t i = c + 1; i < K; ++i) {  // H⁻¹ of the columns that are left
      for (std::size_t j = c + 1; j < K; ++j) h(i, j) -= h(i, c) * h(c, j) / h(c, c);
    }
  }
  return Q;
}

}  // namespace

void gptq(Page& page) {
  page.say(
      "One output of three inputs, weights (0.1, 0.2, 0.3), step 1. Every input is a part of its "
      "own plus twice a part that all share. Then H, the mean of x xᵀ, is 5 on the diagonal and 4 "
      "beside it. The output changes by e x when the weights change by e; its mean square is e H "
      "eᵀ.");
  const Matrix H{5, 4, 4, 4, 5, 4, 4, 4, 5}, w{0.1, 0.2, 0.3}, one{1};
  const Matrix Hinv = quant::reference::inverse(H, 3);
  page.number("near", "error of the nearest codes (0, 0, 0)",
              output_error(w, nearest(w, 3, one), H, 3));
  page.say(
      "All three went down, so the shared part went down three times. GPTQ rounds the first "
      "weight, then moves the others to where the output changes least: w_j -= (w_1 - q_1) H⁻¹_j1 "
      "/ H⁻¹_11. Then column 1 is taken out of H⁻¹, and column 2 is next.");
  Matrix trace;
  const Matrix Q = round_rows(w, 3, one, Hinv, Version::right, &trace);
  page.number("diagonal", "H⁻¹ on the diagonal, 9/13", Hinv[0]);
  page.number("beside", "H⁻¹ beside it, -4/13", Hinv[1]);
  page.numbers("trace", "the weights when they are rounded", trace);
  page.numbers("codes", "codes", Q);
  page.number("error", "error", output_error(w, Q, H, 3));
  page.say(
      "By hand: 0.2 + 0.1 · 4/9, then 0.3 + 0.1 · 4/9 + 0.2444 · 4/5 = 0.54, which rounds up. Now "
      "the engine, with a second row (0.1, 0.3, 0.4) and a third (7, 0, 0) that makes the step 1.");
  const std::vector<real> rows{real(0.1), real(0.2), real(0.3), real(0.1), real(0.3),
                               real(0.4), 7,         0,         0};
  const quant::GptqOptions plain{.damp = 0, .act_order = false, .clip = quant::Clip::absmax};
  const auto engine = quant::gptq(
      rows, 3, 3, {.bits = 4, .granularity = quant::Granularity::tensor}, H, plain, "lesson 12");
  page.numbers("engine.codes", "its codes", engine.q.codes);
  page.number("engine.error", "its error, all rows", engine.report.error);
  page.number("engine.near", "error of the nearest codes, all rows", engine.report.rtn_error);

  page.say(
      "Four versions with one wrong line each. First the example by hand, then 200 random layers: "
      "the error divided by that of the nearest codes, and how many layers are better than these.");
  std::array<double, 5> ratio{}, better{};
  std::array<experiments::PlotSeries, 5> dots{};
  Rng rng(12);
  for (int n = 0; n < 200; ++n) {
    const RandomLayer layer(rng);
    const Matrix moment = layer.moment(rng, 128);
    const Matrix inverse = quant::reference::inverse(moment, layer.K);
    const double near =
        output_error(layer.W, nearest(layer.W, layer.K, layer.steps), moment, layer.K);
    for (std::size_t v = 0; v < 5; ++v) {
      const Matrix rounded =
          round_rows(layer.W, layer.K, layer.steps, inverse, static_cast<Version>(v));
      const double share = output_error(layer.W, rounded, moment, layer.K) / near;
      ratio[v] += share / 200, better[v] += share < 1;
      if (n < 40) dots[v].points.push_back({.x = static_cast<double>(n), .y = share});
    }
  }
  for (std::size_t v = 0; v < 5; ++v) {
    const std::string name = v == 0 ? "right" : std::string(1, static_cast<char>('A' + v - 1));
    page.numbers(name + ".codes", name + ": codes by hand",
                 round_rows(w, 3, one, Hinv, static_cast<Version>(v)));
    page.number(name + ".ratio", "error / error of the nearest codes", ratio[v], 3);
    page.number(name + ".better", "better layers of 200", better[v]);
    constexpr std::array kColors{"#000000", "#D55E00", "#0072B2", "#CC79A7", "#009E73"};
    dots[v].name = name, dots[v].color = kColors[v],
    dots[v].mark = static_cast<experiments::Mark>(v + 1);
  }
  page.say(
      "A adds where it must subtract. B never takes a column out of H⁻¹. C forgets to divide by "
      "H⁻¹_cc, so the result depends on the units of the inputs. D measures e from the weight as "
      "it was, not as it has been moved. The example by hand does not see D; \"better than the "
      "nearest codes\" does not see B, which leaves twice the error it should. It takes both "
      "tests.");
  page.picture("12_gptq", {.title = "Error / error of the nearest codes",
                           .x_label = "layer",
                           .y_label = "ratio",
                           .may_be_log = true,
                           .series = {dots[0], dots[1], dots[2], dots[3], dots[4]}});
  page.say("Try: find the lines in the source, then mend them with `notch lesson check 12`.");
}

}  // namespace notch::lessons
