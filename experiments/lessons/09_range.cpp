// Lesson 09. Choosing the range: why the largest weight should often be clipped.
#include <cmath>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/lesson.h"
#include "quant/numbers/ranges.h"

namespace notch::lessons {
namespace {

using namespace quant;

constexpr std::int64_t kWeights = 65536;

/// Mean of (w - ŵ)² with the range `ratio` times the largest weight, all weights sharing one scale.
double error_of(const std::vector<real>& w, const Spec& spec, double ratio) {
  const UnitScale at = scale_unit(w, spec, static_cast<real>(ratio));
  const QTensor q = quantize(w, 1, std::ssize(w), spec, {.scales = {at.scale}}, "lesson");
  const std::vector<real> back = dequantize(q);
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    sum += std::pow(static_cast<double>(w[i]) - static_cast<double>(back[i]), 2);
  }
  return sum / static_cast<double>(w.size());
}

}  // namespace

void range(Page& page) {
  page.say(
      "So far the range reached to the largest weight (absmax): nothing is clipped. But there is a "
      "choice. A smaller range has finer steps, and the many small weights win; the few beyond its "
      "end are clipped, and lose. Which range has the smallest error? We try all, in steps of 1 %. "
      "The weights are random with the bell curve of mean 0 and deviation 1, as trained weights "
      "nearly are. The error is the mean of the squares (w - q s)².");
  Rng rng(9);
  std::vector<real> w(kWeights);
  for (real& v : w) v = static_cast<real>(rng.normal());
  real largest = 0;
  for (const real v : w) largest = std::max(largest, std::abs(v));

  experiments::Plot plot{.title = "Error of a range, 65536 random weights",
                         .x_label = "range, as a share of the largest weight",
                         .y_label = "log10 of the mean square error"};
  const char* colors[] = {"#D55E00", "#009E73", "#0072B2", "#CC79A7"};
  const int widths[] = {2, 3, 4, 8};
  for (std::size_t k = 0; k < 4; ++k) {
    const Spec spec{.bits = widths[k]};
    const std::string bits = std::to_string(widths[k]);
    experiments::PlotSeries curve{.name = bits + " bits", .color = colors[k], .line = true};
    double best = 1;
    for (int percent = 100; percent >= 20; --percent) {
      const double ratio = percent / 100.0, error = error_of(w, spec, ratio);
      curve.points.push_back({.x = ratio, .y = std::log10(error)});
      if (error < error_of(w, spec, best)) best = ratio;
    }
    plot.series.push_back(curve);
    page.number("clip" + bits, bits + " bits: best end of the range",
                best * static_cast<double>(largest), 3);
    page.number("error" + bits, "        its error", error_of(w, spec, best), 3);
    page.number("gain" + bits, "        error of absmax, over that",
                error_of(w, spec, 1) / error_of(w, spec, best), 3);
  }
  page.say(
      "With 8 bits hardly anything is gained: steps are so fine that clipping costs more. With 2 "
      "bits (codes -1, 0, 1) the best range ends near 1.2 deviations, where a fifth of all weights "
      "is clipped, and absmax is worse by a large factor. The value for 2 bits is known since "
      "1960: Max found 1.224, with error 0.190. A search that only tries 83 % to 100 % of absmax, "
      "as some programs do, never gets there.");

  page.say(
      "The engine has this search as a rule, called mse. Here it is with 4 bits and a range of its "
      "own for every 256 weights.");
  const Spec rows{.bits = 4};
  const auto mean_error = [&](RangeRule rule) {
    const std::vector<real> back = dequantize(
        quantize(w, kWeights / 256, 256, rows,
                 choose_scales(w, kWeights / 256, 256, rows, rule, "lesson").at, "lesson"));
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); ++i)
      sum += std::pow(static_cast<double>(w[i] - back[i]), 2);
    return sum / static_cast<double>(kWeights);
  };
  const double absmax = mean_error(RangeRule::absmax);
  page.number("rule.absmax", "absmax: mean square error", absmax, 3);
  page.number("rule.mse", "mse, divided by that", mean_error(RangeRule::mse) / absmax, 3);
  page.say(
      "Is the smallest error of the weights what we want? Not quite. We want the smallest error of "
      "what the layer computes, and in the end the smallest loss. Lesson 12 does better for that "
      "reason. But a good range is where every method begins.");
  page.picture("09_range", plot);
}

}  // namespace notch::lessons
