#include "experiments/config/config.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "data/verbs/verbs.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace config_test {

using namespace notch;
using namespace notch::experiments;
namespace fs = std::filesystem;

ExperimentConfig parse(std::string text) { return parse_config(std::move(text), "x.toml").config; }

ErrorParts parse_error(std::string text) {
  return test::error_of([&] { parse_config(std::move(text), "x.toml"); });
}

ErrorParts check_error(std::string text) {
  return test::error_of([&] {
    const LoadedConfig loaded = parse_config(std::move(text), "x.toml");
    validate(loaded.config, loaded.origins);
  });
}

ErrorParts override_error(const std::string& argument) {
  LoadedConfig loaded;
  return test::error_of([&] { apply_override(loaded, argument); });
}

/// A file alone in a fresh directory.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text) : path_(directory_ / name) {
    std::ofstream(path_) << text;
  }
  const fs::path& path() const { return path_; }
  const fs::path& directory() const { return directory_.path(); }

 private:
  test::TemporaryDirectory directory_{};
  fs::path path_;
};

TEST_CASE("the defaults are valid and print back equal") {
  CHECK_NOTHROW(validate({}));
  CHECK(parse(to_toml({})) == ExperimentConfig{});
  CHECK(parse(annotated_toml()) == ExperimentConfig{});
  CHECK(parse("") == ExperimentConfig{});
}

TEST_CASE("the context of quick.toml holds its task's questions") {
  const LoadedConfig loaded =
      load_config(str(test::source_dir().string(), "/experiments/quick.toml"));
  const DataConfig& d = loaded.config.data;
  REQUIRE(d.tokenizer == "char");
  std::size_t longest = 0;
  for (const data::TenseExample& e :
       data::tense_examples(static_cast<std::uint64_t>(d.seed), 5000)) {
    for (const std::string& label : e.candidates) {
      longest = std::max(longest, e.prompt.size() + label.size());
    }
  }
  // The last character is predicted, not read.
  CHECK(longest - 1 <= static_cast<std::size_t>(loaded.config.model.block_size));
  CHECK(longest > 120);
}

TEST_CASE("rows and layer rules may be written as arrays of tables") {
  const ExperimentConfig config = parse(
      "[[quant.layers]]\npattern = \"h.0.*\"\nbits = 8\n[[row]]\nmethod = \"gptq\"\nbits = "
      "3\n[[row]]\n"
      "method = \"fp32\"\n");
  REQUIRE(config.quant.layers.size() == 1);
  CHECK(config.quant.layers[0].bits == 8);
  REQUIRE(config.row.size() == 2);
  CHECK(config.row[0] == RowConfig{.method = "gptq", .bits = 3});
}

TEST_CASE("an unknown key points at its line and suggests a key") {
  const ErrorParts parts = parse_error("name = \"a\"\n\n[model]\nn_layr = 4\n");
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where == "x.toml:4:1");
  CHECK(parts.field == "model.n_layr");
  CHECK(parts.hint.find("model.n_layer") != std::string::npos);
  CHECK(parts.excerpt == "    4 | n_layr = 4\n      | ^^^^^^");
  CHECK(parse_error("[trian]\nsteps = 1").hint.find("train") != std::string::npos);
  CHECK(parse_error("n_embd = 4").hint.find("model.n_embd") != std::string::npos);
  CHECK(parse_error("[[row]]\nmethd = \"rtn\"").hint.find("method") != std::string::npos);
  CHECK(parse_error("[[row]]\nmethd = \"rtn\"").field == "row[0].methd");
  CHECK_FALSE(parse_error("[train]\nzzzzzzzzzzzz = 1").hint.empty());
}

