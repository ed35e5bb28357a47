// Lesson 07. Quantize: scales, zero points, and what happens at ties.
#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/lessons/lesson.h"
#include "quant/numbers/ranges.h"

namespace notch::lessons {
namespace {

using namespace quant;

/// One row of weights on the integers of `spec`; the range covers all of them.
QTensor on_grid(const std::vector<real>& w, const Spec& spec) {
  const std::int64_t n = std::ssize(w);
  return quantize(w, 1, n, spec, choose_scales(w, 1, n, spec, RangeRule::absmax, "lesson").at,
                  "lesson");
}

double largest_error(const std::vector<real>& w, const QTensor& q) {
  const std::vector<real> back = dequantize(q);
  double error = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    error = std::max(error, std::fabs(static_cast<double>(w[i]) - static_cast<double>(back[i])));
  }
  return error;
}

}  // namespace

void quantize(Page& page) {
  page.say(
      "A float needs 32 bits. To quantize is to write a weight as a small integer q, its code, and "
      "one scale s for many weights: w is about q s. With 8 bits the codes are -127 to 127 (the "
      "engine calls this grid narrow: as many below 0 as above). The largest weight gets the "
      "largest code, so s = max|w| / 127. Then q = w / s, rounded.");
  const std::vector<real> w = {0.1f, 0.5f, 1, -0.3f, 2, -1.5f};
  const QTensor q = on_grid(w, {.bits = 8});
  page.numbers("w", "w", w);
  page.number("s", "s = 2 / 127", q.at.scales[0]);
  page.numbers("q", "q", q.codes);
  page.numbers("back", "q s", dequantize(q));
  page.number("error", "largest |w - q s|", largest_error(w, q));
  page.number("half", "half a step, s / 2", q.at.scales[0] / 2);
  page.say(
      "Rounding to the nearest code is never wrong by more than half a step. That is all one loses "
      "by this simplest method, which is called round to nearest (RTN).");

  page.say(
      "Look at the weight 1. It is exactly half of 2, so w / s = 63.5: as near to 63 as to 64. A "
      "tie. School rounds ties up. Then all ties go the same way, and sums grow. The engine takes "
      "the even neighbour, 64. Of 0.5, 1.5, 2.5 and 3.5, the mean error of each rule:");
  double up = 0, even = 0;
  for (const double v : {0.5, 1.5, 2.5, 3.5}) {
    up += (std::floor(v + 0.5) - v) / 4;
    even += (std::nearbyint(v) - v) / 4;
  }
  page.number("up", "half up", up);
  page.number("even", "half to even", even);
  page.say(
      "A tie on paper may be none in the machine. For w = 0.01 and s = 0.02 / 127 the quotient is "
      "63.5 as well. But 0.01, 0.02 and s are not exact in binary. In double the quotient comes "
      "out as 63.5; in float, just below. So two programs with the same formula give different "
      "codes. The engine fixes: a float division, ties to even, everywhere.");
  page.number("double", "rounded in double", std::nearbyint(0.01 / (0.02 / 127)));
  const std::vector<real> small = {0.01f, -0.02f, 0.015f, -0.005f};
  page.numbers("float", "the engine's codes of [0.01, -0.02, 0.015, -0.005]",
               on_grid(small, {.bits = 8}).codes);

  page.say(
      "Weights that lie mostly on one side waste half of a symmetric grid. An asymmetric grid "
      "moves: s = (max - min) / 255, and a zero point z, the code that stands for 0: w is about (q "
      "- z) s. With 8 bits q is in [-128, 127].");
  const std::vector<real> sided = {0.5f, 1.2f, -0.3f, 0.8f};
  const QTensor moved = on_grid(sided, {.bits = 8, .grid = GridKind::asymmetric});
  page.numbers("sided", "w", sided);
  page.number("sided.s", "s = 1.5 / 255", moved.at.scales[0]);
  page.number("sided.z", "z", moved.at.zero_points[0]);
  page.numbers("sided.q", "q", moved.codes);
  page.number("sided.exact", "largest error below 1e-6 (1 = yes)",
              largest_error(sided, moved) < 1e-6);
  page.number("sided.narrow", "largest error on the symmetric grid",
              largest_error(sided, on_grid(sided, {.bits = 8})));
  page.say(
      "z is added after rounding. Before is not the same: with w / s = 2.5 and z = 1, a tie "
      "again:");
  page.number("after", "round(2.5) + 1", std::nearbyint(2.5) + 1);
  page.number("before", "round(2.5 + 1)", std::nearbyint(2.5 + 1));

  page.say(
      "What does it save? The scales must be stored too. With 4 bits and a scale of 16 bits for "
      "every 32 weights, each weight costs 4 + 16/32 bits:");
  const auto bits = [](int width, std::int64_t group) {
    return bits_per_weight({.bits = width,
                            .granularity = Granularity::group,
                            .group_size = group,
                            .scale = ScaleType::f16},
                           64, 1024);
  };
  page.numbers("bits", "bits per weight, 4 bits, groups of 32, 64, 128",
               std::vector<double>{bits(4, 32), bits(4, 64), bits(4, 128)});
  page.number("gib32", "GiB of 7 billion weights in float", 7e9 * 32 / 8 / std::pow(2, 30), 3);
  page.number("gib4", "with 4 bits, groups of 32", 7e9 * bits(4, 32) / 8 / std::pow(2, 30), 3);

  experiments::Plot plot{.title = "A grid of 3 bits: 7 codes", .x_label = "w", .y_label = "q s"};
  plot.series = {{.name = "w",
                  .color = "#999999",
                  .line = true,
                  .points = {{.x = -4, .y = -4}, {.x = 4, .y = 4}}},
                 {.name = "q s, with s = 1", .color = "#0072B2", .line = true}};
  for (double v = -4; v <= 4; v += 0.01) {
    plot.series[1].points.push_back({.x = v, .y = std::clamp(std::nearbyint(v), -3.0, 3.0)});
  }
  page.say(
      "In the picture, the staircase: inside, the error is at most half a step. Outside of the "
      "range codes end, and weights are clipped: there is no limit. Lesson 09 is about that "
      "choice.");
  page.picture("07_quantize", plot);
}

}  // namespace notch::lessons
