// Gradient rows of served products: a matrix of integers or of a codebook has the gradient of its
// dequantized weights.
#include "quant/numbers/ranges.h"
#include "quant/serve/served_matrix.h"
#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"
#include "tests/quant/random_matrix.h"

namespace notch::quant::served_product_test {

using test::require_gradients;
using Vars = std::span<const Var>;

TEST_CASE("gradients of served products") {
  const std::int64_t N = 32, K = 64;
  const std::vector<real> w = test::normal_matrix(N * K, 1);
  for (const Spec& spec :
       {Spec{.bits = 8}, Spec{.bits = 4, .granularity = Granularity::group, .group_size = 32},
        Spec{.bits = 4, .grid = GridKind::nf4}}) {
    const Scales at = choose_scales(w, N, K, spec, RangeRule::absmax, "t").at;
    const ServedMatrix matrix(quantize(w, N, K, spec, at, "t"));
    require_gradients(
        {.op = "served_product",
         .what = name_of(spec),
         .inputs = {{{1, 2, K}}, {{N}}},
         .recipe = [&](Graph&, Vars in) { return served_product(in[0], in[1], matrix); }});
    require_gradients(
        {.op = "served_product",
         .what = name_of(spec) + " without bias",
         .inputs = {{{2, K}}},
         .recipe = [&](Graph&, Vars in) { return served_product(in[0], {}, matrix); }});
  }
}

}  // namespace notch::quant::served_product_test
