// What is left of a run, from the rows that were made.
#include "experiments/run/run_time.h"

#include <cmath>
#include <sstream>

#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_maker.h"
#include "nn/model_dir.h"
#include "quant/methods/methods.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace run_time_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

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

/// Seconds of experiments/quick.toml on idle cores, in November 2026: what the training of each
/// method's rows took, mean over widths. Their scoring was timed beside 60 steps of QAT, of which it
/// takes 0.92 (6.0 s and 6.5 s on a loaded machine); here 200 of them take 5.3 s. fp32 is not compared with itself: half the text, all of the task.
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
      const RunLeft left = time.begin(config.seeds[static_cast<std::size_t>(seed)], r.name);
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
  time.found(1, kBaseRow, 100);
  const RunLeft left = time.begin(1, kControlRow);
  CHECK(left.row == 2);
  CHECK(left.steps == 0);
  // The other seed's fp32, and of both seeds what follows a control: 100 + 10 + 2 · (14 + 14 + 4).
  CHECK(left.seconds == Approx(174).epsilon(0.1));
}

TEST_CASE("rows that lie there take no time, wherever they stand") {
  const ExperimentConfig config = example();
  RunTime time(config, example_reads(config));
  // Of the second seed all but qat-ste at 4 bits, which was made with other settings.
  const auto there = [](const RowResult& r) { return r.name != "qat-ste-int4"; };
  const std::vector<RowResult> rows = planned_results(config);
  for (const RowResult& r : rows) {
    if (there(r)) time.there(2, r.name);
  }
  time.found(1, kBaseRow, 100);
  // The control's scoring, two trained rows and four rounded ones; the other seed's row.
  CHECK(time.begin(1, kControlRow).seconds == Approx(1 + 2 * 14 + 4 + 14).epsilon(0.2));
  for (const RowResult& r : rows) {
    if (r.name == kBaseRow) continue;
    time.begin(1, r.name);
    time.end(r.name, cost(r));
  }
  int found = 0;
  for (const RowResult& r : rows) {
    if (!there(r)) break;
    time.found(2, r.name, cost(r) - 1);
    ++found;
  }
  const RunLeft left = time.begin(2, "qat-ste-int4");
  CHECK(left.row == static_cast<int>(rows.size()) + found + 1);
  CHECK(left.seconds == Approx(1).epsilon(0.2));  // its scoring
  // One that turns out to be damaged is made again.
  RunTime other(config, example_reads(config));
  for (const RowResult& r : rows) {
    if (r.name != kBaseRow) other.there(1, r.name);
    other.there(2, r.name);
  }
  other.found(1, kBaseRow, 100);
  CHECK(other.begin(1, "qat-ste-int8").seconds == Approx(1).epsilon(0.1));
}

TEST_CASE("an earlier session's share of a row is no pace") {
  const TemporaryDirectory directory;
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  const Data data = load_data(config, {});
  const RunDir dir(directory / "run", Earlier::refuse);
  std::ostringstream out;
  Progress progress({.out = &out});
  RunTime time(config, read_tokens(config, data));
  RowMaker rows({config, data, dir, progress, false, &time}, 1);
  rows.make({.name = std::string(kBaseRow), .method = std::string(kBaseRow)},
            [&](RowResult& row, const fs::path& model) {
              nn::save_model(*first_model(config, data.source.tokenizer.vocab_size(), 1), model);
              row.seconds = 1e6;  // all but the end of it in another session
              return true;
            });
  const double of_control =
      static_cast<double>(fork_settings(config, 1, "").schedule.steps) / config.train.steps;
  CHECK(time.begin(1, kControlRow).seconds > 1e6 * of_control);
}

TEST_CASE("a shard's time is that of its rows") {
  const ExperimentConfig config = example();
  const ReadTokens reads = example_reads(config);
  RunTime whole(config, reads), half(config, reads, {.index = 2, .of = 2});
  const RunLeft all = whole.begin(1, kBaseRow), left = half.begin(2, kBaseRow);
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
  const RunLeft left = time.begin(1, kBaseRow);
  CHECK(left.rows == 4);
  CHECK(left.steps == Approx(300 + 30 + 2 * 300).epsilon(0.3));
}

