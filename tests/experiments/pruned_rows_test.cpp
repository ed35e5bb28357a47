// Rows that prune: their settings, artefacts and figures, and that a run finds them again.
#include <algorithm>

#include "experiments/config/config_effects.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/row_facts.h"
#include "quant/methods/prune.h"
#include "quant/numbers/format.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::pruned_rows_test {

using test::error_of;
using test::run_all;
using test::tiny_experiment;

RowConfig pruned(std::string method, int bits, std::string label, std::vector<std::string> set) {
  return {
      .method = std::move(method), .bits = bits, .label = std::move(label), .set = std::move(set)};
}

ExperimentConfig pruning_experiment() {
  ExperimentConfig c = tiny_experiment();
  c.seeds = {1};
  c.train.steps = 40;
  c.quant.control = false;
  c.row = {{.method = "fp16"},
           pruned("fp16", 0, "half-pruned", {"prune.method=magnitude", "prune.pattern=2:4"}),
           pruned("fp16", 0, "most-pruned", {"prune.method=wanda", "prune.sparsity=0.75"}),
           {.method = "gptq", .bits = 4},
           pruned("gptq", 4, "joint", {"prune.method=sparsegpt", "prune.pattern=2:4"}),
           pruned("qat-lsq", 4, "held", {"prune.method=magnitude", "prune.pattern=2:4"}),
           pruned("qat-lsq", 4, "warm", {"prune.method=magnitude", "qat.from=gptq"}),
           pruned("qat-ste", 4, "grown", {"prune.method=magnitude", "prune.rounds=2"})};
  return c;
}

TEST_CASE("rows that prune ship zeros and are found again") {
  const ExperimentConfig config = pruning_experiment();
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const std::vector<SeedResults> seeds = run_all(config, data, directory / "run", Earlier::refuse);
  const auto row = [&](std::string_view name) { return *find_row(seeds[0], name); };
  const auto load = [&](std::string_view name) {
    return quant::load_any(directory / "run" / "models" / str(name, "-seed1"));
  };
  for (const auto& [name, zeros] :
       std::vector<std::pair<std::string, double>>{{"half-pruned-fp16", 0.5},
                                                   {"most-pruned-fp16", 0.75},
                                                   {"joint-int4", 0.5},
                                                   {"held-int4", 0.5},
                                                   {"warm-int4", 0.5},
                                                   {"grown-int4", 0.5}}) {
    INFO(name);
    CHECK(row(name).figures.at("pruned") == Approx(zeros));
    const quant::LoadedModel loaded = load(name);
    REQUIRE(loaded.masks.size() == 4);  // the Linears of one block
    CHECK(row(name).size.mask_bytes > 0);
    const std::string text = read_file(directory / "run" / "seed-1" / "rows" / str(name, ".json"));
    CHECK(row_from_text(text, "row").size.bytes() == row(name).size.bytes());
    for (const quant::NamedMask& m : loaded.masks) {
      const std::span<const real> w = loaded.model->params().find(m.name)->value.flat();
      double zero = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        zero += m.keep[i] == 0;
        REQUIRE((m.keep[i] != 0 || w[i] == 0));
      }
      CHECK(zero / double(w.size()) == Approx(zeros));
    }
  }
  CHECK_FALSE(row("fp16").figures.contains("pruned"));
  CHECK(load("gptq-int4").masks.empty());
  // 16 · 16 · 12 weights in the block: of 2:4 half of 2 bytes, or of half a byte, go and a bit comes.
  constexpr std::int64_t kWeights = 12 * 16 * 16;
  CHECK(row("fp16").size.bytes() - row("half-pruned-fp16").size.bytes() == kWeights - kWeights / 8);
  CHECK(row("gptq-int4").size.bytes() - row("joint-int4").size.bytes() ==
        kWeights / 4 - kWeights / 8);

  const std::vector<SeedResults> again = run_all(config, data, directory / "run", Earlier::resume);
  CHECK(results_hash(again) == results_hash(seeds));
}

