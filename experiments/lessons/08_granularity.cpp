// Lesson 08. Granularity and outliers: how many weights may share a scale.
#include <cmath>
#include <set>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/lesson.h"
#include "quant/numbers/ranges.h"

namespace notch::lessons {
namespace {

using namespace quant;

constexpr Spec kTensor{.bits = 8, .granularity = Granularity::tensor};
constexpr Spec kChannel{.bits = 8, .granularity = Granularity::channel};
Spec group(int bits, std::int64_t size) {
  return {.bits = bits, .granularity = Granularity::group, .group_size = size};
}

QTensor on_grid(const std::vector<real>& w, std::int64_t rows, const Spec& spec) {
  const std::int64_t cols = std::ssize(w) / rows;
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "lesson").at, "lesson");
}

/// √(Σ (w - ŵ)² / Σ w²) over the weights [first, last): 0 is perfect, 1 is as bad as all zeros.
double relative_error(const std::vector<real>& w, const QTensor& q, std::size_t first,
                      std::size_t last) {
  const std::vector<real> back = dequantize(q);
  double wrong = 0, all = 0;
  for (std::size_t i = first; i < last; ++i) {
    wrong += std::pow(static_cast<double>(w[i]) - static_cast<double>(back[i]), 2);
    all += std::pow(static_cast<double>(w[i]), 2);
  }
  return std::sqrt(wrong / all);
}

}  // namespace

void granularity(Page& page) {
  page.say(
      "One scale for a whole matrix (per tensor) is cheap, and its largest weight decides for all. "
      "Here is a matrix of two rows, one with weights a hundred times larger. A row makes one "
      "output of the layer, and outputs are called channels, so a scale per row is called per "
      "channel.");
  const std::vector<real> two = {0.01f, -0.02f, 0.015f, -0.005f, 1.5f, -2, 0.8f, -1.2f};
  const QTensor tensor = on_grid(two, 2, kTensor), channel = on_grid(two, 2, kChannel);
  page.numbers("tensor", "8-bit codes, one scale", tensor.codes);
  page.numbers("channel", "8-bit codes, a scale per row", channel.codes);
  page.number("tensor.error", "relative error of the first row, one scale",
              relative_error(two, tensor, 0, 4), 3);
  page.number("channel.error", "the same, a scale per row", relative_error(two, channel, 0, 4), 3);

  page.say(
      "Rows can be mixed as well. Then a scale for every few weights of a row helps: groups. With "
      "4 bits the codes are -7 to 7. One row of eight, as a whole and in groups of four:");
  const std::vector<real> row = {0.1f, 0.2f, 0.15f, 0.12f, 2, -1.8f, 1.5f, -2.1f};
  const QTensor whole = on_grid(row, 1, {.bits = 4}), halves = on_grid(row, 1, group(4, 4));
  page.numbers("whole", "4-bit codes, one scale", whole.codes);
  page.numbers("halves", "4-bit codes, groups of 4", halves.codes);
  page.number("whole.error", "relative error of the first four, one scale",
              relative_error(row, whole, 0, 4), 3);
  page.number("halves.error", "the same, groups of 4", relative_error(row, halves, 0, 4), 3);

  page.say(
      "A single weight far from the others is called an outlier. We take 21 weights from -2 to 3, "
      "and then one more, 85. How many different codes do the 21 still get, of the 255 there are?");
  std::vector<real> values;
  for (int i = 0; i <= 20; ++i) values.push_back(static_cast<real>(i) / 4 - 2);
  const auto different = [](const std::vector<std::int8_t>& codes) {
    return static_cast<double>(std::set<int>(codes.begin(), codes.begin() + 21).size());
  };
  page.number("without", "different codes without the outlier",
              different(on_grid(values, 1, kChannel).codes));
  values.push_back(85);
  page.number("with", "different codes with it", different(on_grid(values, 1, kChannel).codes));

  page.say(
      "In a matrix of 64 rows with 256 random weights each, we multiply row 3 by 100. The other 63 "
      "rows did not change. With one scale they are almost lost; with a scale per row nothing "
      "happens to them.");
  Rng rng(8);
  std::vector<real> matrix(64 * 256);
  for (real& v : matrix) v = static_cast<real>(0.02 * rng.normal());
  std::vector<real> spoiled = matrix;
  for (std::size_t i = 3 * 256; i < 4 * 256; ++i) spoiled[i] *= 100;
  const QTensor one = on_grid(spoiled, 64, kTensor), each = on_grid(spoiled, 64, kChannel);
  const std::set<int> used(one.codes.begin() + 4 * 256, one.codes.end());
  page.number("used", "codes that rows 4 to 63 use, of 255", static_cast<double>(used.size()));
  page.number("one.error", "their relative error, one scale",
              relative_error(spoiled, one, 4 * 256, matrix.size()), 2);
  page.number("each.error", "their relative error, a scale per row",
              relative_error(spoiled, each, 4 * 256, matrix.size()), 2);

  page.say(
      "Smaller groups are better and cost more bits, since every scale is stored (here in 16 "
      "bits). The picture shows the price, for 4 bits and the matrix without the large row.");
  experiments::Plot plot{.title = "4 bits: error and cost of a group size",
                         .x_label = "bits per weight",
                         .y_label = "relative error"};
  experiments::PlotSeries series{.name = "groups of 256, 128, 64, 32, 16, 8",
                                 .color = "#0072B2",
                                 .mark = experiments::Mark::circle,
                                 .line = true};
  for (const std::int64_t size : {256, 128, 64, 32, 16, 8}) {
    Spec spec = group(4, size);
    spec.scale = ScaleType::f16;
    const double error = relative_error(matrix, on_grid(matrix, 64, spec), 0, matrix.size());
    const std::string name = std::to_string(size);
    page.number("group" + name, "relative error, groups of " + name, error, 2);
    series.points.push_back({.x = bits_per_weight(spec, 64, 256), .y = error, .note = name});
  }
  plot.series = {series};
  page.picture("08_granularity", plot);
}

}  // namespace notch::lessons
