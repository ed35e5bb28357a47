// The naive references by hand, and beside the fast quantizers.
#include "quant/methods/reference.h"

#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace notch::quant::reference_test {

using test::normal_matrix;

TEST_CASE("rounding to nearest by hand, and as the library rounds") {
  // max|w| = 0.7 and qmax = 7: a step of 0.1. -0.24 is nearest to -2 steps, 0.36 to 4.
  const std::vector<real> w{real(0.7), real(-0.24), real(0.36), 0};
  const reference::Rounded by_hand = reference::round_to_nearest(w, 4, 7);
  CHECK(by_hand.scales[0] == Approx(0.1));
  CHECK(by_hand.codes == reference::Codes{7, -2, 4, 0});
  CHECK(by_hand.values[1] == Approx(-0.2));
  for (const std::int64_t unit : {32, 8}) {
    const Spec spec{.bits = 4,
                    .granularity = unit == 32 ? Granularity::channel : Granularity::group,
                    .group_size = unit == 32 ? 0 : unit};
    const std::vector<real> matrix = normal_matrix(16 * 32, 5);
    const Scales at = choose_scales(matrix, 16, 32, spec, RangeRule::absmax, "t").at;
    const reference::Rounded naive = reference::round_to_nearest(matrix, unit, 7);
    CHECK(naive.scales == at.scales);
    CHECK(naive.codes == quantize(matrix, 16, 32, spec, at, "t").codes);
  }
}

TEST_CASE("a correlated column makes up for the rounding of another") {
  // Two inputs that are always equal: H is all ones, and with damping close to 0 the second weight
  // takes over what rounding the first has lost. 1 and 0.4 in steps of 1: 0.4 alone becomes 0; the
  // sum of 1.4 + 0.4 is 2 nearest, 1 + 1.
  const std::vector<real> w{real(1.4), real(0.4), 7};
  const reference::Values H{1, 1, 0, 1, 1, 0, 0, 0, 1};
  const std::vector<Index> order{0, 1, 2};
  CHECK(reference::gptq(w, 1, 3, 3, 7, H, 1e-6, order) == reference::Codes{1, 1, 7});
  CHECK(reference::round_to_nearest(w, 3, 7).codes == reference::Codes{1, 0, 7});
}

TEST_CASE("slopes of STE and LSQ at the paper's worked example") {
  // s = 0.1, codes -8 to 7, v = 3.7, 9.5, -12, 0.4: dŵ/ds = 4 - 3.7, 7, -8, 0 - 0.4.
  const real s = real(0.1);
  CHECK(reference::lsq_step_slope(real(0.37), s, -8, 7) == Approx(0.3).epsilon(1e-5));
  CHECK(reference::lsq_step_slope(real(0.95), s, -8, 7) == 7);
  CHECK(reference::lsq_step_slope(real(-1.2), s, -8, 7) == -8);
  CHECK(reference::lsq_step_slope(real(0.04), s, -8, 7) == Approx(-0.4).epsilon(1e-5));
  CHECK(reference::ste_slope(real(0.37), s, -8, 7) == 1);
  CHECK(reference::ste_slope(real(0.95), s, -8, 7) == 0);
}

}  // namespace notch::quant::reference_test
