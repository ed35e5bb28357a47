// What a resumed run compares with the run it continues: contents, fp32's settings, and row by row
// what each is made from.
#include "experiments/run/resume.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/machine/machine.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::resume_test {

using test::error_of;
using test::run_all;
using test::tiny_experiment;

ExperimentConfig with(const ExperimentConfig& config, const std::vector<std::string>& settings) {
  LoadedConfig loaded{.config = config};
  for (const std::string& setting : settings) apply_override(loaded, setting);
  return loaded.config;
}

/// A text, and a run that was begun with it and trained nothing.
struct Begun {
  test::TemporaryDirectory directory{};
  ExperimentConfig config = tiny_experiment();

  Begun() {
    config.data.kind = "text";
    config.data.path = write("a.txt", "x");
    begin(Earlier::refuse, config);
  }
  /// 400 sentences that end in a word of the caller's.
  std::string write(const std::string& name, std::string_view last) const {
    std::ofstream out(directory / name, std::ios::binary);
    for (int i = 0; i < 400; ++i) out << "sentence number " << i << " has a end\n";
    out << last;
    return (directory / name).string();
  }
  std::vector<std::string> begin(Earlier earlier, const ExperimentConfig& c) const {
    const RunDir dir(directory / "run", earlier);
    return begin_run(dir, c, load_data(c, {}));
  }
  std::vector<std::string> resume(const ExperimentConfig& c) const {
    return begin(Earlier::resume, c);
  }
};

TEST_CASE("a run goes on with its first contents wherever they lie") {
  const Begun run;
  ExperimentConfig moved = run.config;
  moved.data.path = run.write("b.txt", "x");
  moved.name = "renamed";
  moved.out = "/elsewhere";
  moved.threads = 7;
  CHECK(run.resume(moved).empty());
  CHECK(run.resume(run.config).empty());

  // As many bytes, as many distinct ones, in the same place.
  const std::string was = sha256_file(run.config.data.path);
  run.write("a.txt", "e");
  const ErrorParts parts = error_of([&] { run.resume(run.config); });
  CHECK(parts.fault == Fault::mismatch);
  CHECK(parts.where == run.config.data.path);
  CHECK(parts.expected == "sha256 " + was);
  CHECK(parts.found == "sha256 " + sha256_file(run.config.data.path));
  CHECK_FALSE(parts.hint.empty());
  CHECK(run.resume(moved).empty());
}

TEST_CASE("a build's sentences and tokens are contents too") {
  const Begun run;
  const RunDir dir(run.directory / "run", Earlier::resume);
  Data data = load_data(run.config, {});
  data.source.tokenizer = data::Tokenizer::bytes();
  const ErrorParts parts = error_of([&] { begin_run(dir, run.config, data); });
  CHECK(parts.fault == Fault::mismatch);
  CHECK(parts.field == "tokenizer");
  CHECK(parts.expected != parts.found);
  data = load_data(run.config, {});
  std::string& sha256 = data.source.corpus.sha256;
  sha256[0] = sha256[0] == '0' ? '1' : '0';
  CHECK(error_of([&] { begin_run(dir, run.config, data); }).field == "text");
}

TEST_CASE("a run without hashes is compared by its configuration") {
  const Begun run;
  fs::remove(run.directory / "run/inputs.json");
  ExperimentConfig moved = run.config;
  moved.data.path = run.write("b.txt", "x");
  CHECK(error_of([&] { run.resume(moved); }).field == "data.path");
  CHECK_FALSE(fs::exists(run.directory / "run/inputs.json"));
  const std::vector<std::string> notes = run.resume(run.config);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].find("no hashes") != std::string::npos);
  CHECK(run.resume(run.config).empty());  // from now on it has them
}

TEST_CASE("fp32 settings stay, those of seeds and rows may change") {
  const Begun run;
  for (const char* setting :
       {"data.val_fraction=0.2", "data.tokenizer=byte", "model.n_layer=2", "model.bias=false",
        "train.steps=400", "train.lr=0.02", "train.order=sequential", "train.ema=0.5"}) {
    CAPTURE(setting);
    const std::string text = setting;
    ErrorParts parts = error_of([&] { run.resume(with(run.config, {text})); });
    if (parts.fault == Fault::mismatch) {
      CHECK(text == "data.tokenizer=byte");  // of which the hash already differs
      continue;
    }
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.field == text.substr(0, text.find('=')));
    CHECK(parts.found != parts.expected);
    CHECK(parts.where == (run.directory / "run/config.resolved.toml").string());
  }
  for (const char* setting :
       {"seeds=1,2,3", "qat.lr_scale=1", "quant.bits=3", "data.score=val", "calib.windows=3",
        "gptq.damp=0.5", "train.log_every=3", "threads=3"}) {
    CAPTURE(setting);
    CHECK_NOTHROW(run.resume(with(run.config, {setting})));
  }
  // What is compared next time are the values of this time.
  CHECK(read_file(run.directory / "run/config.resolved.toml").find("threads = 3") !=
        std::string::npos);
}

