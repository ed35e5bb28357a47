// The rows of an experiment: which there are, and settings of single rows and widths.
#include <cmath>

#include "experiments/config/config.h"
#include "experiments/run/results.h"
#include "tests/catch.h"

namespace notch::experiments::row_settings_test {

ExperimentConfig parse(std::string text) { return parse_config(std::move(text), "x.toml").config; }

TEST_CASE("rows are every method at each width unless listed") {
  ExperimentConfig config = parse("[quant]\nbits = [8, 4]\nmethods = [\"rtn\", \"gptq\"]\n");
  std::vector<RowConfig> rows = planned_rows(config);
  REQUIRE(rows.size() == 4);
  CHECK(rows[1] ==
        RowConfig{.method = "gptq", .bits = 8, .grid = "narrow", .granularity = "channel",
                            .scale = "f32"});
  CHECK(rows[2] ==
        RowConfig{.method = "rtn", .bits = 4, .grid = "narrow", .granularity = "channel",
                            .scale = "f32"});
  config.row = {{.method = "fp32"},
                {.method = "fp16"},
                {.method = "rtn", .bits = 8, .granularity = "tensor"},
                {.method = "rtn", .bits = 3}};
  config.quant.granularity = "group";
  config.quant.group_size = 32;
  rows = planned_rows(config);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].method == "fp16");
  CHECK(rows[1].granularity == "tensor");
  CHECK(rows[1].group_size == 0);
  CHECK(rows[2].granularity == "group");
  CHECK(rows[2].group_size == 32);
}

TEST_CASE("a row trains with its width's settings, its own come last") {
  const ExperimentConfig config = parse(
      "[quant]\nat = [{bits = 2, set = [\"qat.lr_scale=1\", \"qat.ema=0.5\"]}]\n"
      "[[row]]\nmethod = \"qat-lsq\"\nbits = 2\nlabel = \"slow\"\nset = [\"qat.lr_scale=0.1\"]\n"
      "[[row]]\nmethod = \"gptq\"\nbits = 4\nlabel = \"more\"\nset = [\"calib.windows=512\"]\n");
  validate(config);
  CHECK(row_config(config, config.row[1]).calib.windows == 512);
  CHECK(row_config(config, {.method = "gptq", .bits = 4}).qat.lr_scale == config.qat.lr_scale);
  CHECK(row_config(config, {.method = "qat-lsq", .bits = 2}).qat.lr_scale == 1);
  const ExperimentConfig slow = row_config(config, config.row[0]);
  CHECK(slow.qat.lr_scale == 0.1);
  CHECK(slow.qat.ema == 0.5);
  CHECK(slow.train == config.train);
}

TEST_CASE("training begins with GPTQ's codes where a row can") {
  ExperimentConfig config = parse("");
  const auto first = [&](const RowConfig& row) { return row_config(config, row).qat.from; };
  for (const char* method : {"qat-ste", "qat-lsq", "qat-ste-kd", "qat-lsq-kd"})
    CHECK(first({.method = method, .bits = 4}) == "gptq");
  // What turns the weights, what trains beside codes of its own, what does not train.
  for (const char* method : {"qat-quest", "qlora", "efficient-qat", "rtn"})
    CHECK(first({.method = method, .bits = 4}) == "fp32");
  const auto with = [&](const char* setting) {
    return first({.method = "qat-lsq", .bits = 4, .set = {setting}});
  };
  CHECK(with("qat.start=0.5") == "fp32");
  CHECK(with("prune.rounds=3") == "fp32");
  CHECK(with("prune.method=magnitude") == "gptq");
  CHECK(with("qat.from=fp32") == "fp32");
  CHECK(with("qat.from=rtn") == "rtn");
  CHECK(first({.method = "qat-lsq", .bits = 4, .pipeline = {"qat-lsq 4"}}) == "fp32");
}

TEST_CASE("the fork's rate falls with the cube root of the weights") {
  const auto scale = [](int layers, int channels, double set) {
    ExperimentConfig config;
    config.model.n_layer = layers;
    config.model.n_embd = channels;
    config.qat.lr_scale = set;
    return peak_lr_scale(config);
  };
  CHECK(scale(3, 64, 0) == 0.25);
  CHECK(scale(1, 16, 0) == 0.25);    // no more than that
  CHECK(scale(6, 128, 0) == Approx(0.125));  // eight times as many weights
  CHECK(scale(24, 64, 0) == Approx(0.125));
  CHECK(scale(12, 384, 0) ==
        Approx(0.25 / std::cbrt(144)));  // four times the blocks, six times the channels
  CHECK(scale(12, 768, 0.7) == 0.7);
}

TEST_CASE("names of the table's own rows are no labels") {
  const auto load = [](const std::string& label) {
    const LoadedConfig loaded = parse_config(
        "[[row]]\nmethod = \"gptq\"\nbits = 4\nlabel = \"" + label + "\"\n", "x.toml");
    validate(loaded.config, loaded.origins);
  };
  for (const std::string& label :
       {std::string(kBaseRow), std::string(kControlRow), str(kControlRow, "-lr"),
        std::string("control"), std::string("control-gptq")}) {
    INFO(label);
    const ErrorParts parts = test::error_of([&] { load(label); });
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.field == "row[0].label");
    CHECK(parts.what.find("reserved") != std::string::npos);
  }
  for (const char* label : {"fp32-like", "controlled", "my-fp32"}) CHECK_NOTHROW(load(label));
}

TEST_CASE("a width's own grid holds for rows that name none") {
  const std::string at =
      "[quant]\nbits = [4, 2]\nmethods = [\"rtn\"]\n"
      "at = [{bits = 2, grid = \"seq\"}]\n";
  const std::vector<RowConfig> rows = planned_rows(parse(at));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].grid == "narrow");
  CHECK(rows[1].grid == "seq");
  const std::vector<RowConfig> listed =
      planned_rows(parse(at + "[[row]]\nmethod = \"rtn\"\nbits = 2\ngrid = \"full\"\n"
                              "[[row]]\nmethod = \"gptq\"\nbits = 2\n"));
  REQUIRE(listed.size() == 2);
  CHECK(listed[0].grid == "full");
  CHECK(listed[1].grid == "seq");
}

TEST_CASE("settings that a row cannot have are refused at their line") {
  struct Case {
    std::string text{}, where{}, field{};
  };
  const std::vector<Case> cases = {
      {"[qat]\nstart = 0.5\nfrom = \"gptq\"", "x.toml:2:1", "qat.start"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\nset = [\"qat.ema=0.9\"]", "x.toml:4:1", "row[0].set"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\nlabel = \"a/b\"", "x.toml:4:1", "row[0].label"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\nlabel = \"a\"\nset = [\"qat.steps=9\"]", "x.toml:5:1",
       "row[0].set"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\nlabel = \"a\"\nset = [\"qat.emma=9\"]", "x.toml:5:1",
       "row[0].set"},
      {"[quant]\nat = [{bits = 2, set = [\"train.lr=1\"]}]", "x.toml:2:7", "quant.at[0]"},
      {"[quant]\nbits = [8]\nat = [{bits = 8, grid = \"seq\"}]", "x.toml:2:1", "quant.bits"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const ErrorParts parts = test::error_of([&] {
      const LoadedConfig loaded = parse_config(c.text, "x.toml");
      validate(loaded.config, loaded.origins);
    });
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.where == c.where);
    CHECK(parts.field == c.field);
  }
}

}  // namespace notch::experiments::row_settings_test