TEST_CASE("a wrong type or value names the key, the rule and itself") {
  struct Case {
    std::string text{}, where{}, field{}, found{};
  };
  const std::vector<Case> cases = {
      {"[train]\nsteps = \"many\"", "x.toml:2:9", "train.steps", "string \"many\""},
      {"[train]\nsteps = 1e3", "x.toml:2:9", "train.steps", "number 1000"},
      {"[train]\nsteps = -1", "x.toml:2:9", "train.steps", "integer -1"},
      {"[train]\nsteps = 3_000_000_000", "x.toml:2:9", "train.steps", "integer 3000000000"},
      {"[train]\nlr = true", "x.toml:2:6", "train.lr", "true"},
      {"[train]\nlr = 0", "x.toml:2:6", "train.lr", "integer 0"},
      {"[train]\nbeta1 = 1.0", "x.toml:2:9", "train.beta1", "number 1"},
      {"[train]\nschedule = \"cosin\"", "x.toml:2:12", "train.schedule", "string \"cosin\""},
      {"[data]\nval_fraction = 0", "x.toml:2:16", "data.val_fraction", "integer 0"},
      {"[data]\nval_fraction = 1.0", "x.toml:2:16", "data.val_fraction", "number 1"},
      {"[data]\nbpe_vocab = 256", "x.toml:2:13", "data.bpe_vocab", "integer 256"},
      {"[model]\nbias = 1", "x.toml:2:8", "model.bias", "integer 1"},
      {"[quant]\nbits = \"four\"", "x.toml:2:8", "quant.bits", "string \"four\""},
      {"[quant]\nbits = 9", "x.toml:2:8", "quant.bits", "integer 9"},
      {"[quant]\nbits = [8, 0]", "x.toml:2:12", "quant.bits[1]", "integer 0"},
      {"[quant]\nbits = [9]", "x.toml:2:9", "quant.bits[0]", "integer 9"},
      {"[quant]\nmethods = [1]", "x.toml:2:12", "quant.methods[0]", "integer 1"},
      {"[quant]\nlayers = [\"h.0\"]", "x.toml:2:11", "quant.layers[0]", "string \"h.0\""},
      {"[calib]\nsource = \"val\"", "x.toml:2:10", "calib.source", "string \"val\""},
      {"seeds = [-1]", "x.toml:1:10", "seeds[0]", "integer -1"},
      {"train = 5", "x.toml:1:9", "train", "integer 5"},
      {"name = 5", "x.toml:1:8", "name", "integer 5"},
      {"[[model]]\nn_layer = 1", "x.toml:1:3", "model", "an array"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const ErrorParts parts = parse_error(c.text);
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.where == c.where);
    CHECK(parts.field == c.field);
    CHECK(parts.found == c.found);
    CHECK_FALSE(parts.expected.empty());
  }
  CHECK(parse_error("[train]\nschedule = \"cosin\"").hint.find("cosine") != std::string::npos);
}

