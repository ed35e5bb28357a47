// Rows that differ in their own settings, trained and read back.
#include <set>

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments {
namespace {

using test::run_all;
using test::tiny_experiment;

TEST_CASE("Rows differ in where training begins and when rounding does") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.train.steps = 40;
  const auto with = [&](const char* label, std::vector<std::string> set) {
    config.row.push_back({.method = "qat-lsq", .bits = 2, .label = label, .set = std::move(set)});
  };
  with("plain", {"qat.step_lr=1e-3"});
  with("warm", {"qat.from=gptq"});
  with("late", {"qat.start=0.5"});
  with("late-scratch", {"qat.from=scratch", "qat.start=0.9"});
  config.row.push_back({.method = "rtn", .bits = 2, .grid = "seq"});
  config.row.push_back({.method = "qat-ste-kd", .bits = 1, .grid = "seq"});
  config.row.push_back({.method = "rtn", .bits = 2, .grid = "ternary"});
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const SeedResults seed = run_all(config, data, directory / "run", Earlier::refuse)[0];
  const auto row = [&](const char* name) { return *find_row(seed, name); };
  std::set<double> losses;
  for (const char* name : {"plain", "warm", "late", "late-scratch"}) {
    losses.insert(row(str(name, "-int2").c_str()).eval.loss);
  }
  CHECK(losses.size() == 4);
  CHECK(row("late-scratch-int2").distilled);  // judged by fp32, which saw as much
  CHECK(row("plain-int2").method == "plain");
  CHECK(row("rtn-int2-seq").grid == "seq ±1,3");
  CHECK(label(row("rtn-int2-ternary")) == "rtn ternary");
  CHECK(row("rtn-int2-ternary").file_bytes < row("rtn-int2-seq").file_bytes);
  CHECK(row("qat-ste-kd-int1-seq").file_bytes < row("rtn-int2-ternary").file_bytes);
  CHECK_FALSE(fs::exists(directory / "run" / "seed-1" / "ckpt" / "late-int2-before"));
}

}  // namespace
}  // namespace notch::experiments
