// LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): channels of the input that reach far are
// multiplied in 16 bits, the rest in integers.
//
//   y = x' ŵᵀ + x[O] w[:, O]ᵀ,   O = {j : max |x_j| >= threshold},   x' = x without the channels O
// The integers' ranges do not see O, neither in the inputs nor in the weights; everything else is
// round-to-nearest, per token and per row with 8-bit activations as in the paper.
// Deviations: (a) O is found once, on calibration text, not for every batch: the weights w[:, O] can
// then be stored, as float16 beside the codes, instead of a second copy of all of them; (b) x[O] is
// multiplied in float32 by weights that are rounded to float16.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct LlmInt8Options {
  double threshold = 6;
  bool operator==(const LlmInt8Options&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.threshold,
      {"threshold", "channels of an input that reach it stay in floating point", above(0)});
  }
};

/// O, ascending.
std::vector<std::int32_t> outlier_channels(std::span<const real> largest, double threshold);

extern const Method kLlmInt8;

}  // namespace notch::quant