TEST_CASE("contradictions are refused at the line that set one") {
  struct Case {
    std::string text{}, where{}, field{};
  };
  const std::vector<Case> cases = {
      {"[model]\nn_embd = 64\nn_head = 5", "x.toml:3:1", "model.n_head"},
      {"[model]\nn_embd = 66", "x.toml:1:2", "model.n_head"},
      {"[train]\nsteps = 10\nwarmup = 10", "x.toml:3:1", "train.warmup"},
      {"[train]\nlr = 1e-5\nmin_lr = 1e-4", "x.toml:3:1", "train.min_lr"},
      {"[train]\nmin_lr = -0.5", "x.toml:2:1", "train.min_lr"},
      {"seeds = []", "x.toml:1:1", "seeds"},
      {"[qat]\nfraction = 1e9", "x.toml:2:1", "qat.fraction"},
      {"seeds = [1, 2, 1]", "x.toml:1:1", "seeds"},
      {"[data]\nkind = \"text\"", "x.toml:2:1", "data.kind"},
      {"name = \"../up\"", "x.toml:1:1", "name"},
      {"name = \".hidden\"", "x.toml:1:1", "name"},
      {"[quant]\ngranularity = \"group\"", "x.toml:1:2", "quant.group_size"},
      {"[quant]\ngroup_size = 32\ngranularity = \"channel\"", "x.toml:2:1", "quant.group_size"},
      {"[quant]\ngranularity = \"group\"\ngroup_size = 48", "x.toml:3:1", "quant.group_size"},
      {"[quant]\nbits = [8, 8]", "x.toml:2:1", "quant.bits"},
      {"[quant]\nbits = []", "x.toml:2:1", "quant.bits"},
      {"[quant]\nmethods = []", "x.toml:2:1", "quant.methods"},
      {"[quant]\nbits = []\nmethods = []", "x.toml:2:1", "quant.bits"},
      {"[quant]\nbits = [8, 1]", "x.toml:2:1", "quant.bits"},
      {"[quant]\nbits = [2, 4]\ngrid = \"ternary\"", "x.toml:2:1", "quant.bits"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 8\ngrid = \"seq\"", "x.toml:3:1", "row[0].bits"},
      {"[quant]\nmethods = [\"rtn\", \"rtn\"]", "x.toml:2:1", "quant.methods"},
      {"[quant]\nlayers = [{bits = 8}]", "x.toml:2:11", "quant.layers[0].pattern"},
      {"[quant]\nlayers = [{pattern = \"h.*\", bits = 1}]", "x.toml:2:29", "quant.layers[0].bits"},
      {"[[row]]\nbits = 8", "x.toml:1:3", "row[0].method"},
      {"[[row]]\nmethod = \"rtn\"", "x.toml:1:3", "row[0].bits"},
      {"[[row]]\nmethod = \"fp16\"\nbits = 8", "x.toml:3:1", "row[0].bits"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 8\n[[row]]\nmethod = \"rtn\"\nbits = 8", "x.toml:4:3",
       "row[1]"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\ngranularity = \"group\"", "x.toml:1:3",
       "row[0].group_size"},
      {"[[row]]\nmethod = \"rtn\"\nbits = 4\ngranularity = \"tensor\"\ngroup_size = 32",
       "x.toml:5:1", "row[0].group_size"},
      {"[[row]]\nmethod = \"fp16\"\ngrid = \"full\"", "x.toml:3:1", "row[0].grid"},
      {"[[row]]\nmethod = \"fp32\"\nlabel = \"base\"", "x.toml:3:1", "row[0].label"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const ErrorParts parts = check_error(c.text);
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.where == c.where);
    CHECK(parts.field == c.field);
  }
  CHECK_NOTHROW(validate(parse("[quant]\ngrid = \"seq\"\nbits = [1, 2]")));
  CHECK_NOTHROW(validate(parse("[[row]]\nmethod = \"rtn\"\nbits = 1\ngrid = \"seq\"")));
  CHECK_NOTHROW(validate(parse("[quant]\ngranularity = \"group\"\ngroup_size = 32")));
}

TEST_CASE("a value stands for a list of one, a group size for groups") {
  const ExperimentConfig config = parse(
      "seeds = 7\nrow = {method = \"gptq\", bits = 4, group_size = 16}\n[quant]\nbits = 4\n"
      "methods = \"rtn\"\ngroup_size = 32\nlayers = {pattern = \"h.0.*\", bits = 8}\n"
      "[activations]\nbits = 8\n");
  CHECK(config.seeds == std::vector<std::int64_t>{7});
  CHECK(config.quant.bits == std::vector<int>{4});
  CHECK(config.quant.methods == std::vector<std::string>{"rtn"});
  CHECK(config.quant.layers.size() == 1);
  CHECK(config.activations.bits == std::vector<int>{8});
  CHECK(config.quant.granularity == "group");
  REQUIRE(config.row.size() == 1);
  CHECK(config.row[0].granularity == "group");
  LoadedConfig loaded = parse_config("[quant]\ngroup_size = 32\n", "x.toml");
  apply_override(loaded, "quant.group_size=0");
  CHECK(loaded.config.quant.granularity == "channel");
  for (const char* text : {"[quant]\ngroup = 32", "[[row]]\ngroup = 32", "group = 32"}) {
    CHECK(parse_error(text).hint.find("group_size") != std::string::npos);
  }
}

