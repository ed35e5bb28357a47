// Keys that were set and change nothing are refused or named, and every key is known to the table.
#include "experiments/config/config_effects.h"

#include <fstream>
#include <set>

#include "experiments/config/config_items.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace config_effects_test {

using namespace notch;
using namespace notch::experiments;
namespace fs = std::filesystem;

class Experiment {
 public:
  explicit Experiment(const std::string& text) : path_(directory_ / "x.toml") {
    std::ofstream(path_) << text;
  }
  LoadedConfig load(const std::vector<std::string>& overrides = {}) const {
    return load_config(path_, overrides);
  }
  ErrorParts error(const std::vector<std::string>& overrides = {}) const {
    return test::error_of([&] { load(overrides); });
  }

 private:
  test::TemporaryDirectory directory_{};
  fs::path path_;
};

using Keys = std::vector<std::string>;

const std::string kRounding = "[quant]\nmethods = \"rtn\"\ncontrol = false\n";

/// A value other than the default.
std::string other_value(const Item& item) {
  if (item.kind == ItemKind::boolean) return item.value == "true" ? "false" : "true";
  if (!item.domain.words.empty()) {
    for (const std::string_view word : item.domain.words) {
      if (toml::quote(word) != item.value) return std::string(word);
    }
  }
  return item.key() == "activations.asymmetric" ? "[]"
         : item.key() == "qat.steps"            ? "7"
         : item.key().ends_with(".bits")        ? "3"
         : item.key() == "aqlm.beam"            ? "7"
         : item.key() == "calib.windows"        ? "9"
         : item.key() == "mixed.widths"         ? "[2,4]"
         : item.key() == "prune.sparsity"       ? "0.25"
         : item.key() == "quant.layers"         ? "[{pattern = 'h.0.*', bits = 8}]"
         : item.domain.high >= 257              ? "301"
         : item.domain.low >= 50                ? "77"
                                                : "0.5";
}

TEST_CASE("every key is in the table of effects or always has one") {
  std::set<std::string> known;
  for (const Effect& e : effects()) CHECK(known.insert(std::string(e.key)).second);
  for (const std::string_view key : always_effective()) {
    INFO(key);
    CHECK(known.insert(std::string(key)).second);
  }
  std::set<std::string> keys;
  for (const Item& item : items_of({})) {
    if (item.kind == ItemKind::section) continue;
    keys.insert(item.key());
    for (const Item& field : item.element_fields) keys.insert(item.key() + "[]." + field.name);
  }
  CHECK(known == keys);
  for (const Effect& e : effects()) {
    INFO(e.key);
    CHECK_FALSE(e.needs.empty());
    CHECK((e.value || e.rows || !e.section.empty()));
  }
}

TEST_CASE("a path means text and what contradicts it is refused") {
  CHECK(Experiment("[data]\npath = 'a.txt'\n").load().config.data.kind == "text");
  const Experiment contradiction("[data]\nkind = 'verbs'\npath = 'a.txt'\n");
  CHECK(contradiction.error().field == "data.path");
  CHECK(contradiction.error().where.find(":3:1") != std::string::npos);
  const Experiment verbs("[data]\nkind = 'verbs'\nsentences = 600\n");
  const LoadedConfig moved = verbs.load({"data.path=b.txt"});
  CHECK(moved.config.data.kind == "text");
  CHECK(moved.unused == Keys{"data.sentences"});
  CHECK(verbs.error({"data.kind=verbs", "data.path=b.txt"}).field == "data.path");
  CHECK(verbs.error({"data.path=b.txt", "data.kind=verbs"}).field == "data.path");
  const LoadedConfig built_in = Experiment("[data]\npath = 'a.txt'\n").load({"data.kind=verbs"});
  CHECK(built_in.config.data.kind == "verbs");
  CHECK(built_in.unused == Keys{"data.path"});
  CHECK(built_in.config.data.path.empty());
}

TEST_CASE("a command-line value without effect is always refused") {
  // Rows that train nothing, on a text, with constants: each condition of the table fails.
  const Experiment experiment(
      "row = {method = 'fp16'}\n[data]\npath = 'a.txt'\n[train]\nschedule = 'constant'\noptimizer "
      "= "
      "'sgd'\n[quant]\ncontrol = false\n");
  for (const Item& item : items_of({})) {
    const auto effect = std::ranges::find(effects(), item.key(), &Effect::key);
    const std::set<std::string> holds_here = {
        "data.path",      "train.momentum", "model.bias",     "model.dropout",
        "model.gelu",     "train.warmup",   "train.ema",      "train.weight_decay",
        "train.schedule", "prune.method",   "distill.teacher"};
    if (item.kind == ItemKind::section || effect == effects().end() || holds_here.count(item.key()))
      continue;
    const std::string argument = item.key() + "=" + other_value(item);
    INFO(argument);
    const ErrorParts parts = experiment.error({argument});
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.field == item.key());
    CHECK(parts.where == "command line");
    CHECK(parts.expected == effect->needs);
  }
}

TEST_CASE("keys of methods that do not run are kept and named") {
  const LoadedConfig loaded =
      Experiment(kRounding +
                 "[qat]\nlr_scale = 0.5\n[distill]\nalpha = 0.5\n[calib]\nwindows = 4\n")
          .load();
  CHECK(loaded.unused == Keys{"calib.windows", "qat.lr_scale", "distill.alpha"});
  CHECK(loaded.config.qat.lr_scale == QatConfig{}.lr_scale);
  CHECK(notes(loaded).at(0).find("distill.alpha") != std::string::npos);
}

