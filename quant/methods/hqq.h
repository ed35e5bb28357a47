// HQQ: half-quadratic quantization, which looks for the range that leaves few large errors instead
// of a small mean square; it reads no text.
//
// Minimises Σ |w - ŵ|ᵖ over a unit's weights with p < 1, by half-quadratic splitting: large errors e
// are split off, a least-squares fit takes the rest. Source: Badri and Shaji 2023
// (mobiusml.github.io/hqq_blog). From round-to-nearest's range, per iteration, with l = ŵ/s:
//   r = w/s - l      e = sign(r) max(0, |r| - |r|ᵖ⁻¹ / β)
//   s = s Σ (w/s - e) l / Σ l²      β = κ β
// until the error no longer falls or the iterations are used up.
// Deviations:
//   a) the source fits z = mean(q - (w/s - e)), a real number, and keeps s. Our zero points are codes,
//      and a whole number moves no level, only which weights are clipped. So the same split is solved
//      for s, and of z - 1, z and z + 1 the one with the least error follows;
//   b) errors are counted in steps, r as above, where the source's are weights. So a matrix and its
//      multiple are rounded alike; weights of 0.02 have no error that the source's β would split off;
//   c) units stop one by one, by the error that is minimised and not by the mean |w - ŵ|.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct HqqOptions {
  double p = 0.7;
  double beta = 10;
  double kappa = 1.01;
  int iterations = 20;
  bool operator==(const HqqOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.p, {"p",
               "errors to this power are summed: a small one leaves a few large errors",
               {.low = 0, .high = 1, .low_open = true}});
    v(self.beta, {"beta",
                  "weight of what the fit of a range leaves out: a large one leaves out more of "
                  "every error",
                  above(0)});
    v(self.kappa, {"kappa", "beta is multiplied by this after every iteration", at_least(1)});
    v(self.iterations, {"iterations", "fits of a range, at most", between(1, 1000)});
  }
};

/// Scales and zero points of w [rows, cols]. Parallel over units; errors as choose_scales'.
Scales half_quadratic_scales(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                             const Spec& spec, const HqqOptions& options, std::string_view where);

extern const Method kHqq;

}  // namespace notch::quant
