// Lesson 18. The 200-line GPT that students arrive with (scalar_gpt.h), rebuilt on tensors (tensor_gpt.h):
// the same numbers, then 4 bits.
#include <array>
#include <cmath>
#include <vector>

#include "experiments/lessons/lesson.h"
#include "experiments/lessons/scalar_gpt.h"
#include "experiments/lessons/tensor_gpt.h"
#include "nn/generate.h"

namespace notch::lessons {
namespace {

/// Two or three syllables, each one of 32, all equally likely.
std::string invented_name(Rng& rng) {
  std::string name;
  for (std::uint64_t left = 2 + rng.below(2); left > 0; --left) {
    name += "bdklmnrs"[rng.below(8)];
    name += "aeio"[rng.below(4)];
  }
  return name;
}

/// Loss per token of 200 names that nobody trained on.
double test(TensorGpt& gpt) {
  Rng fresh(20);
  Graph g;
  double sum = 0, tokens = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string name = invented_name(fresh);
    const double count = static_cast<double>(name.size()) + 1;
    g.begin(Graph::Mode::inference);
    sum += count * static_cast<double>(gpt.loss(g, name).item());
    tokens += count;
  }
  return sum / tokens;
}

std::string sampled_name(TensorGpt& gpt, Rng& rng) {
  std::vector<std::int32_t> ids{26};
  std::string name;
  for (Graph g; ids.size() < 12; name += static_cast<char>('a' + ids.back())) {
    g.begin(Graph::Mode::inference);
    const auto all = gpt.logits(g, ids).value().flat();
    ids.push_back(nn::sample(all.last(27), {}, rng));
    if (ids.back() == 26) break;
  }
  return name;
}

}  // namespace

void names(Page& page) {
  page.say(
      "Many students arrive with a GPT of 200 lines in which every number is a node of the tape. "
      "scalar_gpt.h is such a program: one block, RMSNorm (x divided by the root of its mean "
      "square) and no biases. tensor_gpt.h is the same on tensors. Both start from the same first "
      "weights, for invented names.");
  TensorGpt gpt;
  std::vector<double> start;
  for (const Param& p : gpt.params().params()) {
    for (const real v : p.value.flat()) start.push_back(static_cast<double>(v));
  }
  ScalarGpt scalar(start);
  Rng rng(19);
  std::vector<double> losses;
  double apart = 0;
  experiments::PlotSeries curve{.name = "scalars", .color = "#000000", .line = true};
  experiments::PlotSeries dots{
      .name = "tensors", .color = "#D55E00", .mark = experiments::Mark::circle};
  for (int step = 0; step < 20; ++step) {
    const std::string name = invented_name(rng);
    const double by_scalars = scalar.loss(name);
    scalar.adam(0.01);
    losses.push_back(gpt.train(name, 0.01));
    apart = std::fmax(apart, std::fabs(losses.back() - by_scalars));
    curve.points.push_back({static_cast<double>(step), by_scalars});
    dots.points.push_back({static_cast<double>(step), losses.back()});
  }
  page.number("weights", "weights", static_cast<double>(start.size()));
  page.numbers("loss", "loss at steps 1, 2, 20", std::array{losses[0], losses[1], losses[19]});
  page.number("apart", "largest difference in 20 steps, × 1e5", std::floor(1e5 * apart));
  page.say(
      "The same numbers: nothing about a GPT is different on tensors, only faster. So let the "
      "tensors go on for 2000 names. A name has two or three syllables of 32 that are equally "
      "likely, so no model can do better than (ln 2 + 2.5 ln 32) / 6 nats per token on average:");
  for (int step = 20; step < 2000; ++step)
    gpt.train(invented_name(rng), 0.01 * (1 - step / 2000.0));
  const double fp32 = test(gpt);
  page.number("fp32", "loss on new names, fp32", fp32, 5);
  page.number("floor", "the floor", (std::log(2) + 2.5 * std::log(32)) / 6, 5);

  page.say(
      "Now 4 bits and 2 bits: rounded, and after 300 more steps through the rounding (QAT). The "
      "last line is the control of lesson 17: the same 300 steps without rounding.");
  std::string samples;
  for (const int bits : {4, 2, 32}) {
    TensorGpt copy;
    copy.params().copy_values(gpt.params());
    const std::string key = std::to_string(bits), label = key + " bits: ";
    if (bits < 32) {
      page.number(key + ".bytes", label + "bytes, with scales",
                  static_cast<double>(copy.round(bits)));
      const double rounded = test(copy);
      page.number(key + ".rounded", label + "loss when rounded", rounded, 5);
      page.number(key + ".cost", label + "more than fp32", rounded - fp32, 2);
    }
    Rng letters(21);
    if (!samples.empty()) samples += ";";
    for (int i = 0; i < 6; ++i) samples += " " + sampled_name(copy, letters);
    Rng more(22);
    for (int step = 0; step < 300; ++step)
      copy.train(invented_name(more), 0.0005 * (1 - step / 300.0));
    page.number(key + ".trained", label + "loss after 300 more steps", test(copy), 5);
  }
  page.say("Names from the same random numbers by 4 bits, 2 bits and fp32:" + samples);
  page.say(
      "Tape, own op, AdamW, grid, range, STE, control: you have seen all of it. Now change it.");
  page.picture(
      "18_names",
      {.title = "One GPT, twice", .x_label = "step", .y_label = "loss", .series = {curve, dots}});
  page.say("Try: round the head alone, then everything but the head. Which matrix wants its bits?");
}

}  // namespace notch::lessons
