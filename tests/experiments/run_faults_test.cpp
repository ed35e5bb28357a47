// A whole run on a disk that fails: an error with a place, and what is resumed ends as if nothing had
// been. $NOTCH_EVERY (tests/soak.sh faults) tries every call instead of one in a hundred.
#include <cstdlib>

#include "autograd/base/unsynced_writes.h"
#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments {
namespace {

ExperimentConfig short_run() {
  ExperimentConfig c = test::tiny_experiment();
  c.seeds = {1};
  c.model.n_embd = 8;
  c.model.block_size = 16;
  c.data.task_examples = 0;
  c.train.steps = 6;
  c.train.batch_size = 2;
  c.train.checkpoint_every = 2;
  c.quant.bits = {4};
  c.quant.methods = {"rtn", "qat-ste"};
  c.calib.windows = 2;
  return c;
}

long stride() { return std::getenv("NOTCH_EVERY") ? 1 : 101; }

void no_temporaries(const fs::path& path) {
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    CAPTURE(entry.path().string());
    REQUIRE(entry.path().string().find(".tmp-") == std::string::npos);
  }
}

struct Faults {
  test::TemporaryDirectory directory{};
  ExperimentConfig config = short_run();
  Data data = load_data(config, {});
  fs::path path = directory / "run";
  std::string expected{};

  Faults() {
    const UnsyncedWrites fast;
    expected = results_hash(test::run_all(config, data, directory / "whole", Earlier::refuse));
  }
  void run() const {
    const bool begun = fs::exists(path / "config.resolved.toml");
    const std::string hash =
        results_hash(test::run_all(config, data, path, begun ? Earlier::resume : Earlier::replace));
    REQUIRE(hash == expected);
  }
  /// The next start, on a disk that works.
  void go_on() const {
    const UnsyncedWrites fast;
    run();
    no_temporaries(path);
    fs::remove_all(path);
  }
};

TEST_CASE("a run whose disk fails at any call is resumed") {
  const Faults faults;
  test::sweep_failing_calls([&] { faults.run(); }, [&](bool) { faults.go_on(); }, stride());
}

TEST_CASE("a run in a power failure is resumed to the same end") {
  const Faults faults;
  test::sweep_power_failures(
      faults.directory.path(), [&] { faults.run(); }, [&] { faults.go_on(); }, stride());
}

}  // namespace
}  // namespace notch::experiments
