// What a row is compared with follows from its settings.
#include "experiments/run/row_facts.h"

#include <algorithm>

#include "experiments/run/setup.h"
#include "tests/catch.h"

namespace notch::experiments::row_facts_test {

ExperimentConfig one_row(std::string method, std::vector<std::string> set) {
  ExperimentConfig config;
  config.train.lr = 2e-3;
  config.qat.lr_scale = 0.25;
  config.row = {{.method = std::move(method), .bits = 4, .label = "x", .set = std::move(set)}};
  return config;
}

RowResult facts(std::string method, std::vector<std::string> set, bool control = true) {
  ExperimentConfig config = one_row(std::move(method), std::move(set));
  config.quant.control = control;
  return planned_result(config, planned_rows(config)[0]);
}

TEST_CASE("A row that sees labels in any way aims at the data") {
  struct Case {
    std::string method{};
    std::vector<std::string> set{};
    bool labels = false;
  };
  const std::vector<Case> cases = {
      {"gptq", {}, false},
      {"qat-lsq", {}, true},
      {"qat-lsq-kd", {}, false},
      {"qat-lsq-kd", {"distill.alpha=0.999"}, true},
      {"qat-ste-kd", {"distill.alpha=0"}, true},
      {"qat-lsq-kd", {"qat.start=0.5"}, true},  // until then it trains as fp32 did
      {"qat-lsq-kd", {"qat.from=scratch"}, false},
      {"qat-lsq-kd", {"qat.from=scratch", "qat.start=0.5"}, true},
      {"qat-lsq-kd", {"qat.from=gptq"}, false},
      {"qat-ste", {"qat.from=scratch"}, true},
  };
  for (const Case& c : cases) {
    INFO(c.method << (c.set.empty() ? "" : " " + c.set[0]));
    const RowResult row = facts(c.method, c.set);
    CHECK(row.aims_at_data == c.labels);
    CHECK(row.distilled == c.method.ends_with("-kd"));
    const bool scratch = !c.set.empty() && c.set[0] == "qat.from=scratch";
    CHECK(row.control == (scratch ? "fp32" : c.labels ? "fp32-continue" : ""));
    const RowResult alone = facts(c.method, c.set, false);
    CHECK(alone.aims_at_data == c.labels);
    CHECK(alone.control == (scratch ? "fp32" : ""));
  }
}

TEST_CASE("A row keeps its method beside the label that is shown") {
  for (const char* method : {"rtn", "qat-lsq"}) {
    const RowResult row = facts(method, {});
    CHECK(row.method == method);
    CHECK(row.label == "x");
    CHECK(shown_method(row) == "x");
    CHECK(label(row) == "x");
    CHECK(row.name == "x-int4");
    const RowResult read = row_from_json(to_json(row), "row.json");
    CHECK(read.method == method);
    CHECK(read.label == "x");
  }
  CHECK(shown_method({.method = "rtn"}) == "rtn");
}

TEST_CASE("A control is named by how its training differs") {
  const auto control = [](std::vector<std::string> set, std::string method = "qat-lsq") {
    return facts(std::move(method), std::move(set)).control;
  };
  CHECK(control({"qat.ste=plain", "qat.step_lr=0.1", "qat.dampen=1", "qat.cage=9"}) == "fp32-continue");
  CHECK(control({"qat.lr_scale=0.25"}) == "fp32-continue");
  CHECK(control({"qat.lr_scale=0.5"}) == "fp32-continue-lr=0.001");
  CHECK(control({"qat.min_lr_scale=0.1"}) == "fp32-continue-min_lr_scale=0.1");
  CHECK(control({"qat.schedule=linear"}) == "fp32-continue-schedule=linear");
  CHECK(control({"qat.weight_decay=0.1"}) == "fp32-continue-weight_decay=0.1");
  CHECK(control({"qat.ema=0.98", "qat.lr_scale=0.5"}) == "fp32-continue-lr=0.001,ema=0.98");
  // The distilled rows' own learning rate, which other rows do not have.
  CHECK(control({"distill.alpha=0.5", "distill.lr_scale=0.5"}, "qat-lsq-kd") ==
        "fp32-continue-lr=0.001");
  CHECK(control({"distill.lr_scale=0.5"}) == "fp32-continue");
  CHECK(facts("qat-lsq", {"qat.from=scratch", "qat.ema=0.98"}).unlike_control == "ema=0.98");
  CHECK(facts("qat-lsq", {"qat.from=scratch", "qat.lr_scale=1"}).unlike_control.empty());
}

TEST_CASE("A control trains with its rows' settings, once for all") {
  ExperimentConfig config = one_row("qat-lsq-kd", {"distill.alpha=0.5", "distill.lr_scale=0.7"});
  config.qat.lr_scale = 0.3;
  config.row.push_back({.method = "qat-ste", .bits = 3, .label = "y", .set = {"qat.lr_scale=0.7"}});
  config.row.push_back({.method = "qat-ste", .bits = 2, .label = "late", .set = {"qat.start=0.5"}});
  const std::vector<Control> all = controls(config, 5);
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "fp32-continue");
  CHECK(all[0].settings.schedule.lr == 2e-3 * 0.3);
  CHECK(all[0].settings.first_step == 0);
  CHECK(all[1].name == "fp32-continue-lr=0.0014");
  CHECK(all[1].settings.phase == all[1].name);
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
    const RowConfig row = planned_rows(config)[i];
    const TrainSettings own =
        rounding_settings(row_config(config, row), 5, quant::method(row.method), "");
    const TrainSettings& control = all[1].settings;
    CHECK(control.schedule.lr == own.schedule.lr);
    CHECK(control.schedule.min_lr == own.schedule.min_lr);
    CHECK(control.schedule.steps == own.schedule.steps);
    CHECK(control.seed == own.seed);  // the same batches
    CHECK(control.ema == own.ema);
    CHECK(control.weight_decay == own.weight_decay);
  }
  config.quant.control = false;
  CHECK(controls(config, 5).empty());
}

