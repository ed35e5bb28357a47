// Lesson 14. Bits, bytes and entropy: what a quantized model weighs on disk, and what it could weigh.
#include <array>
#include <cmath>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "experiments/lessons/lesson.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/pack.h"

namespace notch::lessons {
namespace {

using quant::Granularity;

double per_weight(int bits, std::int64_t group) {
  const quant::Spec spec{.bits = bits,
                         .granularity = Granularity::group,
                         .group_size = group,
                         .scale = quant::ScaleType::f16};
  return quant::bits_per_weight(spec, 4096, 4096);
}

/// 65,536 normal weights on the 4-bit codes -7 … 7 with a step of `step` standard deviations.
std::vector<std::int8_t> normal_codes(double step) {
  Rng rng(14);
  std::vector<real> w(65536);
  for (real& v : w) v = static_cast<real>(rng.normal());
  const quant::Spec spec{.bits = 4, .granularity = Granularity::tensor};
  return quant::quantize(w, 256, 256, spec,
                         {.scales = {static_cast<real>(step)}, .zero_points = {}}, "lesson 14")
      .codes;
}

}  // namespace

void entropy(Page& page) {
  constexpr double kGiB = 1024.0 * 1024 * 1024;
  page.say(
      "A bit is a 0 or a 1, a byte is 8 bits. Mixing them up is the most common mistake in tables "
      "of quantized models. A model of 7 billion weights, bits per weight · weights / 8, in GiB "
      "(2^30 bytes):");
  std::vector<double> sizes;
  for (const int bits : {32, 16, 8, 4}) sizes.push_back(7e9 * bits / 8 / kGiB);
  page.numbers("gib", "32, 16, 8, 4 bits", sizes, 3);
  page.say(
      "GB and GiB are not the same. 70 billion weights of 32 bits are 280 GB (10^9 bytes), and in "
      "GiB:");
  page.number("seventy", "70e9 · 4 / 2^30", 70e9 * 4 / kGiB, 4);
  page.say(
      "Codes are not all. Every group of weights stores its scale, here in 16 bits. So \"4 bits\" "
      "are 4 + 16/32 with groups of 32 weights. Always print the bits per weight with the scales.");
  page.numbers("four", "4 bits, groups of 32, 64, 128",
               std::array{per_weight(4, 32), per_weight(4, 64), per_weight(4, 128)});
  page.numbers("others", "8 bits and 6 bits, groups of 64",
               std::array{per_weight(8, 64), per_weight(6, 64)});

  page.say(
      "Must a code cost 4 bits? If some codes are frequent, no: give them short names. The entropy "
      "is the bits per code that the best naming needs, Σ p log2(1/p), p the share of each code. "
      "Eight codes by hand: 0 0 0 0 1 1 -1 2 have the shares 1/2, 1/4, 1/8, 1/8. Names 0, 10, 110, "
      "111: 1/2 · 1 + 1/4 · 2 + 1/8 · 3 + 1/8 · 3.");
  const std::vector<std::int8_t> eight{0, 0, 0, 0, 1, 1, -1, 2};
  page.number("eight", "entropy of the eight codes", quant::code_entropy(eight));

  page.say(
      "Weights look like a bell (a normal distribution), so the codes near 0 are frequent. 65,536 "
      "normal weights; 0.5 means a step of half a standard deviation. Beside the entropy stands "
      "what the engine's coder writes, table and all.");
  const quant::Grid grid{.qmin = -7, .qmax = 7};
  experiments::PlotSeries curve{.name = "entropy", .color = "#0072B2", .line = true};
  for (const double step : {0.25, 0.5, 1.0}) {
    const auto codes = normal_codes(step);
    const auto stream = quant::encode_codes(codes, grid);
    const auto back = quant::decode_codes(stream, std::ssize(codes), grid, "lesson 14");
    const std::string key = step < 0.3 ? "quarter" : step < 0.7 ? "half" : "whole";
    page.number(key + ".entropy", str("step ", step, ": entropy, bits per weight"),
                quant::code_entropy(codes), 4);
    page.number(key + ".stream", "bits per weight that were written",
                8.0 * static_cast<double>(stream.size()) / 65536, 4);
    page.number(key + ".wrong", "codes that came back different", codes == back ? 0 : 1);
  }
  for (int i = 10; i <= 100; i += 3)
    curve.points.push_back({i / 100.0, quant::code_entropy(normal_codes(i / 100.0))});
  page.say(
      "Twice the step: about one bit less, and about four times the squared rounding error. So "
      "bits can be bought with a wider step as well as with fewer codes: a method that says \"4 "
      "bits\" and a coder that stores 2.1 are compared at 2.1. 15 codes in equal shares would be "
      "log2 15:");
  page.number("uniform", "log2 15", std::log2(15.0), 4);
  page.picture("14_entropy", {.title = "Entropy of 4-bit codes of normal weights",
                              .x_label = "step / standard deviation",
                              .y_label = "bits per weight",
                              .series = {curve}});
  page.say("Try: a step of 0.05. Why does the entropy fall again?");
}

}  // namespace notch::lessons
