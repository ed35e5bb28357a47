// The dry pass over every row: what it refuses, what it lets through, and that it leaves no trace.
#include "experiments/run/dry_run.h"

#include <stdlib.h>

#include <cmath>

#include "autograd/base/temporaries.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::dry_run_test {

using test::error_of;
using test::run_all;
using test::tiny_experiment;

/// A folder in the place of /tmp.
class TemporaryRoot {
 public:
  TemporaryRoot() {
    if (const char* before = ::getenv("TMPDIR")) before_ = before;
    ::setenv("TMPDIR", directory_.path().c_str(), 1);
  }
  ~TemporaryRoot() {
    before_.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before_.c_str(), 1);
  }
  bool empty() const { return fs::is_empty(directory_.path()); }

 private:
  std::string before_{};
  test::TemporaryDirectory directory_{};
};

ExperimentConfig small_table() {
  ExperimentConfig c = tiny_experiment();
  c.seeds = {1};
  c.train.steps = 30;
  c.quant.methods = {"rtn", "gptq", "qat-ste", "qat-lsq-kd"};
  c.quant.bits = {4};
  return c;
}

LoadedConfig load(const std::vector<std::string>& settings) {
  LoadedConfig loaded{.config = small_table()};
  for (const std::string& setting : settings) apply_override(loaded, setting);
  validate(loaded.config, loaded.origins);
  return loaded;
}

void try_out(const LoadedConfig& loaded) {
  const Data data = load_data(loaded.config, {});
  check_rows(loaded.config, data.source.tokenizer.vocab_size(), loaded.origins);
  dry_run(loaded.config, data, loaded.origins);
}

TEST_CASE("a dry run leaves nothing behind and moves no number") {
  ExperimentConfig config = small_table();
  config.model.dropout = 0.1;
  const Data data = load_data(config, {});
  const test::TemporaryDirectory directory;
  const auto run = [&](const char* name) {
    return results_hash(run_all(config, data, directory / name, Earlier::refuse));
  };
  const std::string without = run("without");
  {
    const TemporaryRoot root;
    dry_run(config, data);
    CHECK(root.empty());
  }
  CHECK(run("with") == without);
}

TEST_CASE("values that only a row can tell are refused at their line") {
  struct Case {
    std::vector<std::string> settings;
    const char *key, *row;
  };
  const Case bad = GENERATE(
      Case{{"model.block_size=16"}, "model.block_size", "label"},
      // A gradient that no float holds, in the second step.
      Case{{"quant.methods=rtn,qat-ste", "qat.dampen=1e40"}, "quant.methods", "row qat-ste-int4 "},
      Case{{"row=[{method=\"rtn\", bits=8}, {method=\"qat-ste\", bits=4, "
            "label=\"high\", set=[\"qat.dampen=1e40\"]}]"},
           "row[1]",
           "row high-int4 "});
  CAPTURE(bad.key, bad.row);
  const LoadedConfig loaded = load(bad.settings);
  const TemporaryRoot root;
  const ErrorParts parts = error_of([&] { try_out(loaded); });
  CAPTURE(parts.what);
  CHECK(parts.fault ==
        (bad.key == std::string("model.block_size") ? Fault::usage : Fault::numeric));
  CHECK(parts.field == bad.key);
  CHECK(parts.what.find(bad.row) != std::string::npos);
  CHECK_FALSE(parts.hint.empty());
  CHECK(root.empty());
  // It is not the dry run that cannot do it.
  const Data data = load_data(loaded.config, {});
  const test::TemporaryDirectory directory;
  CHECK_THROWS_AS(run_all(loaded.config, data, directory / "run", Earlier::refuse), Error);
}