TEST_CASE("a default follows the values it belongs to") {
  const auto train = [](std::string text) { return parse("[train]\n" + text).train; };
  CHECK_NOTHROW(validate(parse("[train]\nsteps = 1")));
  CHECK_NOTHROW(validate(parse("[train]\nlr = 1e-6")));
  CHECK(warmup_steps(train("steps = 50")) == 5);
  CHECK(warmup_steps(train("steps = 1")) == 0);
  CHECK(warmup_steps(train("")) == 100);
  CHECK(warmup_steps(train("steps = 1000000")) == 100);
  CHECK(warmup_steps(train("steps = 50\nwarmup = 20")) == 20);
  CHECK(last_lr(train("")) == 1e-4);
  CHECK(last_lr(train("lr = 0.1")) == 1e-4);
  CHECK(last_lr(train("lr = 5e-4")) == Approx(5e-5));
  CHECK(last_lr(train("min_lr = 0")) == 0);
}

TEST_CASE("methods are checked against the names that exist") {
  const std::vector<std::string> known = {"rtn", "gptq", "qat-ste"};
  const auto error = [&](std::string text) {
    return test::error_of([&] {
      const LoadedConfig loaded = parse_config(std::move(text), "x.toml");
      check_methods(loaded.config, known, loaded.origins);
    });
  };
  const ErrorParts parts = error("[quant]\nmethods = [\"rtn\", \"gptg\"]");
  CHECK(parts.where == "x.toml:2:1");
  CHECK(parts.hint.find("gptq") != std::string::npos);
  CHECK(
      error("[quant]\nmethods = []\n[[row]]\nmethod = \"fp16\"\n[[row]]\nmethod = \"qat\"").field ==
      "row[1].method");
}

TEST_CASE("overrides change one value, keep others, remember both") {
  LoadedConfig loaded = parse_config("[train]\nlr = 1e-3\nsteps = 9\n", "x.toml");
  apply_override(loaded, "train.lr=0.003");
  CHECK(loaded.config.train.lr == 0.003);
  CHECK(loaded.config.train.steps == 9);
  REQUIRE(loaded.overrides.size() == 1);
  CHECK(describe(loaded.overrides[0]) == "override  train.lr  0.001 -> 0.003");
  apply_override(loaded, "name=2024-run");
  CHECK(loaded.config.name == "2024-run");
  apply_override(loaded, "name='8'");
  CHECK(loaded.config.name == "8");
  apply_override(loaded, "quant.granularity = group");
  CHECK(loaded.config.quant.granularity == "group");
  apply_override(loaded, "quant.bits=8,4");
  CHECK(loaded.config.quant.bits == std::vector<int>{8, 4});
  apply_override(loaded, "quant.bits=[3]");
  CHECK(loaded.config.quant.bits == std::vector<int>{3});
  apply_override(loaded, "quant.methods=rtn, gptq");
  CHECK(loaded.config.quant.methods == std::vector<std::string>{"rtn", "gptq"});
  apply_override(loaded, "quant.layers=[{pattern='h.0.*', bits=8}]");
  CHECK(loaded.config.quant.layers.size() == 1);
  apply_override(loaded, "row=[{method='rtn', bits=4}]");
  apply_override(loaded, "row=[]");
  CHECK(loaded.config.row.empty());
}

TEST_CASE("a bad override is refused with the argument shown") {
  const ErrorParts parts = override_error("train.lr=fast");
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where == "command line");
  CHECK(parts.field == "train.lr");
  CHECK(parts.found == "string \"fast\"");
  CHECK(parts.excerpt.find("train.lr=") != std::string::npos);
  CHECK(override_error("train.stps=1").hint.find("train.steps") != std::string::npos);
  CHECK(override_error("steps=1").hint.find("train.steps") != std::string::npos);
  CHECK(override_error("trian.lr=1").hint.find("train.lr") != std::string::npos);
  CHECK(override_error("train=1").field == "train");
  CHECK(override_error("train.steps").field == "train.steps");
  CHECK(override_error("train.steps=").field == "train.steps");
  CHECK(override_error("train.steps=-1").found == "integer -1");
  CHECK(override_error("=1").fault == Fault::usage);
  CHECK(override_error("model.bias=yes").expected == "true or false");
  CHECK(override_error("quant.bits=8,x").where == "command line");
}

