// A short run that something happens to, again and again: what it must end as, and the next start.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "autograd/base/unsynced_writes.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::test {

/// $NOTCH_EVERY (tests/soak.sh faults and calls) tries every place instead of one in so many.
inline long stride(long n) { return std::getenv("NOTCH_EVERY") ? 1 : n; }

inline ExperimentConfig short_experiment() {
  ExperimentConfig c = tiny_experiment();
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

/// Every file and directory below, by its place.
inline std::vector<std::string> entries_below(const fs::path& root) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    names.push_back(entry.path().lexically_relative(root).string());
  std::ranges::sort(names);
  return names;
}

class ShortRun {
 public:
  explicit ShortRun(ExperimentConfig config = short_experiment())
      : config_(std::move(config)), data_(load_data(config_, {})) {
    const UnsyncedWrites fast;
    const fs::path whole = folder_ / "run";
    expected_ = results_hash(run_all(config_, data_, whole, Earlier::refuse));
    left_ = entries_below(folder_.path());
    fs::remove_all(whole);
  }
  const fs::path& folder() const { return folder_.path(); }
  fs::path path() const { return folder_ / "run"; }

  /// Begins, or goes on where an earlier start ended. The hash is that of the undisturbed run.
  void run() const {
    const bool begun = fs::exists(path() / "config.resolved.toml");
    const std::string hash =
        results_hash(run_all(config_, data_, path(), begun ? Earlier::resume : Earlier::replace));
    REQUIRE(hash == expected_);
  }
  /// The next start, that nothing happens to: what it leaves, and that alone.
  void go_on() const {
    const UnsyncedWrites fast;
    run();
    REQUIRE(entries_below(folder()) == left_);
    fs::remove_all(path());
  }

 private:
  TemporaryDirectory folder_{};
  ExperimentConfig config_;
  Data data_;
  std::string expected_{};
  std::vector<std::string> left_{};
};

}  // namespace notch::test
