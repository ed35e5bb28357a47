#pragma once

#include "tests/lessons/expected.h"
#include "tests/lessons/related_inputs.h"

namespace notch::test {

// By hand. H = 1 + 4 J has the inverse 1 - 4/13 J, with J all ones. Errors e H eᵀ = 4 (Σ e)² + Σ e²:
// (0.1, 0.2, 0.3) gives 1.44 + 0.14, (0.1, 0.2, -0.7) gives 0.64 + 0.54; the second row
// (0.1, 0.3, 0.4) gives 2.56 + 0.26, and (0.1, 0.3, -0.6) 0.16 + 0.46. Compensated: 0.2 + 0.4/9, then
// 0.3 + 0.4/9 + 4/5 (0.2 + 0.4/9) = 0.54. The random layers: by triangular forms.
inline Table gptq() {
  Table t;
  t << near("near", 1.58, 1e-12) << near("diagonal", 9.0 / 13, 1e-12)
    << near("beside", -4.0 / 13, 1e-12) << near("trace.0", 0.1, 1e-12)
    << near("trace.1", 2.2 / 9, 1e-12) << near("trace.2", 0.54, 1e-12) << each("codes", {0, 0, 1})
    << near("error", 1.18, 1e-12) << each("engine.codes", {0, 0, 1, 0, 0, 1, 7, 0, 0})
    << near("engine.error", 1.18 + 0.62, 1e-5) << near("engine.near", 1.58 + 2.82, 1e-5)
    << each("right.codes", {0, 0, 1}) << each("A.codes", {0, 0, 0}) << each("B.codes", {0, 0, 0})
    << each("C.codes", {0, 0, 0}) << each("D.codes", {0, 0, 1});
  double ratio[5]{}, better[5]{};
  Rng rng(12);
  for (int n = 0; n < 200; ++n) {
    const RelatedInputs layer(rng);
    const auto X = layer.inputs(rng, 128);
    const TriangularGptq method(X);
    for (std::size_t v = 0; v < 5; ++v) {
      const double share = gptq_share(layer, method, "rABCD"[v], X);
      ratio[v] += share / 200, better[v] += share < 1;
    }
  }
  for (std::size_t v = 0; v < 5; ++v) {
    const std::string name = v == 0 ? "right" : std::string(1, "rABCD"[v]);
    t << near(name + ".ratio", ratio[v], 1e-6 * ratio[v]) << exactly(name + ".better", better[v]);
  }
  return t;
}

}  // namespace notch::test