TEST_CASE("values that fit no layer are refused at their line") {
  struct Case {
    std::vector<std::string> settings;
    const char *key, *what;
  };
  const Case bad = GENERATE(
      Case{
          {"quant.grid=asymmetric", "quant.methods=qat-lsq", "qat.from=fp32", "qat.lsq_init=paper"},
          "qat.lsq_init",
          "zero points"},
      Case{{"quant.layers=[{pattern=\"*\", bits=8}, {pattern=\"h.7.*\", bits=8}]"},
           "quant.layers[1]",
           "h.7.*"},
      Case{{"quant.layers=[{pattern=\"*\", bits=0}]"}, "quant.layers", "nothing"},
      Case{{"activations.bits=8", "activations.asymmetric=[\"h.9.*\"]"},
           "activations.asymmetric[0]",
           "h.9.*"});
  CAPTURE(bad.key);
  const LoadedConfig loaded = load(bad.settings);
  const ErrorParts parts = error_of([&] { try_out(loaded); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where == "command line");
  CHECK(parts.field == bad.key);
  CHECK(parts.what.find(bad.what) != std::string::npos);
  CHECK_FALSE(parts.hint.empty());
}

TEST_CASE("a folder for temporary files that is not there is named") {
  const LoadedConfig loaded = load({});
  const TemporaryRoot root;
  ::setenv("TMPDIR", "/no/such/folder", 1);
  const ErrorParts parts = error_of([&] { try_out(loaded); });
  CHECK(parts.fault == Fault::io);
  CHECK(parts.where == "TMPDIR=/no/such/folder");
  CHECK_FALSE(parts.hint.empty());
}

TEST_CASE("task letters that the text lacks are refused at start") {
  const LoadedConfig loaded = load({});
  Data data = load_data(loaded.config, {});
  data.task.back().prompt += "\x01";
  const ErrorParts parts = error_of([&] { dry_run(loaded.config, data, loaded.origins); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.field == "data.task_examples");
}

TEST_CASE("two steps of a narrow model do all that a long run does") {
  const auto settings = GENERATE(
      std::vector<std::string>{}, std::vector<std::string>{"train.lr=50", "train.min_lr=50"},
      std::vector<std::string>{"gptq.damp=0", "calib.windows=100"},
      std::vector<std::string>{"qat.start=0.95", "qat.from=scratch"},
      std::vector<std::string>{"qat.start=0.99"},
      std::vector<std::string>{"qat.from=gptq", "qat.batch_size=7", "train.grad_accum=3"},
      std::vector<std::string>{"model.n_embd=96", "model.n_head=3", "quant.granularity=group",
                               "quant.group_size=48"},
      std::vector<std::string>{"model.n_embd=26", "model.n_head=13", "model.n_layer=3",
                               "quant.methods=rtn,qat-ste",
                               "quant.layers=[{pattern=\"h.2.*\", bits=8}]"},
      std::vector<std::string>{"model.block_size=1", "data.task_examples=0"},
      std::vector<std::string>{"data.tokenizer=bpe", "data.bpe_vocab=700"},
      std::vector<std::string>{"row=[{method=\"fp32\"}]", "quant.control=false"},
      std::vector<std::string>{"activations.bits=8", "activations.range=static",
                               "activations.observer=entropy", "calib.source=self"},
      std::vector<std::string>{"quant.bits=1,2", "quant.grid=seq", "quant.embedding=same"});
  std::string all;
  for (const std::string& setting : settings) all += setting + "  ";
  CAPTURE(all);
  CHECK_NOTHROW(try_out(load(settings)));
}

TEST_CASE("a dry run that is stopped leaves nothing behind") {
  const test::Program program;
  // An interrupt is ignored by what a shell starts in the background.
  for (const std::string signals : {"-TERM $pid", "-TERM $pid; kill -TERM $pid"}) {
    CAPTURE(signals);
    const test::Outcome stopped = program.shell(
        "mkdir tmp; TMPDIR=$PWD/tmp; export TMPDIR; "
        "exec \"$NOTCH\" run tiny.toml train.steps=2000 quant.bits=8,7,6,5,4,3,2 "
        "quant.methods=gptq,qat-ste,qat-lsq quant.control=true --out stopped -q & pid=$!; "
        "until ls -d tmp/notch-dry-run* >ls.log 2>&1; do kill -0 $pid 2>kill.log || break; done; "
        "kill " +
        signals + "; wait $pid; code=$?; ls tmp; rm -r tmp stopped 2>rm.log; exit $code");
    CAPTURE(stopped.err);
    CHECK(stopped.code == 143);
    CHECK(stopped.out.empty());
  }
}

TEST_CASE("what killed dry runs left goes with the next") {
  const test::Program program;
  const test::Outcome outcome = program.shell(
      "mkdir tmp; TMPDIR=$PWD/tmp; export TMPDIR; sleep 1000 & dead=$!; kill -9 $dead; wait $dead; "
      "name=tmp/notch-dry-run.tmp-" +
      temporary_host() +
      "; mkdir -p $name-$dead/run $name-$$/run; notch run tiny.toml -q >run.log; code=$?; "
      "rm -r $name-$$; ls tmp; exit $code");
  CAPTURE(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(outcome.out.empty());
}

TEST_CASE("the program refuses a bad row at once and runs it mended") {
  const test::Program program;
  program.write("late.toml", R"(out = "late"
[data]
sentences = 300
task_examples = 5
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[train]
steps = 3
warmup = 0
[quant]
bits = [4]
methods = ["rtn"]
control = false
)");
  const auto before = program.entries();
  const test::Outcome refused = program.notch("run late.toml");
  check_refused(refused, 2);
  CHECK(refused.err.find("late.toml:9") != std::string::npos);
  CHECK(program.entries() == before);
  const test::Outcome mended = program.notch("run late.toml data.task_examples=0 -q");
  CAPTURE(mended.err);
  CHECK(mended.code == 0);
}

}  // namespace notch::experiments::dry_run_test
