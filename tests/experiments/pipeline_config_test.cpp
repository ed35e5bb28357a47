// The words of a pipeline: what they mean, which orders there are, and where a wrong one is refused.
#include <algorithm>

#include "experiments/config/config_effects.h"
#include "experiments/config/pipeline.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"
#include "tests/catch.h"

namespace notch::experiments::pipeline_config_test {

using Words = std::vector<std::string>;
using Kind = PipelineStage::Kind;

LoadedConfig load(const std::string& row, const std::string& more = "") {
  LoadedConfig loaded = parse_config(more + "[[row]]\n" + row, "x.toml");
  validate(loaded.config, loaded.origins);
  return loaded;
}

TEST_CASE("stages of a pipeline are read word by word") {
  const auto stages = parse_pipeline(
      Words{"prune  2:4", "train 25%", "prune 62.5% wanda", "distill", "qat-lsq 3 50%"});
  REQUIRE(stages.size() == 5);
  CHECK(stages[0].prune ==
        quant::PruneOptions{.method = "sparsegpt", .pattern = quant::Pattern::two_of_four});
  CHECK(stages[2].prune == quant::PruneOptions{.method = "wanda", .sparsity = 0.625});
  CHECK(stages[1].share == 0.25);
  CHECK(stages[3].share == 0);
  CHECK(stages[4].method == quant::find_method("qat-lsq"));
  CHECK(stages[4].bits == 3);
  std::vector<bool> trains, taught;
  for (const PipelineStage& s : stages) {
    trains.push_back(s.trains());
    taught.push_back(s.has_teacher());
  }
  CHECK(trains == std::vector<bool>{false, true, false, true, true});
  CHECK(taught == std::vector<bool>{false, false, false, true, false});
  const auto small = parse_pipeline(Words{"prune layers 2", "prune neurons 25%"});
  CHECK(small[0].kind == Kind::layers);
  CHECK(small[0].count == 2);
  CHECK(small[1].kind == Kind::neurons);
  CHECK(small[1].share == 0.25);
  const auto factors = parse_pipeline(Words{"prune heads 50%", "svd bytes 40% plain", "gptq 4"});
  CHECK(factors[0].kind == Kind::heads);
  CHECK(factors[0].share == 0.5);
  CHECK(factors[1].svd == quant::FactorOptions{.share = 0.4, .weights = true, .whitened = false});
  CHECK(parse_pipeline(Words{"svd 90%"})[0].svd == quant::FactorOptions{.share = 0.9});
  const auto ticket = parse_pipeline(Words{"prune 80% magnitude", "rewind 20", "train", "gptq 4"});
  CHECK(ticket[1].count == 20);
  CHECK(trains_again(ticket, 2));
  CHECK_FALSE(trains_again(ticket, 1));
}

TEST_CASE("stages that train share the steps of the control") {
  const auto sizes = [](const Words& words, std::int64_t steps) {
    std::vector<std::int64_t> out;
    for (const StepRange& r : step_ranges(parse_pipeline(words), steps, 1000))
      out.push_back(r.size());
    return out;
  };
  using Sizes = std::vector<std::int64_t>;
  CHECK(sizes({"prune 2:4", "distill", "gptq 4"}, 60) == Sizes{0, 60, 0});
  CHECK(sizes({"train", "prune 2:4", "train", "qat-lsq 4"}, 100) == Sizes{33, 0, 34, 33});
  CHECK(sizes({"train 10%", "prune 2:4", "train", "qat-lsq 4"}, 100) == Sizes{10, 0, 45, 45});
  CHECK(sizes({"train 10%", "prune 2:4", "train 90%"}, 3) == Sizes{1, 0, 2});  // one at least
  CHECK(sizes({"train 90%", "prune 2:4", "train 10%"}, 2) == Sizes{1, 0, 1});
  CHECK(sizes({"prune 50%", "rewind 30", "train", "gptq 4"}, 60) == Sizes{0, 30, 970, 0});
  CHECK(sizes({"prune 50%", "redraw", "train"}, 60) == Sizes{0, 0, 1000});
  const auto ranges = step_ranges(parse_pipeline(Words{"train", "prune 2:4", "distill"}), 9, 1000);
  CHECK(ranges[0].last == ranges[2].first);  // one after the other in one schedule
  CHECK(ranges[2].last == 9);
}

TEST_CASE("channels that are left fit groups and kernels") {
  CHECK(channels_left(256, 0.25, 0) == 192);
  CHECK(channels_left(256, 0.3, 0) == 192);  // 179.2, to a multiple of 32
  CHECK(channels_left(3072, 0.25, 128) == 2304);
  CHECK(channels_left(3072, 0.3, 128) == 2176);  // 2150.4 = 16.8 groups
  CHECK(channels_left(96, 0.5, 48) == 48);
  CHECK(channels_left(32, 0.25, 0) == 24);  // a multiple of 4: eight of them are 32
  CHECK(channels_left(20, 0.25, 0) == 16);  // 15, to a multiple of 2
  CHECK(channels_left(64, 0.99, 0) == 8);   // some stay
  CHECK(channels_left(64, 0.01, 0) == 64);  // 63.36, to a multiple of 8: none goes
}

TEST_CASE("heads and ranks that are left fit groups") {
  CHECK(heads_left(12, 64, 0.25, 0) == 9);
  CHECK(heads_left(12, 64, 0.01, 0) == 12);  // 11.88: none goes
  CHECK(heads_left(4, 16, 0.9, 0) == 1);     // one stays
  CHECK(heads_left(4, 16, 0.25, 32) == 4);   // two heads fill a group: 1.5 pairs, to 2
  CHECK(heads_left(4, 16, 0.5, 32) == 2);
  CHECK(heads_left(6, 48, 0.5, 32) == 4);  // pairs of 96: 1.5, to 2
  CHECK(rank_unit(0) == 8);
  CHECK(rank_unit(32) == 32);
  CHECK(rank_unit(12) == 24);
}

TEST_CASE("a share that rounds to nothing is refused at its row") {
  const auto refused = [](const std::string& words, const std::string& model) {
    const LoadedConfig loaded = load("pipeline = [" + words + "]", "[model]\n" + model);
    return test::error_of([&] { check_rows(loaded.config, 256, loaded.origins); });
  };
  const std::string model = "n_embd = 64\nn_head = 4\nn_layer = 2\n";
  for (const char* words : {"'prune neurons 1%'", "'prune heads 10%'", "'svd bytes 10%'",
                            "'prune heads 25%', 'rtn 4'"}) {
    INFO(words);
    const ErrorParts parts = refused(words, model + "[quant]\ngroup_size = 32\n");
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.field == "row[0].pipeline");
  }
  // Ranks of 8 in matrices of [192, 64], [64, 64], [256, 64], [64, 256]: 8 (256 + 128 + 320 + 320) of 49,152.
  CHECK(refused("'svd bytes 16%'", model).what.find("16.7 %") != std::string::npos);
  const LoadedConfig fits =
      load("pipeline = ['prune heads 25%', 'svd bytes 20%']", "[model]\n" + model);
  CHECK_NOTHROW(check_rows(fits.config, 256, fits.origins));
}

