// Common mistakes, each beside the right version and with its damage measured. The programs are in
// mistakes.h; the wrong lines are marked there.
#include "experiments/lessons/lesson.h"
#include "experiments/lessons/mistakes.h"

namespace notch::lessons {

void mistakes(Page& page) {
  page.say(
      "All of these run without an error message and give a model. Only a number beside the right "
      "one shows them. Where nothing else is said, a figure is an error divided by that of "
      "rounding to nearest, so 1 means: nothing was gained.");
  experiments::PlotSeries bars{
      .name = "wrong / right", .color = "#D55E00", .mark = experiments::Mark::diamond};
  std::vector<experiments::PlotPlace> places;
  const auto both = [&](const std::string& key, const measured::Damage& d,
                        const char* right = "right", const char* wrong = "wrong") {
    page.number(key + ".right", right, d.right, 3);
    page.number(key + ".wrong", wrong, d.wrong, 3);
  };
  const auto mark = [&](const char* name, double ratio) {
    const double at = static_cast<double>(places.size());
    bars.points.push_back({.x = at, .y = ratio});
    places.push_back({name, at});
  };

  page.say(
      "1. GPTQ's sign. The columns still to come must take the error back: w_j -= e H⁻¹_jc / "
      "H⁻¹_cc. Many texts print +=. It then moves every weight the wrong way. 50 random layers "
      "(lesson 12):");
  const auto sign = measured::gptq_sign();
  both("sign", sign);
  mark("sign", sign.wrong / sign.right);

  page.say(
      "2. The zero point in the clip mask. With a zero point z the grid ends where w/s + z does. A "
      "mask that asks w/s only takes inner weights for clipped ones, and they get no gradient. "
      "Four weights, (0.5, 1.2, -0.3, 0.8), s = 1.5/255, z = -77, shall move to (0.4, 1, -0.2, "
      "0.7). 1.2 and 0.8 lie at w/s = 204 and 136, above 127, and never move. Squared distance "
      "after 200 steps:");
  both("mask", measured::clip_mask());

  page.say(
      "3. AWQ without identity. AWQ makes channels with large inputs larger before rounding, by a "
      "power α of their size, and tries a list of α. If the list begins at 0.1, the model without "
      "AWQ (α = 0) is not in it, and the best of the list can be worse than nothing. 200 layers:");
  const auto awq = measured::awq_identity();
  both("awq", awq.error, "mean error, α from 0", "mean error, α from 0.1");
  both("awq.worse", awq.worse, "layers worse than nearest, α from 0",
       "layers worse than nearest, α from 0.1");
  mark("AWQ", awq.error.wrong / awq.error.right);

  page.say(
      "4. A learned step as |p|. Adam moves a number by about the learning rate, however small the "
      "number is. Here the step is 0.00028 and the rate 0.01: p goes far through zero, |p| is 35 "
      "times the step, and every weight rounds to 0. From then on p swings to and fro and finds "
      "the narrow place of good steps only by chance. log s moves by one per cent. Error as a "
      "share of the weights' squares (1: all is lost):");
  const auto step = measured::step_through_abs();
  page.number("abs.start", "the step at the start", step.start, 3);
  both("abs.step", step.step, "after one update, log s", "after one update, |p|");
  both("abs.error", step.error, "error then, log s", "error then, |p|");
  page.number("abs.last", "error after 200 updates, log s", step.last, 3);
  both("abs.lost", step.lost, "share of them with all weights 0, log s",
       "share of them with all weights 0, |p|");
  mark("|p|", step.error.wrong / step.error.right);

  page.say(
      "5. The scale rounded after use. Codes are chosen with an exact scale, then the scale is "
      "stored in 16 bits (bf16). The codes do not fit the scale that is read back, and the model "
      "that was tested is not the model in the file. 8 bits, squared error of the wrong order / "
      "right order:");
  const double late = measured::scale_rounded_late();
  page.number("late", "wrong / right", late, 3);
  mark("scale", late);

  page.say(
      "6. Averages of exact weights (EMA). In ordinary training an average of the last weights is "
      "often better than the last. In QAT what counts is the rounded weight. An average that "
      "remembers 1000 steps of a training of 200 is mostly the start, and so are its codes: QAT's "
      "gain is gone. One that remembers 10 does no harm here. Round first, then compare. Error "
      "after QAT, 20 layers:");
  const auto average = measured::averaged_latents();
  page.number("ema.trained", "the trained weights, rounded", average.trained, 3);
  page.number("ema.short", "average over about 10 steps, rounded", average.short_memory, 3);
  page.number("ema.long", "average over about 1000 steps, rounded", average.long_memory, 3);
  mark("average", average.long_memory / average.trained);

  page.say(
      "7. Calibration on the test text. GPTQ fits the inputs it is shown. Shown the 40 test "
      "inputs, it looks better on them than it is; on new inputs the same codes are no better than "
      "honest ones.");
  const auto leak = measured::calibrated_on_test();
  page.number("leak.honest", "calibrated on 40 other inputs: test error", leak.honest, 3);
  page.number("leak.leaked", "calibrated on the test inputs: test error", leak.leaked, 3);
  page.number("leak.truth", "the latter on 2000 new inputs", leak.truth, 3);
  mark("test text", leak.truth / leak.leaked);
  page.picture("19_mistakes", {.title = "How much worse",
                               .y_label = "error, wrong / right",
                               .may_be_log = true,
                               .series = {bars},
                               .places = places});
  page.say(
      "Try: find each of them in code that you use. Numbers 2, 3 and 5 are the hardest to see.");
}

}  // namespace notch::lessons
