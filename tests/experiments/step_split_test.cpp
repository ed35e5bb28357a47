// The split of a step: blocks merged, parts that add up, quantizer told from the rest.
#include "experiments/run/step_split.h"

#include "tests/catch.h"

namespace step_split_test {

using namespace notch;
using namespace notch::experiments;

using Pass = Profile::Pass;

/// Two steps of 0.1 s each; the rows below take 0.13 s of them.
Profile two_steps() {
  Profile p;
  p.add("linear", "h.0.mlp.c_fc", Pass::forward, 0.010);
  p.add("linear", "h.11.mlp.c_fc", Pass::forward, 0.020);
  p.add("fake_quant_ste", "h.0.mlp.c_fc", Pass::forward, 0.002);
  p.add("add", "h.0", Pass::forward, 0.004);
  p.add("linear", "h.11.mlp.c_fc", Pass::backward, 0.060);
  p.add("fake_quant_ste", "h.0.mlp.c_fc", Pass::backward, 0.004);
  p.add("add", "h.0", Pass::backward, 0.010);
  p.add("update", {}, Pass::optimizer, 0.020);
  p.add_step(0.08);
  p.add_step(0.12);
  return p;
}

TEST_CASE("a split is in milliseconds per step with blocks merged") {
  const StepSplit split = step_split(two_steps());
  REQUIRE(split.ops.size() == 4);
  CHECK(split.ops[0].op == "linear");
  CHECK(split.ops[0].layer == "mlp.c_fc");
  CHECK(split.ops[0].forward == Approx(15));
  CHECK(split.ops[0].backward == Approx(30));
  CHECK(split.ops[1].quantizer());
  CHECK(split.ops[2].op == "add");
  CHECK(split.ops[2].layer.empty());
  CHECK(split.ops[3].optimizer == Approx(10));
}

TEST_CASE("the parts of a split and its ops add up to the step") {
  const StepSplit split = step_split(two_steps());
  CHECK(split.total == Approx(100));
  CHECK(split.forward == Approx(17));
  CHECK(split.backward == Approx(35));
  CHECK(split.quantizer == Approx(3));
  CHECK(split.optimizer == Approx(10));
  CHECK(split.other == Approx(35));
  double ops = split.other;
  for (const OpTime& op : split.ops) ops += op.total();
  CHECK(ops == Approx(split.total));
}

TEST_CASE("a split's table ends in the unclaimed and the whole step") {
  const Table table = split_table({{.split = step_split(two_steps())}}).without_empty_columns();
  REQUIRE(table.rows().size() == 6);
  CHECK(table.columns()[0].key == "op");  // neither shape nor recipe: not shown
  CHECK(std::get<std::string>(table.rows()[4][0]) == "other");
  CHECK(std::get<std::string>(table.rows()[5][0]) == "step");
}

TEST_CASE("rounding is told from products of rounded numbers") {
  CHECK(OpTime{.op = "fake_quant_lsq"}.quantizer());
  CHECK(OpTime{.op = "quantize_input"}.quantizer());
  CHECK_FALSE(OpTime{.op = "quantized_linear"}.quantizer());
  CHECK_FALSE(OpTime{.op = "linear"}.quantizer());
}

TEST_CASE("a profile without a step has no split") {
  CHECK(test::error_of([] { step_split(Profile{}); }).where == "profile");
}

}  // namespace step_split_test