TEST_CASE("stages and orders that cannot be are refused") {
  struct Case {
    Words words{};
    const char *field = "", *says = "";
  };
  const Case bad = GENERATE(
      Case{{"gptq 4", "prun 2:4"}, "pipeline[1]", "unknown stage"},
      Case{{"prune"}, "pipeline[0]", "not what can be pruned"},
      Case{{"prune 2:5"}, "pipeline[0]", "not what can be pruned"},
      Case{{"prune 100%"}, "pipeline[0]", "not what can be pruned"},
      Case{{"prune 50% zeros"}, "pipeline[0]", "not a way"},
      Case{{"prune heads 2"}, "pipeline[0]", "no share of the heads"},
      Case{{"svd"}, "pipeline[0]", "no share of the energy"},
      Case{{"svd bytes 100%"}, "pipeline[0]", "no share of the matrices' bytes"},
      Case{{"svd 90% wanda"}, "pipeline[0]", "not a way to weigh"},
      Case{{"gptq 4", "svd 90%"}, "pipeline[1]", "integers"},
      Case{{"prune 2:4", "svd 90%"}, "pipeline[1]", "single weights"},
      Case{{"svd 90%", "svd 80%"}, "pipeline[1]", "two factors"},
      Case{{"svd 90%", "prune heads 50%"}, "pipeline[1]", "two factors"},
      Case{{"svd 90%", "prune 50%", "redraw", "train"}, "pipeline[2]", "smaller model"},
      Case{{"prune neurons 2"}, "pipeline[0]", "no share"},
      Case{{"prune layers 0"}, "pipeline[0]", "no number"}, Case{{"gptq"}, "pipeline[0]", "width"},
      Case{{"gptq 9"}, "pipeline[0]", "width"}, Case{{"gptq 4 50%"}, "pipeline[0]", "too many"},
      Case{{"prune 50%", "redraw 3"}, "pipeline[1]", "too many"},
      Case{{""}, "pipeline[0]", "unknown"}, Case{{"train 0%"}, "pipeline[0]", "no share"},
      Case{{"gptq 4", "train"}, "pipeline[1]", "integers"},
      Case{{"gptq 4", "distill"}, "pipeline[1]", "integers"},
      Case{{"gptq 4", "rtn 4"}, "pipeline[1]", "rounded already"},
      Case{{"gptq 4", "qat-lsq 3"}, "pipeline[1]", "4 bits"},
      Case{{"awq 4", "qat-lsq 4"}, "pipeline[1]", "changed inputs"},
      Case{{"awq 4", "prune 2:4 wanda"}, "pipeline[1]", "changed"},
      Case{{"gptq 4", "prune 2:4"}, "pipeline[1]", "sparsegpt moves"},
      Case{{"gptq 4", "prune neurons 25%"}, "pipeline[1]", "integers"},
      Case{{"prune 2:4", "prune layers 1"}, "pipeline[1]", "single weights"},
      Case{{"prune 2:4", "prune 50% magnitude"}, "pipeline[1]", "no more"},
      Case{{"prune 25%", "prune 50%"}, "pipeline[1]", "pruned already"},
      Case{{"prune 2:4", "gsq 4"}, "pipeline[1]", "fill"},
      Case{{"prune 2:4", "efficient-qat 4"}, "pipeline[1]", "block-ap learns every code"},
      Case{{"prune 2:4", "qat-quest 4"}, "pipeline[1]", "zeros do not stay"},
      Case{{"gptq 4", "qat-quest 4"}, "pipeline[1]", "\"gptq 4\" are of others"},
      Case{{"qat-quest 4", "qat-lsq 4"}, "pipeline[1]", "changed inputs"},
      Case{{"qat-quest 4", "prune 2:4 wanda"}, "pipeline[1]", "changed"},
      Case{{"qlora 4", "qat-lsq 4"}, "pipeline[1]", "products beside"},
      Case{{"qlora 4", "qlora 4"}, "pipeline[1]", "products beside"},
      Case{{"qlora 4", "prune 2:4 wanda"}, "pipeline[1]", "changed"},
      Case{{"awq 4", "qlora 4"}, "pipeline[1]", "changed inputs"},
      Case{{"gptq 4", "efficient-qat 3"}, "pipeline[1]", "4 bits"},
      Case{{"rewind", "train"}, "pipeline[0]", "nothing is pruned"},
      Case{{"prune 50%", "rewind"}, "pipeline[1]", "nothing trains"},
      Case{{"prune neurons 25%", "prune 50%", "rewind", "train"}, "pipeline[2]", "smaller model"},
      Case{{"prune 50%", "rewind", "train", "qat-lsq 4"}, "pipeline[3]", "alone"},
      Case{{"prune 50%", "rewind", "train 50%"}, "pipeline[2]", "as long as fp32"},
      Case{{"train 60%", "prune 50%", "train 50%"}, "pipeline[2]", "equally long"},
      Case{{"train 60%", "prune 50%", "train 30%"}, "pipeline[2]", "equally long"},
      Case{{"train 100%", "prune 50%", "train"}, "pipeline[2]", "equally long"});
  CAPTURE(bad.words);
  const ErrorParts parts = test::error_of([&] { parse_pipeline(bad.words); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == bad.field);
  CHECK(parts.what.find(bad.says) != std::string::npos);
  CHECK((!parts.hint.empty() || !parts.expected.empty()));
}

TEST_CASE("errors and help name every stage that there is") {
  const auto error = [](const char* stage) {
    return test::error_of([&] { parse_pipeline(Words{stage}); });
  };
  const ErrorParts unknown = error("prun 2:4");
  CHECK(unknown.expected.starts_with("prune, svd, train, distill, rewind, redraw or a method: "));
  CHECK(unknown.hint == "did you mean \"prune\"?");
  CHECK(error("prune head 25%").expected == "2:4, 4:8, 1% to 99%, heads, neurons or layers");
  CHECK(error("prune 50% zeros").expected == "magnitude, wanda or sparsegpt");
  for (const char* form : {"prune N:M|50% [magnitude|wanda|sparsegpt], prune heads 25%, ",
                           "rewind [STEP], redraw, METHOD BITS"})
    CHECK(stage_forms().find(form) != std::string::npos);
}

TEST_CASE("orders that can be are taken") {
  const auto good = GENERATE(
      Words{"gptq 4", "prune 2:4 magnitude", "qat-lsq 4"}, Words{"qat-ste 4", "qat-lsq-kd 4"},
      Words{"prune 25% magnitude", "train", "prune 2:4 wanda", "train", "gptq 3"},
      Words{"gptq 4", "efficient-qat 4", "qat-lsq 4", "qlora 4"}, Words{"train", "qat-quest 4"},
      Words{"prune 2:4", "gptq 4", "efficient-qat 4", "prune 75% wanda", "qlora 4"},
      Words{"prune layers 1", "prune neurons 25%", "distill", "prune 4:8", "hqq 8"},
      Words{"prune heads 25%", "svd bytes 50% plain", "distill", "prune 2:4", "gptq 4"},
      Words{"prune 20% magnitude", "rewind", "train", "prune 36% magnitude", "rewind", "train"});
  CHECK_NOTHROW(parse_pipeline(good));
}

TEST_CASE("a pipeline says the row's method, width and name") {
  const auto row = [](const std::string& text) { return load(text).config.row.at(0); };
  const RowConfig half = row("pipeline = ['prune 2:4', 'train']");
  CHECK(half.method == "fp16");
  CHECK(half.bits == 0);
  CHECK(half.label == "prune-2of4-train");
  const RowConfig four = row("pipeline = ['prune 50% wanda', 'distill', 'gptq 4']\nlabel = 'mine'");
  CHECK(four.method == "gptq");
  CHECK(four.bits == 4);
  CHECK(four.label == "mine");
  ExperimentConfig config = load("pipeline = ['prune 50% wanda', 'distill', 'gptq 4']").config;
  CHECK(all_row_names(config) ==
        Words{"fp32", "fp32-continue", "prune-50-wanda-distill-gptq-int4"});
  CHECK(parse_config(to_toml(config), "x.toml").config == config);
  const RowResult planned = planned_result(config, planned_rows(config)[0]);
  CHECK(planned.method == kPipelineMethod);
  CHECK(planned.trained);
  CHECK(planned.distilled);
  CHECK_FALSE(planned.aims_at_data);
  CHECK(planned.control.empty());
  CHECK(row_of_phase(planned.name + "-stage2") == planned.name);
  CHECK(row_of_phase("qat-lsq-int4-before") == "qat-lsq-int4");
  CHECK(row_of_phase("a-stage-int4") == "a-stage-int4");
}

TEST_CASE("a pipeline is compared with what trained as long") {
  const auto control = [](const std::string& words, const std::string& more = "") {
    const ExperimentConfig config = load("pipeline = [" + words + "]\n" + more).config;
    const RowResult row = planned_result(config, planned_rows(config)[0]);
    return str(row.control, row.aims_at_data ? " data" : "");
  };
  CHECK(control("'prune 2:4', 'train', 'gptq 4'") == "fp32-continue data");
  CHECK(control("'prune 2:4', 'distill', 'gptq 4'").empty());
  CHECK(control("'prune 2:4', 'distill'", "label = 'x'\nset = ['distill.alpha=0.5']") ==
        "fp32-continue data");
  CHECK(control("'distill', 'qat-lsq 4'", "label = 'x'\nset = ['distill.alpha=0.5']") ==
        "fp32-continue data");
  CHECK(control("'prune 2:4', 'distill'",
                "label = 'x'\nset = ['distill.alpha=0.5', 'distill.lr_scale=1']") ==
        "fp32-continue-lr=0.001 data");
  CHECK(control("'prune 50%', 'rewind', 'train'") == "fp32 data");
  CHECK(control("'prune 50%', 'gptq 4'").empty());
}

TEST_CASE("what contradicts a pipeline is refused at its line") {
  struct Case {
    const char *row, *more, *field;
  };
  const Case bad = GENERATE(
      Case{"pipeline = ['gptq 4']\nmethod = 'rtn'", "", "row[0].method"},
      Case{"pipeline = ['gptq 4']\nbits = 3", "", "row[0].bits"},
      Case{"pipeline = ['gptq 4', 'train']", "", "row[0].pipeline[1]"},
      Case{"pipeline = ['distill', 'gptq 4']", "", "row[0].pipeline[0]"},
      Case{"pipeline = ['gptq 4']", "[prune]\nmethod = 'wanda'\n", "row[0].pipeline"},
      Case{"pipeline = ['gptq 4']\nlabel = 'x'\nset = ['qat.from=gptq']", "", "row[0].pipeline"},
      Case{"pipeline = ['train', 'qat-lsq 4']", "[qat]\nstart = 0.5\n", "row[0].pipeline"},
      Case{"pipeline = ['qlora 4']\nlabel = 'x'\nset = ['qlora.merge=true']", "",
           "row[0].pipeline"},
      Case{"pipeline = ['gptq 4']", "[mixed]\nwidths = [2, 4]\n", "row[0].pipeline"},
      Case{"pipeline = ['prune layers 4', 'gptq 4']", "[model]\nn_layer = 4\n",
           "row[0].pipeline[0]"},
      Case{"pipeline = ['prune layers 2', 'prune layers 2']", "[model]\nn_layer = 4\n",
           "row[0].pipeline[1]"},
      Case{"pipeline = ['prune 50%', 'rewind 90', 'train']", "[train]\nsteps = 90\n",
           "row[0].pipeline[1]"},
      Case{"pipeline = ['prune 50%', 'rewind', 'train']", "[model]\noutliers = 1\n",
           "row[0].pipeline[1]"},
      Case{"pipeline = ['train', 'qat-lsq 4']", "[qat]\nsteps = 1\n", "row[0].pipeline"},
      Case{"pipeline = ['prune 2:4']\ngrid = 'full'", "", "row[0].grid"},
      Case{"pipeline = ['prune 2:4']\nscale = 'f16'", "", "row[0].scale"},
      Case{"pipeline = ['prune 2:4', 'train']\nactivations = 8", "", "row[0].activations"},
      Case{"pipeline = ['prune layers 1']\ngroup_size = 32", "", "row[0].group_size"},
      Case{"pipeline = ['prune 2:4']\ngranularity = 'tensor'", "", "row[0].granularity"},
      Case{"pipeline = ['seq 1']", "", "row[0].pipeline[0]"});
  CAPTURE(bad.row, bad.more);
  const ErrorParts parts = test::error_of([&] { load(bad.row, bad.more); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == bad.field);
  CHECK(parts.where.starts_with("x.toml:"));
}

TEST_CASE("groups of a pipeline decide what is left of its shapes") {
  for (const char* words : {"'prune heads 25%'", "'prune neurons 25%', 'train'", "'svd 90%'"}) {
    INFO(words);
    CHECK(load(str("pipeline = [", words, "]\ngroup_size = 32")).config.row[0].group_size == 32);
  }
}

TEST_CASE("settings count where a stage uses them") {
  const auto unused = [](const std::string& words, const std::string& setting) {
    const ExperimentConfig config =
        load("label = 'x'\npipeline = [" + words + "]\nset = ['" + setting + "']",
             "[quant]\ncontrol = false\n")
            .config;
    return std::ranges::any_of(unused_keys(config),
                               [](const Unused& u) { return u.key.starts_with("row[0].set"); });
  };
  const std::string floats = "'prune 2:4', 'distill'", rounded = "'prune 2:4 magnitude', 'rtn 4'";
  CHECK_FALSE(unused(floats, "distill.temperature=2"));
  CHECK_FALSE(unused(floats, "qat.lr_scale=1"));
  CHECK_FALSE(unused(floats, "calib.windows=9"));
  CHECK_FALSE(unused("'prune neurons 25%'", "calib.windows=9"));
  CHECK_FALSE(unused("'prune heads 50%'", "calib.windows=9"));
  CHECK_FALSE(unused("'svd 90%'", "calib.windows=9"));
  CHECK(unused("'svd 90% plain'", "calib.windows=9"));
  CHECK_FALSE(unused("'gptq 4', 'qat-ste 4'", "gptq.damp=0.1"));
  CHECK_FALSE(unused("'qat-lsq 4', 'qat-ste 4'", "qat.step_lr=0.1"));
  CHECK_FALSE(unused("'qlora 4'", "qlora.rank=4"));
  CHECK_FALSE(unused("'gptq 4', 'efficient-qat 4', 'qlora 4'", "qat.step_lr=0.1"));
  CHECK_FALSE(unused("'efficient-qat 4', 'qlora 4'", "block_ap.steps=9"));
  CHECK_FALSE(unused("'train', 'gptq 4', 'qlora 4'", "qat.lr_scale=1"));
  CHECK(unused("'gptq 4', 'efficient-qat 4'", "block_ap.steps=9"));
  CHECK(unused("'gptq 4', 'efficient-qat 4', 'qlora 4'", "qat.lr_scale=1"));
  CHECK(unused("'gptq 4', 'efficient-qat 4'", "qat.weight_decay=0.1"));
  CHECK(unused("'gptq 4', 'efficient-qat 4'", "qlora.rank=4"));
  CHECK(unused(floats, "qat.ste=plain"));
  CHECK(unused(rounded, "qat.lr_scale=1"));
  CHECK(unused(rounded, "calib.windows=9"));
  CHECK(unused(rounded, "distill.temperature=2"));
  CHECK(unused("'prune 50%', 'rewind', 'train'", "qat.lr_scale=1"));
}

}  // namespace notch::experiments::pipeline_config_test
