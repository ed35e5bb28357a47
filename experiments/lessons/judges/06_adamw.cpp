#include "autograd/base/error.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_adamw(Judge& judge,
                 void (*step)(double& w, AdamState& state, double g, double lr, double decay)) {
  // Algorithm 2 of Loshchilov and Hutter 2019, worked out with 40 decimal digits.
  const Vector gradients = {0.5, -0.2, 0.1};
  const Vector m = {0.05, 0.025, 0.0325}, v = {0.00025, 0.00028975, 0.00029946025};
  const Vector w = {0.89000000199999996, 0.84653941809651059, 0.80013484663473303};
  double at = 1;
  AdamState state;
  for (std::size_t i = 0; i < 3; ++i) {
    step(at, state, gradients[i], 0.1, 0.1);
    const std::string when = str(" after step ", i + 1, " (gradients 0.5, -0.2, 0.1)");
    judge.equal("m" + when, state.m, m[i], 1e-12, "m = β1 m + (1 - β1) g");
    judge.equal("v" + when, state.v, v[i], 1e-12, "v = β2 v + (1 - β2) g g");
    judge.equal("w" + when, at, w[i], 1e-12,
                i == 0 ? "m_hat = m / (1 - β1^t), v_hat = v / (1 - β2^t) with t = 1"
                       : "t counts steps; the decay is of w as it was before the step");
  }
  double still = 1;
  AdamState fresh;
  step(still, fresh, 0, 0.1, 0.1);
  judge.equal("w = 1 after a step with gradient 0", still, 0.99, 1e-12,
              "the decay is not part of g: it must not go through m and v");
}

}  // namespace notch::lessons
