#include "quant/methods/adaround.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/elementary.h"
#include "autograd/base/index.h"
#include "autograd/ops.h"
#include "quant/methods/learned_rounding.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/methods/update_rules.h"

namespace notch::quant {
namespace {

constexpr double kStretch = 1.2, kShift = -0.1;  // ζ - γ, γ of eq. 23

double rectified(double v) {
  return std::clamp(kStretch / (1 + elementary::exp(-v)) + kShift, 0.0, 1.0);
}

class UpOrDown final : public LearnedRounding {
 public:
  UpOrDown(const Target& target, std::span<const real> w, const QTensor& q, ParamStore& store,
           const AdaRoundOptions& options)
      : w_(w),
        q_(q),
        options_(options),
        place_(&store.add(target.name + ".V", {q.rows, q.cols})),
        adam_(*place_) {}

  void begin() override {
    const Grid grid = grid_of(q_.spec);
    const Index unit = unit_size(q_.spec, q_.rows, q_.cols);
    below_.resize(w_.size());
    base_.resize(w_.size());
    gap_.resize(w_.size());
    for_numbers(*place_, [&](Index i) {
      const std::size_t u = at(i / unit);
      const int z = q_.at.zero_points.empty() ? 0 : q_.at.zero_points[u];
      const real s = q_.at.scales[u], v = w_[at(i)] / s;
      // The nearest code's level is on one side of v; the other one is a neighbour's.
      int code = q_.codes[at(i)];
      if (grid.level(code, z) > v && code > grid.qmin) code -= grid.step;
      const int above = std::min(code + grid.step, grid.qmax);
      const real lo = grid.level(code, z), hi = grid.level(above, z);
      below_[at(i)] = static_cast<std::int8_t>(code);
      base_[at(i)] = lo * s;
      gap_[at(i)] = (hi - lo) * s;
      const double share =
          hi > lo ? std::clamp(static_cast<double>((v - lo) / (hi - lo)), 0.0, 1.0) : 0;
      const double sigma = std::clamp((share - kShift) / kStretch, 1e-4, 1 - 1e-4);
      place_->value.data[i] = static_cast<real>(elementary::log(sigma / (1 - sigma)));
    });
  }

  Var weights(Graph& g) override {
    const auto constant = [&](std::vector<real>& v) {
      return g.constant({v.data(), {q_.rows, q_.cols}}, "levels");
    };
    shift_.assign(at(q_.cols), static_cast<real>(kShift));
    one_.assign(at(q_.cols), 1);
    const Var stretched = scale(sigmoid(g.param(*place_)), kStretch);
    const Var moved = add(stretched, g.constant({shift_.data(), {q_.cols}}, "shift"));
    const Var above = relu(sub(moved, g.constant({one_.data(), {q_.cols}}, "one")));
    return add(constant(base_), mul(sub(relu(moved), above), constant(gap_)));
  }

  void step(double done, double) override {
    if (done >= kAdaRoundWarmStart) {
      const double share = (done - kAdaRoundWarmStart) / (1 - kAdaRoundWarmStart);
      add_penalty(kAdaRoundFirstBeta + share * (kAdaRoundLastBeta - kAdaRoundFirstBeta));
    }
    adam_.step(options_.lr);
  }

  QTensor settled() const override {
    QTensor q = q_;
    const Grid grid = grid_of(q.spec);
    for (std::size_t i = 0; i < q.codes.size(); ++i) {
      const bool up = rectified(static_cast<double>(place_->value.data[i])) >= 0.5;
      const int code = below_[i] + (up ? grid.step : 0);
      q.codes[i] = static_cast<std::int8_t>(std::min(code, grid.qmax));
    }
    return q;
  }

 private:
  /// d/dV of λ mean(1 - |2h - 1|^β).
  void add_penalty(double beta) {
    const double weight = options_.lambda / static_cast<double>(w_.size());
    for_numbers(*place_, [&](Index i) {
      const double v = static_cast<double>(place_->value.data[i]), h = rectified(v);
      if (h <= 0 || h >= 1) return;
      const double sigma = 1 / (1 + elementary::exp(-v)), u = 2 * h - 1;
      const double slope = -beta * elementary::pow(std::fabs(u), beta - 1) * std::copysign(2.0, u);
      place_->grad.data[i] += static_cast<real>(weight * slope * kStretch * sigma * (1 - sigma));
    });
  }

  std::span<const real> w_;
  QTensor q_;
  const AdaRoundOptions& options_;
  Param* place_;
  Adam adam_;
  std::vector<std::int8_t> below_;
  std::vector<real> base_, gap_, shift_, one_;
};

}  // namespace

constinit const Method kAdaRound{
    .name = "adaround",
    .source = "Nagel et al. 2020",
    .needs = {.text = true},
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::mse)};
    },
    .refine =
        [](const Refinement& work, const PostTrainingOptions& options) {
          learn_by<UpOrDown>(work, options.adaround);
        },
    .section = "adaround",
    .layer_figures = kLearnedLayerFigures,
    .row_figures = kLearnedRowFigures};

}  // namespace notch::quant
