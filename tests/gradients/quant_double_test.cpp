// The quantizers with real = double: the same sources, so ties fall where real numbers say, and
// scales keep all their digits whatever type they would be stored in.
#include "quant/numbers/qtensor.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"

namespace quant_double_test {

using namespace notch;
using namespace notch::quant;

using Codes = std::vector<std::int8_t>;

QTensor absmax(const std::vector<real>& w, std::int64_t rows, std::int64_t cols, const Spec& spec) {
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "t").at, "t");
}

TEST_CASE("in double 0.01 / (0.02/127) is a tie and rounds to 64") {
  CHECK(absmax({0.01, -0.02, 0.015, -0.005}, 1, 4, {}).codes == Codes{64, -127, 95, -32});
}

TEST_CASE("in double 0.15 / 0.3 is a tie and rounds to 0") {
  const std::vector<real> w{0.1, 0.2, 0.15, 0.12, 2.0, -1.8, 1.5, -2.1};
  CHECK(absmax(w, 1, 8, {.bits = 4}).codes == Codes{0, 1, 0, 0, 7, -6, 5, -7});
}

TEST_CASE("in double the stored type does not round scales") {
  CHECK(round_scale(0.1, ScaleType::f16) == 0.1);
  CHECK(round_scale(0.1, ScaleType::bf16) == 0.1);
  CHECK(round_scale(0.0, ScaleType::f16) > 0);
}

}  // namespace quant_double_test
