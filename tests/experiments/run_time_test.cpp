// What is left of a run, from the rows that were made.
#include "experiments/run/run_time.h"

#include "experiments/config/config.h"
#include "experiments/run/row_facts.h"
#include "tests/catch.h"

using namespace notch;
using namespace notch::experiments;

namespace {

/// Two seeds of fp32, its control, and rtn and qat-ste at two widths.
ExperimentConfig example() {
  ExperimentConfig config;
  config.seeds = {1, 2};
  config.train.steps = 1000;
  config.qat.steps = 100;
  config.quant.bits = {8, 4};
  config.quant.methods = {"rtn", "qat-ste"};
  return config;
}

/// What it takes, in seconds: fp32 100, a control 10, a trained row 14, the rest 1.
double cost(const RowResult& r) {
  if (r.name == kBaseRow) return 100;
  if (r.granularity.empty()) return 10;
  return r.trained ? 14 : 1;
}

}  // namespace

TEST_CASE("the time left is near the truth after a row, then exact") {
  const ExperimentConfig config = example();
  const std::vector<RowResult> rows = planned_results(config);
  double all = 0;
  for (const RowResult& r : rows) all += 2 * cost(r);
  RunTime time(config);
  double spent = 0;
  int row = 0;
  for (int seed = 0; seed < 2; ++seed) {
    for (const RowResult& r : rows) {
      const RunLeft left = time.begin(r.name);
      CAPTURE(seed, r.name);
      CHECK(left.row == ++row);
      CHECK(left.rows == 2 * static_cast<int>(rows.size()));
      const double truth = all - spent - cost(r);
      if (row == 1) {
        CHECK(left.seconds == 0);  // in steps, which took a tenth of a second each
        CHECK(0.1 * left.steps == Approx(truth).epsilon(0.2));
      } else if (seed == 0) {
        CHECK(left.steps == 0);
        CHECK(left.seconds == Approx(truth).epsilon(0.2));
      } else {
        CHECK(left.seconds == Approx(truth).margin(1e-9));
      }
      time.end(r.name, cost(r));
      spent += cost(r);
    }
  }
}

TEST_CASE("rows that were found done count as made") {
  const ExperimentConfig config = example();
  RunTime time(config);
  time.end(kBaseRow, 100);
  const RunLeft left = time.begin(kControlRow);
  CHECK(left.row == 2);
  CHECK(left.steps == 0);
  CHECK(left.seconds > 100);  // the other seed's fp32
}
