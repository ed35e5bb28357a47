#include "quant/methods/block_ap.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/base/elementary.h"
#include "quant/methods/learned_rounding.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/methods/update_rules.h"
#include "quant/ops/fake_quant.h"

namespace notch::quant {
namespace {

class Trained final : public LearnedRounding {
 public:
  Trained(const Target& target, std::span<const real> w, const QTensor& q, ParamStore& store,
          const BlockApOptions& options)
      : q_(q),
        w_(w),
        name_(target.name),
        options_(options),
        zeros_(q.at.zero_points.begin(), q.at.zero_points.end()),
        weights_(&store.add(target.name + ".w", {q.rows, q.cols})),
        log_scales_(&store.add(target.name + ".log_s", {std::ssize(q.at.scales)})),
        best_({weights_, log_scales_}) {}

  void begin() override {
    std::ranges::copy(w_, weights_->value.data);
    of_weights_.emplace(*weights_);
    of_scales_.emplace(*log_scales_);
    best_.keep();
  }

  Var weights(Graph& g) override {
    const Var w = g.param(*weights_);
    const Var log_scales = g.param(*log_scales_);
    return fake_quant_lsq(w, log_scales, q_.at.scales, q_.spec, Ste::clipped, nullptr, zeros_);
  }

  void step(double done, double loss) override {
    best_.see(loss);
    const double rate = (1 + elementary::cos(std::numbers::pi * done)) / 2;
    of_weights_->step(rate * options_.lr);
    of_scales_->step(rate * options_.scale_lr);
  }

  QTensor settled() const override {
    const std::span<const real> log_scales = best_.of(1);
    Scales at = q_.at;
    for (std::size_t u = 0; u < at.scales.size(); ++u)
      at.scales[u] = lsq_step(at.scales[u], log_scales[u], q_.spec.scale);
    return quantize(best_.of(0), q_.rows, q_.cols, q_.spec, std::move(at), name_);
  }

 private:
  QTensor q_;
  std::span<const real> w_;
  std::string name_;
  const BlockApOptions& options_;
  std::vector<real> zeros_;
  Param *weights_, *log_scales_;
  BestValues best_;
  std::optional<Adam> of_weights_, of_scales_;
};

}  // namespace

constinit const Method kBlockAp{
    .name = "block-ap",
    .source = "Chen et al. 2024",
    .needs = {.text = true},
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::mse)};
    },
    .refine = [](const Refinement& work,
                 const PostTrainingOptions& options) { learn_by<Trained>(work, options.block_ap); },
    .section = "block_ap",
    .layer_figures = kLearnedLayerFigures,
    .row_figures = kLearnedRowFigures};

}  // namespace notch::quant