TEST_CASE("each key of the model or training moves numbers or not") {
  const Begun run;
  for (const Item& item : items_of(run.config)) {
    if (item.section != "train" && item.section != "model") continue;
    // A directory's contents count; no row here rounds inputs, whose gradients the other is of.
    if (item.key() == "model.from" || item.key() == "train.backward") continue;
    std::string other = item.kind == ItemKind::boolean  ? (item.value == "true" ? "false" : "true")
                        : item.kind == ItemKind::number ? "0.5"
                                                        : "3";
    for (const std::string_view word : item.domain.words) {
      if (toml::quote(word) != item.value) other = word;
    }
    CAPTURE(item.key(), other);
    const ExperimentConfig changed = with(run.config, {item.key() + "=" + other});
    REQUIRE(changed != run.config);
    if (std::ranges::find(without_numbers(), item.key()) != without_numbers().end()) {
      CHECK(run.resume(changed).empty());
    } else {
      CHECK(error_of([&] { run.resume(changed); }).field == item.key());
    }
  }
}

/// Methods of each kind at one width, run once for all sections.
struct Finished {
  ExperimentConfig config = [] {
    ExperimentConfig c = tiny_experiment();
    c.seeds = {1};
    c.train.steps = 60;
    c.quant.bits = {4};
    c.quant.methods = {"rtn", "rtn-percentile", "gptq", "qat-ste", "qat-lsq-kd"};
    return c;
  }();
  Data data = load_data(config, {});
  test::TemporaryDirectory directory{};
  std::vector<SeedResults> seeds = run_all(config, data, directory / "run", Earlier::refuse);
};

const Finished& finished() {
  static const Finished run;
  return run;
}

/// A copy of the finished run, in which it can be seen what is made again.
struct Continued {
  test::TemporaryDirectory directory{};
  fs::path path = directory / "run";

  Continued() {
    fs::copy(finished().directory / "run", path, fs::copy_options::recursive);
    for (const fs::path& file : files()) fs::last_write_time(file, fs::file_time_type{});
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      const bool row = entry.path().parent_path().filename() == "rows";
      if (row || entry.path().filename() == nn::kWeightsFile) all.push_back(entry.path());
    }
    return all;
  }
  std::vector<SeedResults> resume(const ExperimentConfig& config) const {
    return run_all(config, load_data(config, {}), path, Earlier::resume);
  }
  bool is_old(const fs::path& file) const {
    return fs::exists(file) && fs::last_write_time(file) == fs::file_time_type{};
  }
  bool kept_model(std::string_view row) const {
    return is_old(path / "models" / str(row, "-seed1") / nn::kWeightsFile);
  }
  bool kept_row(std::string_view row) const {
    return is_old(path / "seed-1/rows" / str(row, ".json"));
  }
};

TEST_CASE("keys that move no number give the same table") {
  ExperimentConfig config =
      with(finished().config,
           {"threads=1", "name=other", "train.eval_every=7", "train.eval_windows=2",
            "train.checkpoint_every=9", "train.keep_last=1", "train.log_every=4", "gptq.block=5"});
  config.out = "/elsewhere";
  CHECK(numbers_of(config) == numbers_of(finished().config));
  for (const std::string_view key : without_numbers()) {  // each of them is other here
    INFO(key);
    const std::vector<Item> was = items_of(finished().config), is = items_of(config);
    CHECK(std::ranges::find(was, key, &Item::key)->value !=
          std::ranges::find(is, key, &Item::key)->value);
  }
  const test::TemporaryDirectory fresh;
  CHECK(results_hash(run_all(config, finished().data, fresh / "run", Earlier::refuse)) ==
        results_hash(finished().seeds));
}

