// Checkpoints and model directories on disks that fail, at every call that touches one.
#include <algorithm>

#include "autograd/base/unsynced_writes.h"
#include "nn/checkpoint.h"
#include "nn/integrity.h"
#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"

namespace file_faults_test {

using namespace notch;
using namespace notch::nn;
using notch::test::TemporaryDirectory;

struct Run {
  std::vector<real> w, moments;

  explicit Run(int step) : w(5, static_cast<real>(step)), moments(3, static_cast<real>(-step)) {}
  std::vector<CheckpointPart> parts() {
    return {{"model.safetensors", {{"w", {5}, w}}},
            {"optimizer.safetensors", {{"m", {3}, moments}}}};
  }
  bool operator==(const Run&) const = default;
};

void save(const fs::path& root, int step) {
  Run run(step);
  save_checkpoint(root, step, run.parts(), Json::object().set("step", step), 1);
}

/// The step of the checkpoint that a run would go on from: whole, or the test fails.
std::int64_t resumed_step(const fs::path& root) {
  const LatestCheckpoint latest = latest_checkpoint(root);
  REQUIRE(latest.path);
  REQUIRE(latest.skipped.empty());
  Run run(99);
  load_checkpoint(*latest.path, run.parts());
  REQUIRE(run == Run(static_cast<int>(latest.step)));
  return latest.step;
}

std::size_t entries_in(const fs::path& dir) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir), {}));
}

TEST_CASE("a checkpoint that fails at any call leaves one to go on from") {
  const TemporaryDirectory dir;
  const fs::path root = dir / "ckpt";
  const auto reset = [&] {
    const UnsyncedWrites fast;
    fs::remove_all(root);
    save(root, 1);
  };
  reset();
  int failures = 0;
  test::sweep_failing_calls([&] { save(root, 2); },
                            [&](bool failed) {
                              failures += failed;
                              const std::int64_t step = resumed_step(root);
                              REQUIRE((step == 1 || step == 2));
                              if (!failed) REQUIRE(step == 2);
                              const UnsyncedWrites fast;
                              save(root, 3);  // the next one clears up
                              REQUIRE(entries_in(root) == 1);
                              reset();
                            });
  CHECK(failures > 50);
}

TEST_CASE("a checkpoint in a power failure leaves one to go on from") {
  const TemporaryDirectory dir;
  const fs::path root = dir / "ckpt";
  const auto reset = [&] {
    const UnsyncedWrites fast;
    fs::remove_all(root);
    save(root, 1);
  };
  reset();
  test::sweep_power_failures(
      dir.path(), [&] { save(root, 2); },
      [&] {
        const std::int64_t step = resumed_step(root);
        REQUIRE((step == 1 || step == 2));
        reset();
      });
}

TEST_CASE("a checkpoint that cannot be read is an error or passed over") {
  const TemporaryDirectory dir;
  save(dir / "ckpt", 1);
  Run run(99);
  test::sweep_failing_calls(
      [&] {
        run = Run(99);
        latest_checkpoint(dir / "ckpt");
        load_checkpoint(dir / "ckpt/step-000001", run.parts());
      },
      [&](bool failed) {
        if (!failed) REQUIRE(run == Run(1));
      });
}

TEST_CASE("a model directory that fails at any call is the old one or the new") {
  const TemporaryDirectory dir;
  const auto model = test::random_model(test::small());
  const auto write = [&](const fs::path& path) {
    DirectoryWriter writer(path);
    save_model(*model, writer.temporary());
    writer.commit();
  };
  write(dir / "m");
  test::sweep_failing_calls([&] { write(dir / "m"); },
                            [&](bool) {
                              REQUIRE_NOTHROW(require_intact(dir / "m"));
                              remove_stale_temporaries(dir.path(),
                                                       [](auto base) { return base == "m"; });
                              REQUIRE(entries_in(dir.path()) == 1);
                            });
}

}  // namespace file_faults_test
