// The self-test of `notch doctor`, with more products than the command has time for.
#include "quant/kernels/self_test.h"

#include <algorithm>

#include "quant/kernels/integer_linear.h"
#include "quant/kernels/packed.h"
#include "tests/catch.h"

namespace self_test_test {

using namespace notch::quant;

TEST_CASE("every kernel equals the portable one on random products") {
  const std::vector<KernelTrial> trials = try_kernels(400, 7);
  for (const KernelTrial& t : trials) {
    INFO(t.kernel << ": " << t.difference);
    CHECK(t.products >= 400);
    CHECK(t.difference.empty());
  }
  const auto has = [&](const char* name) {
    return std::ranges::find(trials, name, &KernelTrial::kernel) != trials.end();
  };
  CHECK(has("rounding of activations"));
  CHECK(has("integer avx2") == available(IntegerKernel::avx2));
  CHECK(has("narrow avx512_vnni") == available(IntegerKernel::avx512_vnni));
  CHECK(has("integer amx") == available(IntegerKernel::amx));
  CHECK(has("lanes avx512") == (notch::best_isa() == notch::Isa::avx512));
  CHECK_FALSE(has("integer portable"));  // it is what the others are compared with
}

}  // namespace self_test_test