TEST_CASE("Post-training rows come from every control of their width") {
  ExperimentConfig config = one_row("qat-lsq", {"qat.lr_scale=0.5"});
  config.row.push_back({.method = "qat-lsq", .bits = 4});
  config.row.push_back({.method = "qat-lsq", .bits = 3, .label = "y", .set = {"qat.ema=0.9"}});
  config.row.push_back({.method = "qat-lsq-kd", .bits = 2});
  config.row.push_back({.method = "qat-lsq", .bits = 2, .label = "s", .set = {"qat.from=scratch"}});
  for (const int bits : {4, 3, 2}) config.row.push_back({.method = "gptq", .bits = bits});
  const auto made = [&](std::size_t i) {
    std::vector<std::string> out;
    for (const RowResult& r :
         of_controls(config, planned_result(config, planned_rows(config)[i]))) {
      CHECK(r.on_control);
      out.push_back(r.name + " from " + r.control);
    }
    return out;
  };
  using Names = std::vector<std::string>;
  CHECK(made(5) == Names{"control-lr=0.001-gptq-int4 from fp32-continue-lr=0.001",
                         "control-gptq-int4 from fp32-continue"});
  CHECK(made(6) == Names{"control-ema=0.9-gptq-int3 from fp32-continue-ema=0.9"});
  CHECK(made(7) == Names{"control-gptq-int2 from fp32-continue"});
  CHECK(made(0).empty());  // a trained row has no second
  config.quant.control = false;
  CHECK(made(5).empty());
}

TEST_CASE("A row file of one control says what it was compared with") {
  const auto old = [](RowResult row) {
    const Json whole = to_json(row);
    Json json = Json::object();
    for (const auto& [key, value] : whole.as_object("row")) {
      if (key != "aims_at_data" && key != "control" && key != "unlike_control")
        json.set(key, value);
    }
    return row_from_json(json, "row.json");
  };
  const RowResult control = old({.name = "fp32-continue", .trained = true});
  CHECK(control.aims_at_data);
  CHECK(control.control.empty());
  CHECK(old({.name = "qat-lsq-int4", .trained = true}).control == "fp32-continue");
  CHECK(old({.name = "control-gptq-int4", .on_control = true}).control == "fp32-continue");
  CHECK(old({.name = "gptq-int4"}).control.empty());
  const RowResult distilled = old({.name = "qat-lsq-kd-int4", .trained = true, .distilled = true});
  CHECK_FALSE(distilled.aims_at_data);
  CHECK(distilled.control.empty());
}

}  // namespace notch::experiments::row_facts_test
