// A whole run on a disk that fails: an error with a place, and what is resumed ends as if nothing had
// been. $NOTCH_EVERY (tests/soak.sh faults) tries every call instead of one in two hundred.
#include "tests/base/failing_calls.h"
#include "tests/experiments/short_run.h"

namespace notch::experiments::run_faults_test {

TEST_CASE("a run whose disk fails at any call is resumed") {
  const test::ShortRun run;
  test::sweep_failing_calls([&] { run.run(); }, [&](bool) { run.go_on(); }, test::stride(199));
}

TEST_CASE("a run in a power failure is resumed to the same end") {
  const test::ShortRun run;
  test::sweep_power_failures(
      run.folder(), [&] { run.run(); }, [&] { run.go_on(); }, test::stride(199));
}

}  // namespace notch::experiments::run_faults_test