/// In steps, what is left of a run of fp32 and these rows when fp32 begins.
double steps_of(ExperimentConfig config, std::vector<RowConfig> rows) {
  config.seeds = {1};
  config.train.batch_size = 8;
  config.quant.control = false;
  config.row = std::move(rows);
  return RunTime(config, {}).begin(1, kBaseRow).steps;
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

TEST_CASE("weighing layers one by one is counted") {
  // A step goes forward over 8 contexts three times. On 24 windows: 1 + 3 for the model and its gradients,
  // and for each of three widths 2 for what changes and one for each of four layers' four matrices.
  const RowConfig row{.method = "rtn", .bits = 4};
  ExperimentConfig config;
  config.model.n_layer = 4;
  config.quant.options.mixed.windows = 24;
  const auto more = [&](ExperimentConfig own, const RowConfig& of) {
    const double one_width = steps_of(own, {of});
    own.quant.options.mixed.widths = {2, 4, 8};
    return steps_of(own, {of}) - one_width;
  };
  CHECK(more(config, row) == Approx(4 + 3 * (2 + 16)));
  ExperimentConfig llama = config, with_table = config;
  llama.model.architecture = "llama";  // seven matrices in a block
  CHECK(more(llama, row) == Approx(4 + 3 * (2 + 28)));
  with_table.quant.embedding = "same";
  CHECK(more(with_table, row) == Approx(4 + 3 * (2 + 17)));
  // Not where training follows, which widths are not chosen for.
  CHECK(more(config, {.method = "qat-ste", .bits = 4}) == Approx(0).margin(1e-9));
  CHECK(more(config, {.method = "rtn", .bits = 4, .label = "staged", .pipeline = {"rtn 4"}}) ==
        Approx(4 + 3 * (2 + 16)));
  // Half the windows are there.
  config.seeds = {1};
  config.train.batch_size = 8;
  config.quant.control = false;
  config.row = {row};
  const auto all = [&](double train) {
    return RunTime(config, {.train = train}).begin(1, kBaseRow).steps;
  };
  const double plain = all(0);
  config.quant.options.mixed.widths = {2, 4, 8};
  CHECK(all(12.0 * config.model.block_size) - plain == Approx(29));
  CHECK(all(1e9) - plain == Approx(58));
}

TEST_CASE("a teacher goes forward beside fp32") {
  ExperimentConfig config = example();
  config.train.eval_every = 0;
  config.quant.control = false;
  config.row = {{.method = "fp32"}};
  const auto of_other_seed = [&] { return RunTime(config, {}).begin(1, kBaseRow).steps; };
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

/// A session of quick.toml on a clock of its own: what it says is left, from a tenth of it on. An earlier one
/// made the first rows, trained half of the next, and `last` rows at the end are there as well.
void check_times(std::size_t first, std::size_t last) {
  const ExperimentConfig config = quick();
  const std::vector<RowResult> rows = planned_results(config);
  const Measured measured;
  const std::int64_t seed = config.seeds[0];
  const auto there = [&](std::size_t i) { return i < first || i + last >= rows.size(); };
  const auto before = [&](std::size_t i) {  // of its training, earlier
    return first > 0 && i == first ? measured.training(rows[i]) / 2 : 0;
  };
  RunTime time(config, kQuickReads);
  double total = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (there(i)) {
      time.there(seed, rows[i].name);
    } else {
      total += measured.all(rows[i]) - before(i);
    }
  }
  double now = 0;
  std::ostringstream out;
  Progress progress({.seconds = [&] { return now; }, .out = &out});
  int checks = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const RowResult& r = rows[row];
    if (there(row)) {
      time.found(seed, r.name, measured.training(r));
      continue;
    }
    progress.run(time.begin(seed, r.name));
    const double began = now;
    const bool trains = r.trained || r.name == kBaseRow;
    const int steps = r.name == kBaseRow ? 2000 : 200;
    const int done = before(row) > 0 ? steps / 2 : 0;
    if (trains) progress.begin(r.name, steps, done, 1);
    for (int i = done + 1; trains && i <= steps; ++i) {
      now = began + measured.training(r) * (i - done) / steps;
      progress.report({.step = i, .loss = 1, .tokens = 1216});
      // A tenth of the session, and near its end.
      if (now >= 0.1 * total && now <= 0.9 * total) {
        const double truth = total - now;
        CAPTURE(r.name, i, now, total);
        CHECK(run_eta(out.str()) == Approx(truth).epsilon(0.2));
        ++checks;
      }
      out.str({});
    }
    progress.end();
    now = began + measured.all(r) - before(row);
    time.end(r.name, measured.all(r));
  }
  CHECK(checks > 400);
}

TEST_CASE("after a tenth of a run its end is known to a fifth") { check_times(0, 0); }

TEST_CASE("after a tenth of a resumed run, too") {
  // After fp32 in the control; in the first row of QAT; where the last rows are there already.
  for (const std::size_t first : {std::size_t{1}, std::size_t{8}}) {
    for (const std::size_t last : {std::size_t{0}, std::size_t{6}}) {
      CAPTURE(first, last);
      check_times(first, last);
    }
  }
}

}  // namespace run_time_test