TEST_CASE("what a row in half precision prunes depends on no grid") {
  ExperimentConfig c = pruning_experiment();
  const RowConfig half = pruned("fp16", 0, "half", {"prune.method=magnitude"});
  const auto model = make_model(c, 11, nn::Model::Values::shapes_only);
  const auto prunable = [&] {
    std::vector<std::string> names;
    RowConfig row = half;
    row.grid = c.quant.grid;
    row.granularity = c.quant.granularity;
    row.group_size = c.quant.group_size;
    row.scale = c.quant.scale;
    for (const quant::Target& t : quant::resolve(layers_plan(c, row), *model))
      if (quant::is_prunable(*model, t)) names.push_back(t.name);
    return names;
  };
  const std::vector<std::string> all = {"h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_fc",
                                        "h.0.mlp.c_proj"};
  for (const char* embedding : {"fp32", "int8", "same"}) {
    c.quant.embedding = embedding;
    for (const std::string_view grid : quant::grid_names()) {
      CAPTURE(embedding, grid);
      c.quant.grid = grid;
      c.quant.granularity = "channel";
      c.quant.group_size = 0;
      c.quant.layers = {{.pattern = "h.*.mlp.c_fc", .bits = 3}};
      CHECK(prunable() == all);
      if (c.quant.embedding == "same") continue;
      c.quant.layers.clear();
      c.quant.granularity = "group";  // which would not divide 16 channels
      c.quant.group_size = 5;
      CHECK(prunable() == all);
    }
  }
  // The table that the text is walked through is that of a row of 8 bits, where there can be one.
  RowConfig row = half;
  row.granularity = "group";
  row.group_size = 8;
  row.scale = "f16";
  for (const char* grid : {"narrow", "full", "asymmetric"}) {
    row.grid = grid;
    RowConfig eight = row;
    eight.bits = 8;
    CHECK(layers_plan(c, row).table == row_plan(c, eight).table);
  }
}

TEST_CASE("half precision is pruned beside a grid of few bits") {
  ExperimentConfig c = pruning_experiment();
  c.train.steps = 4;
  c.quant.grid = "seq";
  c.row = {pruned("fp16", 0, "half", {"prune.method=magnitude", "prune.pattern=2:4"}),
           {.method = "fp16", .label = "stage", .pipeline = {"prune 2:4"}},
           {.method = "rtn", .bits = 4}};
  const Data data = load_data(c, {});
  const test::TemporaryDirectory directory;
  const std::vector<SeedResults> seeds = run_all(c, data, directory / "run", Earlier::refuse);
  for (const char* name : {"half-fp16", "stage-fp16"})
    CHECK(find_row(seeds[0], name)->figures.at("pruned") == Approx(0.5));
}

TEST_CASE("settings of pruning without effect are refused") {
  const auto unused = [](const RowConfig& row) {
    ExperimentConfig c = pruning_experiment();
    c.row = {row};
    return std::ranges::any_of(unused_keys(c),
                               [](const Unused& u) { return u.key.starts_with("row[0].set"); });
  };
  CHECK_FALSE(unused(pruned("fp16", 0, "x", {"prune.method=magnitude", "prune.sparsity=0.3"})));
  CHECK_FALSE(unused(pruned("rtn", 4, "x", {"prune.method=wanda", "prune.pattern=4:8"})));
  CHECK(unused(pruned("fp16", 0, "x", {"prune.sparsity=0.3"})));
  CHECK(unused(pruned("fp16", 0, "x",
                      {"prune.method=magnitude", "prune.pattern=2:4", "prune.sparsity=0.3"})));
  CHECK(unused(pruned("rtn", 4, "x", {"prune.method=magnitude", "prune.rounds=3"})));
  CHECK(unused(pruned("qat-ste", 4, "x", {"prune.method=wanda", "prune.rounds=3"})));
  CHECK_FALSE(unused(pruned("qat-ste", 4, "x", {"prune.method=magnitude", "prune.rounds=3"})));
  CHECK(unused(pruned("rtn", 4, "x", {"prune.method=zeros", "prune.pattern=2:4"})));

  ExperimentConfig c = pruning_experiment();
  c.row = {pruned("fp16", 0, "x", {"qat.ste=plain"})};
  CHECK(error_of([&] { validate(c); }).field == "row[0].set");
  c.row = {{.method = "fp32", .label = "x"}};
  CHECK(error_of([&] { validate(c); }).field == "row[0].label");
  CHECK(row_name(c, pruned("fp16", 0, "x", {})) == "x-fp16");
}

TEST_CASE("what fills zeros or has no zero is refused first") {
  const auto refused = [](const RowConfig& row) {
    ExperimentConfig c = pruning_experiment();
    c.row = {row};
    return error_of([&] { check_rows(c, 60); }).field;
  };
  const std::string zeros = "prune.method=magnitude";
  for (const char* method : {"adaround", "signround", "gsq", "block-ap", "efficient-qat"}) {
    INFO(method);
    CHECK(refused(pruned(method, 4, "x", {zeros})) == "row[0]");
  }
  CHECK(refused(pruned("qat-lsq", 4, "x", {zeros, "qat.from=adaround"})) == "row[0]");
  for (const char* method : {"rtn", "gptq", "qat-ste"}) {
    RowConfig row = pruned(method, 2, "x", {zeros});
    row.grid = "seq";
    CHECK(refused(row) == "row[0].grid");
  }
  RowConfig staged{.method = "gptq", .bits = 2, .grid = "seq", .label = "x"};
  staged.pipeline = {"prune 50%", "gptq 2"};
  CHECK(refused(staged) == "row[0].grid");
  CHECK_NOTHROW(check_rows(pruning_experiment(), 60));
}

}  // namespace notch::experiments::pruned_rows_test
