// Lesson 17. A head-to-head, read with care: a table in which quantization seems to make a model better,
// and the row that was missing.
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "autograd/base/rng.h"
#include "experiments/lessons/lesson.h"
#include "nn/mlp.h"
#include "optim/adamw.h"
#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"
#include "quant/train/qat.h"

namespace notch::lessons {
namespace {

constexpr std::uint64_t kTokens = 16;  // of the vocabulary

/// A text whose next token follows a rule three times out of four and is any token otherwise.
struct Text {
  std::vector<std::int32_t> ids{}, next{};
  Text(Rng& rng, std::size_t length) {
    std::uint64_t token = rng.below(kTokens);
    for (std::size_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int32_t>(token));
      token = rng.below(4) == 0 ? rng.below(kTokens) : (5 * token + 1) % kTokens;
      next.push_back(static_cast<std::int32_t>(token));
    }
  }
  nn::Batch batch() const { return {{ids, 1, std::ssize(ids)}, next}; }
};

double loss_on(const nn::Mlp& model, const Text& text) {
  Graph g;
  g.begin(Graph::Mode::inference);
  return static_cast<double>(model.loss(g, text.batch()).item());
}

/// 100 steps on new text, the same for everyone with the same rng.
void train(nn::Mlp& model, Rng rng) {
  model.params().allocate_gradients();
  optim::AdamW adamw(optim::decay_matrices(model.params(), 0));
  Graph g;
  for (int step = 0; step < 100; ++step) {
    const Text text(rng, 64);
    model.params().zero_gradients();
    g.begin(Graph::Mode::training);
    g.backward(model.loss(g, text.batch()));
    adamw.step(2e-3);
  }
}

/// The losses of one seed on a text that nobody trained on.
struct Row {
  double fp32 = 0, rtn = 0, qat = 0, longer = 0, longer_rtn = 0;
};
Row compare(std::uint64_t seed) {
  const nn::MlpConfig config{.vocab_size = kTokens, .channels = 16, .hidden = 32, .layers = 1};
  nn::Mlp base(config), control(config), trained(config);
  base.init(seed);
  train(base, Rng(seed, 100));
  control.params().copy_values(base.params());
  trained.params().copy_values(base.params());
  train(control, Rng(seed, 101));

  const quant::Plan plan{.weights = {.bits = 2}, .table = {}};
  const auto targets = quant::resolve(plan, trained);
  Rng fresh(seed, 102);
  const Text test(fresh, 8192);
  Row row{.fp32 = loss_on(base, test), .longer = loss_on(control, test)};
  {
    quant::FakeQuantizer fake(trained, quant::Training::lsq, targets, {});
    train(trained, Rng(seed, 101));
    row.qat = loss_on(trained, test);
  }
  for (nn::Mlp* model : {&base, &control}) {
    nn::Model& rounded = *model;
    quant::post_training(rounded, quant::method("rtn-mse"), quant::resolve(plan, rounded), {}, {});
    (model == &base ? row.rtn : row.longer_rtn) = loss_on(*model, test);
  }
  return row;
}

struct Spread {
  double mean = 0, error = 0;  // error: standard error of the mean
};
Spread spread(const std::vector<Row>& rows, const std::function<double(const Row&)>& of) {
  double sum = 0, squares = 0, n = static_cast<double>(rows.size());
  for (const Row& row : rows) sum += of(row), squares += of(row) * of(row);
  return {sum / n, std::sqrt(std::fmax(0, squares / n - sum / n * sum / n) / (n - 1))};
}

}  // namespace

void controls(Page& page) {
  std::vector<Row> rows;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) rows.push_back(compare(seed));
  experiments::PlotSeries dots{.name = "mean of 8 seeds ± standard error",
                               .color = "#0072B2",
                               .mark = experiments::Mark::circle};
  std::vector<experiments::PlotPlace> names;
  const auto print = [&](const char* name, const char* label, double Row::*loss) {
    const Spread all = spread(rows, [&](const Row& r) { return r.*loss; });
    page.number(name, label, all.mean, 5);
    dots.points.push_back(
        {.x = static_cast<double>(names.size()), .y = all.mean, .error = all.error});
    names.push_back({name, dots.points.back().x});
    return all;
  };
  page.say(
      "A small network learns 16 tokens: the next one follows a rule three times out of four. It "
      "is trained for 100 steps (fp32). Then its weights are rounded to 2 bits, the codes -1, 0, "
      "1: by rounding to nearest (rtn), and by 100 steps of LSQ from lesson 11 (qat). Loss in nats "
      "per token on text that nobody trained on, mean of 8 seeds (8 starts, 8 texts):");
  const Spread fp32 = print("fp32", "fp32", &Row::fp32);
  const Spread rtn = print("rtn", "rtn, 2 bits", &Row::rtn);
  const Spread qat = print("qat", "qat, 2 bits", &Row::qat);
  page.number("rounding", "rtn - fp32", rtn.mean - fp32.mean, 3);
  page.number("better", "qat - fp32", qat.mean - fp32.mean, 3);
  page.say(
      "A model of 2 bits that is better than its own model of 32 bits! Stop here and find what is "
      "wrong with this table before you read on.");

  page.say(
      "The network was not done after 100 steps, and QAT trained it for 100 more. The table "
      "compares training long with training short. What is missing is a control: a row that gets "
      "everything QAT gets except the quantizer. The same 100 steps on the same text, in fp32; and "
      "that, rounded.");
  const Spread longer = print("longer", "fp32 + 100 steps", &Row::longer);
  const Spread longer_rtn = print("longer_rtn", "the same, rtn, 2 bits", &Row::longer_rtn);
  page.number("cost", "qat - (fp32 + 100 steps)", qat.mean - longer.mean, 3);
  page.number("gain", "qat - (the same, rtn)", qat.mean - longer_rtn.mean, 3);
  page.say(
      "Now it reads: 2 bits cost something after all, and QAT saves most of what rounding costs. "
      "That is good news, and true. But is the cost real, or chance? Losses of different seeds lie "
      "apart, because starts and texts do. Their standard error, s/√8 with s the deviation of the "
      "seeds, would hide it. But both rows of a seed had the same start and the same texts. Take "
      "the difference first, seed by seed, and then the mean: what both share is gone.");
  page.number("unpaired", "standard error from the two rows apart",
              std::hypot(qat.error, longer.error), 2);
  const Spread pairs = spread(rows, [](const Row& r) { return r.qat - r.longer; });
  page.number("paired", "standard error of the differences", pairs.error, 2);
  page.say("And how good could any model be? The text's own chance is a floor (its entropy):");
  const double rule = 0.75 + 0.25 / 16, other = 0.25 / 16;
  page.number("floor", "floor", -rule * std::log(rule) - 15 * other * std::log(other), 5);
  page.say(
      "Ask of every table: did all rows train equally long, on the same text? Was one setting "
      "tuned and the other not? Was the calibration text of the training part? How many seeds, and "
      "are differences paired? `experiments/run.sh` makes these rows by itself.");
  page.picture("17_controls", {.title = "Which two rows may be compared?",
                               .y_label = "loss, nats per token",
                               .series = {dots},
                               .places = names});
  page.say("Try: train the base for 1000 steps instead of 100. Which of the differences stays?");
}

}  // namespace notch::lessons
