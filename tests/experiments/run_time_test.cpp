// What is left of a run, from the rows that were made.
#include "experiments/run/run_time.h"

#include <cmath>
#include <sstream>

#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "experiments/run/row_facts.h"
#include "quant/methods/methods.h"
#include "tests/catch.h"

using namespace notch;
using namespace notch::experiments;

namespace {

/// Two seeds of fp32, its control, and rtn and qat-ste at two widths.
ExperimentConfig example() {
  ExperimentConfig config;
  config.seeds = {1, 2};
  config.train.steps = 1000;
  config.qat.steps = 100;
  config.quant.bits = {8, 4};
  config.quant.methods = {"rtn", "qat-ste"};
  return config;
}

/// What scoring reads: a second's worth, at the pace of a tenth of a second for a step of training,
/// which reads as much forward three times. A row's text is read twice.
ReadTokens example_reads(const ExperimentConfig& config) {
  const double step = static_cast<double>(config.train.batch_size) * config.model.block_size;
  return {.scored = 10 * 3 * step / 2};
}

/// What it takes, in seconds: fp32 100, a control 10, a trained row 14, the rest 1.
double cost(const RowResult& r) {
  if (r.name == kBaseRow) return 100;
  if (r.granularity.empty()) return 10;
  return r.trained ? 14 : 1;
}

/// Seconds of experiments/quick.toml on idle cores, by experiments/RESULTS.md: what the training of
/// each method's rows took, mean over widths. Their scoring is not in that table: it was timed beside
/// 60 steps of QAT, of which it takes 0.92 (6.0 s and 6.5 s on a loaded machine); RESULTS.md has
/// 5.3 s for 200 of them. fp32 is not compared with itself: half the text, all of the task.
struct Measured {
  static constexpr double kScore = 0.92 * 60 * 5.3 / 200;
  double training(const RowResult& r) const {
    if (r.name == kBaseRow) return 46.2;
    if (r.granularity.empty()) return 5.1;
    if (r.method == "gptq") return 0.2;
    return r.distilled ? 6.9 : r.trained ? 5.3 : 0.0;
  }
  double all(const RowResult& r) const { return training(r) + kScore; }
};

/// quick.toml as far as time goes: 370 kB of text, a tenth of it scored, 300 questions with three
/// labels each and some 145 characters.
ExperimentConfig quick() {
  ExperimentConfig c;
  c.seeds = {1337};
  c.model.n_layer = 3;
  c.model.block_size = 152;
  c.train.steps = 2000;
  c.train.batch_size = 8;
  c.train.eval_every = 500;
  c.qat.fraction = 0.1;
  c.quant.bits = {8, 6, 4};
  c.quant.methods = {"rtn", "rtn-mse", "gptq", "qat-ste", "qat-lsq", "qat-lsq-kd"};
  return c;
}
constexpr ReadTokens kQuickReads{
    .scored = 37'000, .task = 300 * 3 * 145, .validation = 64 * 152, .calibration = 64 * 152};

/// The seconds behind "run_eta:", which are printed as 9.4s, 45s or 2m18s.
double run_eta(const std::string& line) {
  const std::size_t at = line.rfind("run_eta:");
  REQUIRE(at != std::string::npos);
  std::istringstream in(line.substr(at + 8));
  double first = 0, second = 0;
  char unit = 0;
  in >> first >> unit;
  if (unit == 's') return first;
  REQUIRE(unit == 'm');
  in >> second;
  return 60 * first + second;
}

}  // namespace

TEST_CASE("the time left is near the truth from the first row on") {
  const ExperimentConfig config = example();
  const std::vector<RowResult> rows = planned_results(config);
  double all = 0;
  for (const RowResult& r : rows) all += 2 * cost(r);
  RunTime time(config, example_reads(config));
  double spent = 0;
  int row = 0;
  for (int seed = 0; seed < 2; ++seed) {
    for (const RowResult& r : rows) {
      const RunLeft left = time.begin(r.name);
      CAPTURE(seed, r.name);
      CHECK(left.row == ++row);
      CHECK(left.rows == 2 * static_cast<int>(rows.size()));
      const double truth = all - spent - cost(r);
      if (row == 1) {
        CHECK(left.seconds == 0);  // in steps, which took a tenth of a second each
        CHECK(0.1 * left.steps == Approx(truth).epsilon(0.1));
      } else {
        CHECK(left.steps == 0);
        // This row's own scoring, a second, is left as well.
        CHECK(left.seconds == Approx(truth).epsilon(seed == 0 ? 0.1 : 0.01).margin(1.1));
      }
      time.end(r.name, cost(r));
      spent += cost(r);
    }
  }
}

TEST_CASE("rows that were found done give the pace") {
  const ExperimentConfig config = example();
  RunTime time(config, example_reads(config));
  time.found(kBaseRow, 100);
  const RunLeft left = time.begin(kControlRow);
  CHECK(left.row == 2);
  CHECK(left.steps == 0);
  // The other seed's fp32, and of both seeds what follows a control: 100 + 10 + 2 · (14 + 14 + 4).
  CHECK(left.seconds == Approx(174).epsilon(0.1));
}

TEST_CASE("a shard's time is that of its rows") {
  const ExperimentConfig config = example();
  const ReadTokens reads = example_reads(config);
  RunTime whole(config, reads), half(config, reads, {.index = 2, .of = 2});
  const RunLeft all = whole.begin(kBaseRow), left = half.begin(kBaseRow);
  CHECK(left.rows * 2 == all.rows);
  CHECK(left.steps < all.steps / 2);
}

TEST_CASE("refining codes takes an update for a training step") {
  ExperimentConfig config;
  config.seeds = {1};
  config.train.batch_size = 8;
  config.quant.control = false;
  config.quant.options.adaround.steps = 300;
  config.quant.options.adaround.windows = 8;
  config.row = {{.method = "adaround", .bits = 8},
                {.method = "adaround", .bits = 4, .label = "short", .set = {"adaround.steps=30"}},
                {.method = "adaround", .bits = 2, .label = "wide", .set = {"adaround.windows=16"}}};
  RunTime time(config, {});
  const RunLeft left = time.begin(kBaseRow);
  CHECK(left.rows == 4);
  CHECK(left.steps == Approx(300 + 30 + 2 * 300).epsilon(0.3));
}

/// In steps, what is left of a run of fp32 and these rows when fp32 begins.
double steps_of(ExperimentConfig config, std::vector<RowConfig> rows) {
  config.seeds = {1};
  config.train.batch_size = 8;
  config.quant.control = false;
  config.row = std::move(rows);
  return RunTime(config, {}).begin(kBaseRow).steps;
}

TEST_CASE("refining counts where training or a pipeline follows") {
  ExperimentConfig config;
  config.quant.options.block_ap.steps = config.quant.options.adaround.steps = 500;
  config.quant.options.block_ap.windows = config.quant.options.adaround.windows = 8;
  config.qat.steps = 100;
  const auto row = [](const char* method) { return RowConfig{.method = method, .bits = 4}; };
  const double refined = steps_of(config, {row("block-ap")}) - steps_of(config, {row("rtn")});
  CHECK(refined == Approx(500).epsilon(0.3));
  // efficient-qat trains the scales of block-ap's codes: what both take.
  const double trained = steps_of(config, {row("qat-ste")}) - steps_of(config, {row("rtn")});
  CHECK(steps_of(config, {row("efficient-qat")}) - steps_of(config, {row("rtn")}) ==
        Approx(trained + refined));
  ExperimentConfig warm = config;
  warm.qat.from = "block-ap";
  CHECK(steps_of(warm, {row("qat-lsq")}) == Approx(steps_of(config, {row("efficient-qat")})));
  RowConfig staged{
      .method = "adaround", .bits = 4, .label = "staged", .pipeline = {"train", "adaround 4"}};
  CHECK(steps_of(config, {staged}) - steps_of(config, {row("rtn")}) ==
        Approx(trained + refined).epsilon(0.1));
}

TEST_CASE("a teacher goes forward beside fp32") {
  ExperimentConfig config = example();
  config.train.eval_every = 0;
  config.quant.control = false;
  config.row = {{.method = "fp32"}};
  const auto of_other_seed = [&] { return RunTime(config, {}).begin(kBaseRow).steps; };
  CHECK(of_other_seed() == Approx(1000));
  config.distill.teacher = "teacher";
  CHECK(of_other_seed() == Approx(1000 * 4 / 3.0));  // forward once more beside three times
}

TEST_CASE("methods that refine have updates and windows as keys") {
  for (const quant::Method* method : quant::methods()) {
    if (!method->refine) continue;
    for (const char* name : {"steps", "windows"}) {
      const auto items = items_of({});
      const std::string key = str(method->section, '.', name);
      CAPTURE(key);
      CHECK(std::ranges::find(items, key, &Item::key) != items.end());
    }
  }
}

TEST_CASE("after a tenth of a run its end is known to a fifth") {
  const ExperimentConfig config = quick();
  const std::vector<RowResult> rows = planned_results(config);
  const Measured measured;
  double total = 0;
  for (const RowResult& r : rows) total += measured.all(r);
  double now = 0;
  std::ostringstream out;
  Progress progress({.seconds = [&] { return now; }, .out = &out});
  RunTime time(config, kQuickReads);
  int checks = 0;
  for (const RowResult& r : rows) {
    progress.run(time.begin(r.name));
    const double began = now;
    const bool trains = r.trained || r.name == kBaseRow;
    const int steps = r.name == kBaseRow ? 2000 : 200;
    if (trains) progress.begin(r.name, steps, 0, 1);
    for (int i = 1; trains && i <= steps; ++i) {
      now = began + measured.training(r) * i / steps;
      progress.report({.step = i, .loss = 1, .tokens = 1216});
      // A tenth of the run, and near its end.
      if (now >= 0.1 * total && now <= 0.9 * total) {
        const double truth = total - now;
        CAPTURE(r.name, i, now, total);
        CHECK(run_eta(out.str()) == Approx(truth).epsilon(0.2));
        ++checks;
      }
      out.str({});
    }
    progress.end();
    now = began + measured.all(r);
    time.end(r.name, measured.all(r));
  }
  CHECK(checks > 1000);
}