TEST_CASE("a changed setting remakes its own rows only") {
  using Names = std::set<std::string>;
  const Names rounded{"rtn-int4", "rtn-percentile-int4", "gptq-int4"};
  const Names of_control{"control-rtn-int4", "control-rtn-percentile-int4", "control-gptq-int4"};
  const Names trained{"qat-ste-int4", "qat-lsq-kd-int4"};
  const auto both = [](Names a, const Names& b) {
    a.insert(b.begin(), b.end());
    return a;
  };
  // Trained rows begin with GPTQ's codes.
  const Names gptq = both({"gptq-int4", "control-gptq-int4"}, trained);
  struct Case {
    const char* setting;
    Names again;
  };
  const Case change = GENERATE_COPY(
      Case{"qat.freeze=0", {}}, Case{"gptq.damp=0.1", gptq}, Case{"calib.windows=5", gptq},
      Case{"train.log_every=7", {}}, Case{"qat.from=fp32", trained},
      Case{"quant.percentile=95", Names{"rtn-percentile-int4", "control-rtn-percentile-int4"}},
      Case{"qat.ste=plain", trained}, Case{"distill.alpha=0.5", Names{"qat-lsq-kd-int4"}},
      Case{"quant.scale=f16", both(both(rounded, of_control), trained)},
      Case{"quant.layers=[{pattern=\"*.c_fc\", bits=8}]", both(both(rounded, of_control), trained)},
      Case{"qat.lr_scale=0.5", both(both(of_control, trained), Names{"fp32-continue"})},
      Case{"activations.range=static", {}}, Case{"quant.methods=rtn,gptq", {}});
  CAPTURE(change.setting);
  const ExperimentConfig config = with(finished().config, {change.setting});
  const Continued run;
  const std::vector<SeedResults> seeds = run.resume(config);
  for (const RowResult& row : seeds[0].rows) {
    CAPTURE(row.name);
    CHECK(run.kept_row(row.name) == !change.again.contains(row.name));
    CHECK(run.kept_model(row.name) == !change.again.contains(row.name));
  }
  const test::TemporaryDirectory fresh;
  const Data data = load_data(config, {});
  CHECK(results_hash(seeds) == results_hash(run_all(config, data, fresh / "run", Earlier::refuse)));
}

TEST_CASE("static ranges are made again when their source changes") {
  ExperimentConfig config =
      with(finished().config, {"activations.bits=8", "train.steps=20", "activations.range=static",
                               "calib.windows=4", "quant.methods=rtn,qat-ste"});
  config.model.n_layer = 2;
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const std::string before =
      results_hash(run_all(config, data, directory / "run", Earlier::refuse));
  const std::string setting = GENERATE("gptq.true_sequential=true", "calib.windows=3",
                                       "activations.observer=minmax", "activations.percentile=90");
  CAPTURE(setting);
  const ExperimentConfig changed = with(config, {setting});
  const std::string resumed =
      results_hash(run_all(changed, data, directory / "run", Earlier::resume));
  CHECK(resumed != before);
  CHECK(resumed == results_hash(run_all(changed, data, directory / "new", Earlier::refuse)));
}

TEST_CASE("other questions score the rows again and train nothing") {
  const Continued run;
  const ExperimentConfig config = with(finished().config, {"data.task_examples=5"});
  const std::vector<SeedResults> seeds = run.resume(config);
  for (std::size_t i = 0; i < seeds[0].rows.size(); ++i) {
    const RowResult &now = seeds[0].rows[i], &was = finished().seeds[0].rows[i];
    CAPTURE(now.name);
    CHECK(run.kept_model(now.name));
    CHECK_FALSE(run.kept_row(now.name));
    CHECK(now.sha256 == was.sha256);
    CHECK(now.seconds == was.seconds);
    CHECK(now.eval.loss == was.eval.loss);
    CHECK(std::round(*now.accuracy * 5) == Approx(*now.accuracy * 5));  // fifths
  }
  CHECK(run.resume(with(config, {"data.task_examples=0"}))[0].rows[0].accuracy == std::nullopt);
}

TEST_CASE("a row that leaves and returns is made as it is now") {
  const Continued run;
  ExperimentConfig config = with(finished().config, {"quant.methods=rtn", "gptq.damp=0.3"});
  run.resume(config);
  config.quant.methods = {"rtn", "gptq"};
  const std::vector<SeedResults> seeds = run.resume(config);
  CHECK_FALSE(run.kept_model("gptq-int4"));
  CHECK(run.kept_model("rtn-int4"));
  const test::TemporaryDirectory fresh;
  CHECK(results_hash(seeds) ==
        results_hash(run_all(config, finished().data, fresh / "run", Earlier::refuse)));
}

