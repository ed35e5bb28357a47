// Rows that differ in their own settings, trained and read back.
#include <fstream>
#include <set>

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::row_options_test {

using test::run_all;
using test::tiny_experiment;

TEST_CASE("Rows differ in where training and rounding begin") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.train.steps = 40;
  const auto with = [&](const char* label, std::vector<std::string> set) {
    config.row.push_back({.method = "qat-lsq", .bits = 2, .label = label, .set = std::move(set)});
  };
  with("plain", {"qat.from=fp32"});
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
  CHECK(row("late-scratch-int2").control == "fp32");  // which saw as much
  CHECK(row("late-int2").control == "fp32-continue");
  CHECK(label(row("plain-int2")) == "plain");
  CHECK(row("rtn-int2-seq").grid == "seq ±1,3");
  CHECK(label(row("rtn-int2-ternary")) == "rtn ternary");
  CHECK(row("rtn-int2-ternary").file_bytes < row("rtn-int2-seq").file_bytes);
  CHECK(row("qat-ste-kd-int1-seq").file_bytes < row("rtn-int2-ternary").file_bytes);
  CHECK_FALSE(fs::exists(directory / "run" / "seed-1" / "ckpt" / "late-int2-before"));
}

TEST_CASE("A row of mixed widths has the bytes of its own width") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.train.steps = 40;
  config.quant.control = false;
  config.row.push_back({.method = "rtn", .bits = 3});
  for (const char* rule : {"exact", "threshold"}) {
    config.row.push_back(
        {.method = "rtn",
         .bits = 3,
         .label = rule,
         .set = {"mixed.widths=[2,3,4,8]", str("mixed.rule=\"", rule, "\"")}});
  }
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const SeedResults seed = run_all(config, data, directory / "run", Earlier::refuse)[0];
  const std::int64_t uniform = find_row(seed, "rtn-int3")->size.bytes();
  for (const char* rule : {"exact", "threshold"}) {
    const RowResult& row = *find_row(seed, str(rule, "-int3"));
    CHECK(row.size.bytes() <= uniform);
    const fs::path model = directory / "run" / "models" / str(row.name, "-seed1");
    const Json config_json = Json::parse(read_file(model / "config.json"), "config.json");
    const Json& mixed =
        config_json.at("quantization_config", "config").at("mixed", "quantization_config");
    CHECK(mixed.at("bits", "mixed").as_object("bits").size() == 4);  // the linears of one block
    CHECK(mixed.at("bytes", "mixed").as_int("bytes") <=
          mixed.at("allowed_bytes", "mixed").as_int("allowed"));
  }
  // What was weighed is there to go on from, and a row made from it again is the same.
  const fs::path rows = directory / "run" / "seed-1" / "rows";
  REQUIRE(fs::exists(rows / "exact-int3.sensitivity"));
  const std::string sha256 = find_row(seed, "exact-int3")->sha256;
  fs::remove(rows / "exact-int3.json");
  const std::string kept = read_file(rows / "exact-int3.sensitivity");
  write_file(rows / "exact-int3.sensitivity", kept.substr(0, kept.size() / 2));  // as a kill leaves it
  const SeedResults again = run_all(config, data, directory / "run", Earlier::resume)[0];
  CHECK(find_row(again, "exact-int3")->sha256 == sha256);
  CHECK(read_file(rows / "exact-int3.sensitivity") == kept);
}

TEST_CASE("Equal row settings share one control, found on resuming") {
  ExperimentConfig config = tiny_experiment();
  config.seeds = {1};
  config.train.steps = 40;
  const auto with = [&](const char* method, int bits, const char* label, const char* set) {
    config.row.push_back({.method = method, .bits = bits, .label = label, .set = {set}});
  };
  with("qat-ste", 4, "own", "qat.step_lr=1e-3");
  with("qat-ste", 4, "slow", "qat.lr_scale=0.05");
  with("qat-lsq", 4, "slow-too", "qat.lr_scale=0.05");
  with("qat-lsq-kd", 4, "kd-labels", "distill.alpha=0.5");
  with("qat-lsq-kd", 4, "kd", "distill.lr_scale=0.5");
  with("qat-ste", 2, "averaged", "qat.ema=0.5");
  config.row.push_back({.method = "rtn", .bits = 4});
  config.row.push_back({.method = "rtn", .bits = 2});
  config.row.push_back({.method = "rtn", .bits = 8});
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const fs::path path = directory / "run";
  const std::vector<SeedResults> seeds = run_all(config, data, path, Earlier::refuse);
  std::vector<std::string> names;
  for (const RowResult& r : seeds[0].rows) {
    if (!r.trained) names.push_back(r.name);
  }
  CHECK(names == std::vector<std::string>{
                     "fp32", "rtn-int4", "control-rtn-int4", "control-lr=0.0005-rtn-int4",
                     "rtn-int2", "control-ema=0.5-rtn-int2", "rtn-int8", "control-rtn-int8"});
  std::set<double> losses;
  for (const RowResult* control : controls_of(seeds[0])) losses.insert(control->eval.loss);
  CHECK(losses.size() == 3);
  CHECK(find_row(seeds[0], "control-lr=0.0005-rtn-int4")->eval.loss !=
        find_row(seeds[0], "control-rtn-int4")->eval.loss);

  // As an earlier build would have left it: one control, and rows that do not name theirs.
  const auto row_file = [&](std::string_view name) {
    return path / "seed-1/rows" / str(name, ".json");
  };
  for (const RowResult& r : seeds[0].rows) {
    const Json whole = to_json(r);
    Json old = Json::object();
    for (const auto& [key, value] : whole.as_object("row")) {
      if (key != "aims_at_data" && key != "control" && key != "unlike_control") old.set(key, value);
    }
    std::ofstream(row_file(r.name), std::ios::binary) << old.dump();
  }
  fs::remove(row_file("fp32-continue-lr=0.0005"));
  fs::remove(row_file("control-ema=0.5-rtn-int2"));
  const std::vector<SeedResults> again = run_all(config, data, path, Earlier::resume);
  CHECK(results_hash(again) == results_hash(seeds));
  for (const RowResult& r : seeds[0].rows) {
    INFO(r.name);
    CHECK(find_row(again[0], r.name)->control == r.control);
    CHECK(find_row(again[0], r.name)->aims_at_data == r.aims_at_data);
  }
}

}  // namespace notch::experiments::row_options_test
