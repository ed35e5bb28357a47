// GSQ: another method's codes refined by learning, for every weight, which of the codes around it to
// take (GSQ, IST Austria 2026; the relaxation is that of Louizos et al. 2019, arXiv:1810.01875).
//
// A weight is a mixture of the levels of its code and the two next to it, w = s Σ p_k level_k with
// p = softmax(l / T) and s the scale of its unit. The logits l and the logarithms of the scales are
// learned by Lion (Chen et al. 2023, arXiv:2302.06675) while T falls from 1 to `temperature`, so that the
// mixtures become codes; the likeliest code is taken. What falls is KL(fp32 || quantized) of the
// next token over calibration text: no labels are read. Inputs are rounded as they will be.
//
// The logits begin as -kGsqSpread (k - u)², u the place of the fp32 weight in codes, moved to the nearest
// point of the cell of GPTQ's code: before a step the model is close to the one that was not rounded.
// Deviations: (a) the source's loss is the error of each layer's output, here it is the whole
// model's and all matrices are learned together; (b) the mixture is used as it is, without the noise
// of Gumbel's distribution: the temperature alone decides; (c) the start is kept if the refined model
// is no better on the calibration text.
#pragma once

#include <span>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct GsqOptions {
  int steps = 200;
  int windows = 8;
  double lr = 0.03;
  double scale_lr = 5e-4;
  double temperature = 0.05;
  bool operator==(const GsqOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps, {"steps", "updates of all codes", between(1, 1'000'000)});
    v(self.windows, {"windows", "contexts of calibration text per update", between(1, 65536)});
    v(self.lr, {"lr", "learning rate of the codes' logits, by Lion; falls to a tenth on a cosine",
                above(0)});
    v(self.scale_lr,
      {"scale_lr", "learning rate of the logarithms of the scales; falls as lr does", at_least(0)});
    v(self.temperature, {"temperature",
                         "temperature of the mixtures of codes at the end; it falls from 1",
                         {.low = 0, .high = 1, .low_open = true}});
  }
};

inline constexpr double kGsqSpread = 4;

extern const Method kGsq;

}  // namespace notch::quant