TEST_CASE("checkpoints of other settings are not trained on") {
  const Continued run;
  const auto checkpoint = [&](const char* phase) { return run.path / "seed-1/ckpt" / phase; };
  const char* old[] = {"qat-ste-int4", "qat-ste-int4-before"};
  for (const char* phase : old) fs::create_directories(checkpoint(phase) / "step-1");
  fs::create_directories(checkpoint("qat-lsq-kd-int4") / "step-1");
  const RunDir dir(run.path, Earlier::resume);
  const std::vector<std::string> notes =
      begin_run(dir, with(finished().config, {"distill.alpha=0.5"}), finished().data);
  REQUIRE(notes.size() == 1);
  for (const char* part : {"qat-lsq-kd-int4", "distill.alpha", "1.0 -> 0.5"}) {
    CHECK(notes[0].find(part) != std::string::npos);
  }
  CHECK_FALSE(fs::exists(checkpoint("qat-lsq-kd-int4")));
  for (const char* phase : old) CHECK(fs::exists(checkpoint(phase)));
  begin_run(dir, with(finished().config, {"distill.alpha=0.5", "qat.freeze=0.1"}), finished().data);
  for (const char* phase : old) CHECK_FALSE(fs::exists(checkpoint(phase)));
  CHECK(fs::exists(checkpoint("fp32")));
}

TEST_CASE("a run failed at a row resumes from its fp32 model") {
  ExperimentConfig config = finished().config;
  config.quant.methods = {"rtn", "qat-ste"};
  config.qat.dampen = 1e40;  // a gradient that no float holds, in the second step
  const test::TemporaryDirectory directory;
  CHECK_THROWS_AS(run_all(config, finished().data, directory / "run", Earlier::refuse), Error);
  const fs::path weights = directory / "run/models/fp32-seed1" / nn::kWeightsFile;
  REQUIRE(fs::exists(weights));
  const auto trained = fs::last_write_time(weights);
  config.qat.dampen = 0.1;
  const auto seeds = run_all(config, finished().data, directory / "run", Earlier::resume);
  CHECK(fs::last_write_time(weights) == trained);
  const test::TemporaryDirectory fresh;
  CHECK(results_hash(seeds) ==
        results_hash(run_all(config, finished().data, fresh / "run", Earlier::refuse)));
}

TEST_CASE("rows know their builds, and a table of several says so") {
  std::vector<SeedResults> seeds = finished().seeds;
  for (const RowResult& row : seeds[0].rows) CHECK(row.build == build_text());
  CHECK(build_notes(seeds).empty());
  CHECK(then_build("a", "a") == "a");
  CHECK(then_build("a", "b") == "a, then b");
  CHECK(then_build("a, then b", "b") == "a, then b");
  CHECK(then_build("", "b") == "unknown, then b");

  seeds[0].rows[1].build = "another";
  const std::string notes = build_notes(seeds);
  CHECK(notes.find("another: 1 row: " + seeds[0].rows[1].name) != std::string::npos);
  CHECK(notes.find(str(build_text(), ": ", seeds[0].rows.size() - 1, " rows: fp32, ")) !=
        std::string::npos);
  const Report report(finished().config, finished().data, seeds);
  CHECK(report.screen(80).find(wrapped(notes, 80)) != std::string::npos);
  for (RowResult& row : seeds[0].rows) row.build = "a, then b";  // each of two
  CHECK_FALSE(build_notes(seeds).empty());

  // Of a build that kept none.
  Json old = Json::object();
  const Json whole = to_json(seeds[0].rows[0]);
  for (const auto& [key, value] : whole.as_object("row")) {
    if (key != "build" && key != "scored_on") old.set(key, value);
  }
  const RowResult row = row_from_json(old, "row");
  CHECK(row.build.empty());
  seeds[0].rows[0] = row;
  CHECK(build_notes(seeds).find("unknown: 1 row: fp32") != std::string::npos);
}

TEST_CASE("a training that another build goes on with has both") {
  const Data& data = finished().data;
  const test::TemporaryDirectory directory;
  const auto session = [&](const std::string& build, std::int64_t stop_at) {
    const auto model = make_model(finished().config, data.source.tokenizer.vocab_size());
    model->init(1);
    TrainSettings settings = base_settings(finished().config, 1);
    settings.schedule.steps = 6;
    TrainingPhase phase(settings, {.model = *model,
                                   .tokens = data.source.tokens.train,
                                   .checkpoints = directory.path(),
                                   .build = build});
    phase.resume();
    while (phase.done() < stop_at) phase.step();
    phase.save();
    return phase.build();
  };
  CHECK(session("a", 2) == "a");
  CHECK(session("a", 3) == "a");
  CHECK(session("b", 5) == "a, then b");
  CHECK(session("b", 6) == "a, then b");
}

}  // namespace notch::experiments::resume_test