TEST_CASE("an error after overrides points at the override") {
  LoadedConfig loaded =
      parse_config("[model]\nn_head = 4\n[[row]]\nmethod = \"rtn\"\nbits = 8\n", "x.toml");
  apply_override(loaded, "model.n_head=5");
  const auto failure = [&] { validate(loaded.config, loaded.origins); };
  CHECK(test::error_of(failure).where == "command line");
  apply_override(loaded, "model.n_head=4");
  apply_override(loaded, "row=[{method='rtn'}]");
  CHECK(test::error_of(failure).where == "command line");
}

TEST_CASE("loading names the experiment after its file") {
  const TemporaryFile file("study.toml", "[data]\nkind = \"text\"\npath = \"../text/a.txt\"\n");
  const fs::path base = file.directory();
  const LoadedConfig loaded = load_config(file.path());
  CHECK(loaded.config.name == "study");
  CHECK(loaded.config.out == (base / "runs" / "study").string());
  CHECK(loaded.config.data.path == (base.parent_path() / "text/a.txt").string());
  const LoadedConfig moved =
      load_config(file.path(), {"out=here", "data.path=./b.txt", "name=other"});
  CHECK(moved.config.out == (fs::current_path() / "here").string());
  CHECK(moved.config.data.path == (fs::current_path() / "b.txt").string());
  CHECK(load_config(file.path(), {"data.kind=verbs", "data.path="}).config.data.path.empty());
  // The resolved text stands for itself wherever it lies; in a run's directory it stands for the run.
  const TemporaryFile copy("copy.toml", to_toml(loaded.config));
  CHECK(load_config(copy.path()).config == loaded.config);
  const TemporaryFile resolved("config.resolved.toml", to_toml(loaded.config));
  ExperimentConfig there = loaded.config;
  there.out = resolved.directory().string();
  CHECK(load_config(resolved.path()).config == there);
  CHECK(load_config(resolved.path(), {"out=here"}).config.out == moved.config.out);
}

TEST_CASE("a missing, huge or directory configuration is refused") {
  CHECK(test::error_of([] { load_config("/nonexistent/x.toml"); }).fault == Fault::io);
  CHECK(test::error_of([] { load_config("/tmp"); }).fault == Fault::io);
  const TemporaryFile file("big.toml", std::string((1 << 20) + 1, '\n'));
  CHECK(test::error_of([&] { load_config(file.path()); }).fault == Fault::usage);
}

TEST_CASE("quantization-aware steps are a number or the base's share") {
  ExperimentConfig config;
  config.train.steps = 4000;
  CHECK(qat_steps(config) == 400);
  config.qat.steps = 7;
  CHECK(qat_steps(config) == 7);
  config.qat.steps = 0;
  config.qat.fraction = 1e-9;
  CHECK(qat_steps(config) == 1);
}

TEST_CASE("every shipped configuration loads and prints back equal") {
  int found = 0;
  for (const auto& entry : fs::directory_iterator(test::source_dir() / "experiments")) {
    if (entry.path().extension() != ".toml") continue;
    ++found;
    INFO(entry.path().string());
    const LoadedConfig loaded = load_config(entry.path());
    CHECK(loaded.config.name == entry.path().stem().string());
    CHECK(parse(to_toml(loaded.config)) == loaded.config);
    CHECK_NOTHROW(check_methods(loaded.config, quant::method_names()));
  }
  CHECK(found >= 5);
}

}  // namespace config_test
