// Rows that train beside codes that stay, and with rotated weights: phases that go on, rows of a run, and
// what they cannot begin with.
#include <algorithm>
#include <cmath>

#include "experiments/train/training_phase.h"
#include "quant/methods/trained.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::codes_training_test {

using test::error_of;
using test::make_gpt;
using test::run_all;
using test::same_bits;
using test::tiny_experiment;
using test::values_of;

/// A phase made anew from the same fork, as a new process would.
class Session {
 public:
  Session(const quant::Method& method, const std::filesystem::path& checkpoints)
      : model_(make_gpt()) {
    Rng rng(3, 1);
    for (int i = 0; i < 900; ++i) tokens_.push_back(static_cast<std::int32_t>(rng.below(11)));
    const quant::Plan plan{.weights = {.bits = 4}, .table = quant::Spec{.bits = 6}};
    std::optional<quant::Quantized> start;
    if (!method.trains_weights()) {
      start = quant::post_training(*model_, quant::method("rtn"), quant::resolve(plan, *model_), {},
                                   {});
      model_ = quant::packed_twin(*model_, *start);
    }
    training_.emplace(*model_, method, quant::resolve(plan, *model_),
                      quant::TrainingOptions{.seed = 5}, start ? &*start : nullptr);
    phase_.emplace(TrainSettings{.phase = "phase",
                                 .schedule = {.lr = 1e-2, .min_lr = 1e-3, .steps = 8},
                                 .batch_size = 4,
                                 .seed = 11,
                                 .step_lr = 1e-2},
                   TrainParts{.model = *model_,
                              .tokens = tokens_,
                              .additions = training_->additions(),
                              .frozen = !method.trains_weights(),
                              .checkpoints = checkpoints});
  }
  TrainingPhase& phase() { return *phase_; }
  /// What ships, and the floats of the model.
  std::vector<real> state() {
    std::vector<real> all;
    for (const Param& p : model_->params().params())
      if (p.value.data) all.insert(all.end(), p.value.flat().begin(), p.value.flat().end());
    for (const quant::NamedQTensor& t : training_->convert().tensors) {
      const std::vector<real> w = quant::dequantize(t.q);
      all.insert(all.end(), w.begin(), w.end());
      if (t.change.side) all.insert(all.end(), t.change.side->up.begin(), t.change.side->up.end());
    }
    return all;
  }

 private:
  std::vector<std::int32_t> tokens_;
  std::unique_ptr<nn::Model> model_;
  std::optional<quant::QuantizedTraining> training_;
  std::optional<TrainingPhase> phase_;
};

TEST_CASE("a phase beside codes goes on in the same bits") {
  for (const quant::Method* method : {&quant::kQatQuest, &quant::kEfficientQat, &quant::kQlora}) {
    INFO(method->name);
    Session whole(*method, {});
    const std::vector<real> start = whole.state();
    for (int i = 0; i < 8; ++i) whole.phase().step();
    CHECK_FALSE(same_bits(whole.state(), start));
    for (const int stop : {1, 5}) {
      const test::TemporaryDirectory directory;
      Session first(*method, directory / "ckpt");
      for (int i = 0; i < stop; ++i) first.phase().step();
      first.phase().save();
      Session second(*method, directory / "ckpt");
      CHECK(second.phase().resume().empty());
      CHECK(second.phase().done() == stop);
      for (int i = stop; i < 8; ++i) second.phase().step();
      CHECK(same_bits(second.state(), whole.state()));
    }
  }
}

RowConfig row(std::string method, int bits, std::string label, std::vector<std::string> set) {
  return {
      .method = std::move(method), .bits = bits, .label = std::move(label), .set = std::move(set)};
}

ExperimentConfig codes_experiment() {
  ExperimentConfig c = tiny_experiment();
  c.seeds = {1};
  c.train.steps = 40;
  c.qat.steps = 12;
  c.quant.control = false;
  RowConfig nf4 = row("qlora", 4, "nf4", {"qlora.rank=2"});
  nf4.grid = "nf4";
  nf4.granularity = "group";
  nf4.group_size = 16;
  nf4.scale = "nested";
  RowConfig merged = nf4;
  merged.label = "merged";
  merged.set.emplace_back("qlora.merge=true");
  c.row = {nf4,
           merged,
           row("qlora", 3, "from-gptq", {"qat.from=gptq", "qlora.rank=2"}),
           row("qlora", 4, "pruned", {"prune.method=magnitude", "qlora.rank=2"}),
           row("efficient-qat", 3, "scales", {"block_ap.steps=4"}),
           row("efficient-qat", 3, "scales-of-gptq", {"qat.from=gptq"}),
           row("qat-quest", 2, "quest", {})};
  c.row.back().grid = "seq";
  return c;
}