TEST_CASE("the command line may take a key's effect and give it back") {
  const Experiment all(
      "[gptq]\ndamp = 0.1\n[quant]\nbits = [4, 2]\nat = [{bits = 2, grid = 'seq', "
      "set = ['qat.ste=plain']}]\n[qat]\nste = 'plain'\n");
  CHECK(all.load().unused.empty());
  const LoadedConfig narrowed = all.load({"quant.methods=rtn", "quant.bits=4"});
  CHECK(narrowed.unused == Keys{"gptq.damp", "qat.ste", "quant.at[0].grid", "quant.at[0].set[0]"});
  CHECK(narrowed.config.quant.options.gptq.damp == quant::GptqOptions{}.damp);
  CHECK(narrowed.config.quant.at[0].set.empty());
  const Experiment none(kRounding + "[gptq]\nclip = 'deviations'\ndeviations = 2.5\n");
  CHECK(none.load().unused == Keys{"gptq.clip", "gptq.deviations"});
  CHECK(none.load({"quant.methods=gptq"}).unused.empty());
}

TEST_CASE("a value ruled out by another in its file is refused there") {
  struct Case {
    std::string text{}, field{};
  };
  const std::vector<Case> cases = {
      {"[train]\nmomentum = 0.5\n", "train.momentum"},
      {"[train]\noptimizer = 'sgd'\nbeta2 = 0.5\n", "train.beta2"},
      {"[data]\nbpe_vocab = 300\n", "data.bpe_vocab"},
      {"[data]\npath = 'a.txt'\nsentences = 300\n", "data.sentences"},
      {"[calib]\ntemperature = 0.5\n", "calib.temperature"},
      {"[gptq]\ndeviations = 2.0\n", "gptq.deviations"},
      {"[gptq]\nstatic_groups = true\n", "gptq.static_groups"},
      {"[qat]\nsteps = 5\nfraction = 0.5\n", "qat.fraction"},
      {"[qat]\nschedule = 'constant'\nmin_lr_scale = 0.5\n", "qat.min_lr_scale"},
      {"[qat]\npact_decay = 0.5\n", "qat.pact_decay"},
      {"[distill]\nalpha = 0.0\ntemperature = 2.0\n", "distill.temperature"},
      {"[distill]\nalpha = 0.0\nreverse = 0.5\n", "distill.reverse"},
      {"[activations]\nbits = 8\nobserver = 'mse'\n", "activations.observer"},
      {"[activations]\nbits = 8\ngrid = 'e4m3'\n[train]\nbackward = 'int8'\n", "train.backward"},
      {"[quant]\nbits = 4\n[[row]]\nmethod = 'rtn'\nbits = 2\n", "quant.bits"},
      {"[activations]\nbits = 8\n[[row]]\nmethod = 'rtn'\nbits = 2\n", "activations.bits"},
      {"[[row]]\nmethod = 'rtn'\nbits = 2\nlabel = 'a'\nset = ['gptq.damp=0.5']\n", "row[0].set"},
      {"[[row]]\nmethod = 'qat-ste'\nbits = 2\nlabel = 'a'\nset = ['distill.alpha=0.5']\n",
       "row[0].set"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const ErrorParts parts = Experiment(c.text).error();
    CHECK(parts.field == c.field);
    CHECK(parts.what == "has no effect here");
    CHECK_FALSE(parts.expected.empty());
  }
}

TEST_CASE("what trains beside codes has its own learning rate") {
  for (const char* method : {"qlora", "efficient-qat"}) {
    for (const char* key : {"qat.lr_scale", "qat.weight_decay"}) {
      INFO(method << ' ' << key);
      const auto experiment = [&](const std::string& methods, bool control) {
        return Experiment(str("[quant]\nmethods = [", methods,
                              "]\ncontrol = ", control ? "true" : "false", "\n"));
      };
      const std::string alone = str('\'', method, '\''), set = str(key, "=0.75");
      CHECK(experiment(alone, false).error({set}).field == key);
      CHECK_NOTHROW(experiment(alone, true).load({set}));
      CHECK_NOTHROW(experiment(alone + ", 'qat-ste'", false).load({set}));
    }
  }
}

TEST_CASE("first step sizes count where training looks for them") {
  const auto with = [](const std::string& qat) {
    return Experiment("[quant]\nmethods = 'qat-lsq'\n[qat]\nlsq_init = 'absmax'\n" + qat);
  };
  for (const char* qat : {"from = 'fp32'\n", "from = 'scratch'\n"}) {
    INFO(qat);
    CHECK(with(qat).load().config.qat.lsq_init == quant::LsqInit::absmax);
  }
  for (const char* qat : {"", "from = 'gptq'\n"}) CHECK(with(qat).error().field == "qat.lsq_init");
}

TEST_CASE("what runs write down loads again with nothing unused") {
  for (const auto& entry : fs::directory_iterator(test::source_dir() / "experiments")) {
    if (entry.path().extension() != ".toml") continue;
    for (const std::vector<std::string>& overrides :
         {Keys{}, Keys{"data.kind=verbs"}, Keys{"data.path=b.txt"},
          Keys{"row=[]", "quant.bits=4", "quant.methods=rtn", "quant.control=false"}}) {
      const LoadedConfig loaded = load_config(entry.path(), overrides);
      INFO(entry.path().string());
      CHECK((!overrides.empty() || loaded.unused.empty()));
      const LoadedConfig again = Experiment(to_toml(loaded.config)).load();
      CHECK(again.unused.empty());
      CHECK(again.config == loaded.config);
    }
  }
}

TEST_CASE("data.score needs a test split") {
  LoadedConfig loaded;
  apply_override(loaded, "data.score=val");
  CHECK(test::error_of([&] { settle_unused(loaded, {}); }).field == "data.score");
  apply_override(loaded, "data.test_fraction=0.1");
  CHECK_NOTHROW(settle_unused(loaded, {}));
}

}  // namespace config_effects_test