TEST_CASE("rows beside codes ship what they say and are found again") {
  const ExperimentConfig config = codes_experiment();
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const std::vector<SeedResults> seeds = run_all(config, data, directory / "run", Earlier::refuse);
  const auto found = [&](std::string_view name) { return *find_row(seeds[0], name); };
  const auto load = [&](std::string_view name) {
    return quant::load_any(directory / "run" / "models" / str(name, "-seed1"));
  };
  const std::string base = "nf4-int4-g16-nf4-nested", merged = "merged-int4-g16-nf4-nested";
  // Two 16-bit factors of rank 2 beside the four Linears of one block of 16 channels.
  constexpr std::int64_t kFactors = 2 * 2 * ((48 + 16) + (16 + 16) + (64 + 16) + (16 + 64));
  CHECK(found(base).size.bytes() - found(merged).size.bytes() == kFactors);
  CHECK(found(merged).figures.contains("qlora_merge_cost"));
  CHECK_FALSE(found(base).figures.contains("qlora_merge_cost"));
  for (const quant::NamedQTensor& t : load(merged).tensors) CHECK(t.change.empty());
  int products = 0;
  for (const quant::NamedQTensor& t : load("from-gptq-int3").tensors)
    products += t.change.side.has_value();
  CHECK(products == 4);
  CHECK(load("pruned-int4").masks.size() == 4);
  for (const char* name : {"scales-int3", "scales-of-gptq-int3"})
    for (const quant::NamedQTensor& t : load(name).tensors) CHECK(t.change.empty());
  for (const quant::NamedQTensor& t : load("quest-int2-seq").tensors)
    CHECK(t.change.signs.empty() == (t.name == "wte.weight"));

  // Killed behind the artefact, and before it.
  const auto gone = [&](std::string_view name) {
    fs::remove(directory / "run" / "seed-1" / "rows" / str(name, ".json"));
    fs::remove_all(directory / "run" / "models" / str(name, "-seed1"));
  };
  for (const std::string& name :
       {merged, std::string("scales-int3"), std::string("quest-int2-seq")})
    gone(name);
  const std::vector<SeedResults> again = run_all(config, data, directory / "run", Earlier::resume);
  CHECK(results_hash(again) == results_hash(seeds));
}

TEST_CASE("ways of training say what they cannot begin with") {
  const auto refused = [](RowConfig planned, std::vector<std::string> set, const char* why) {
    ExperimentConfig config = tiny_experiment();
    planned.label = "a";
    planned.set = std::move(set);
    config.row = {std::move(planned)};
    validate(config);
    const ErrorParts parts = error_of([&] { check_rows(config, 60); });
    INFO(parts.what);
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.field == "row[0]");
    CHECK(parts.what.find(why) != std::string::npos);
  };
  for (const char* method : {"qlora", "efficient-qat"}) {
    INFO(method);
    const RowConfig planned{.method = method, .bits = 4};
    refused(planned, {"qat.from=scratch"}, "random weights");
    refused(planned, {"qat.start=0.5"}, "first step");
  }
  refused({.method = "qat-quest", .bits = 4}, {"qat.from=gptq"}, "codes of gptq");
  refused({.method = "qat-quest", .bits = 4}, {"prune.method=magnitude"}, "zeros");
  refused({.method = "qat-quest", .bits = 4, .grid = "asymmetric"}, {}, "zero points");
  RowConfig nested{.method = "qlora",
                   .bits = 4,
                   .grid = "nf4",
                   .granularity = "group",
                   .group_size = 16,
                   .scale = "nested"};
  ExperimentConfig config = tiny_experiment();
  config.row = {nested};
  CHECK_NOTHROW(check_rows(config, 60));
  config.row[0].method = "efficient-qat";  // whose scales are trained as they are stored
  CHECK(error_of([&] { check_rows(config, 60); }).field == "row[0].scale");
}

}  // namespace notch::experiments::codes_training_test
