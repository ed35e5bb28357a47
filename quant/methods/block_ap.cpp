#include "quant/methods/block_ap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/base/elementary.h"
#include "quant/methods/learned_rounding.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/methods/update_rules.h"
#include "quant/ops/fake_quant.h"

namespace notch::quant {
namespace {

/// Losses of single windows are noisy: the least is looked for in a running mean.
constexpr double kMemory = 0.9;

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
        log_scales_(&store.add(target.name + ".log_s", {std::ssize(q.at.scales)})) {}

  void begin() override {
    std::ranges::copy(w_, weights_->value.data);
    of_weights_.emplace(*weights_);
    of_scales_.emplace(*log_scales_);
    keep();
  }

  Var weights(Graph& g) override {
    const Var w = g.param(*weights_);
    const Var log_scales = g.param(*log_scales_);
    return fake_quant_lsq(w, log_scales, q_.at.scales, q_.spec, Ste::clipped, nullptr, zeros_);
  }

  void step(double done, double loss) override {
    mean_ = mean_ < 0 ? loss : kMemory * mean_ + (1 - kMemory) * loss;
    if (mean_ < least_) {
      least_ = mean_;
      keep();
    }
    const double rate = (1 + elementary::cos(std::numbers::pi * done)) / 2;
    of_weights_->step(rate * options_.lr);
    of_scales_->step(rate * options_.scale_lr);
  }

  QTensor settled() const override {
    Scales at = q_.at;
    for (std::size_t u = 0; u < at.scales.size(); ++u)
      at.scales[u] = lsq_step(at.scales[u], best_scales_[u], q_.spec.scale);
    return quantize(best_weights_, q_.rows, q_.cols, q_.spec, std::move(at), name_);
  }

 private:
  void keep() {
    best_weights_.assign(weights_->value.flat().begin(), weights_->value.flat().end());
    best_scales_.assign(log_scales_->value.flat().begin(), log_scales_->value.flat().end());
  }

  QTensor q_;
  std::span<const real> w_;
  std::string name_;
  const BlockApOptions& options_;
  std::vector<real> zeros_;
  Param *weights_, *log_scales_;
  std::optional<Adam> of_weights_, of_scales_;
  std::vector<real> best_weights_, best_scales_;
  double mean_ = -1, least_ = std::numeric_limits<double>::infinity();
};

}  // namespace

constinit const Method kBlockAp{
    .name = "block-ap",
    .source = "Chen et al. 2024",
    .needs = {.text = true},
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::mse)};
    },
    .refine =
        [](const Refinement& work, const PostTrainingOptions& options) {
          const BlockApOptions& own = options.block_ap;
          learn_rounding(work, own.steps, own.windows,
                         [&](const Target& t, std::span<const real> w, const QTensor& q,
                             ParamStore& store) -> std::unique_ptr<LearnedRounding> {
                           return std::make_unique<Trained>(t, w, q, store, own);
                         });
        },
    .section = "block_ap",
    .layer_figures = kLearnedLayerFigures,
    .row_figures = kLearnedRowFigures};

}  // namespace notch::quant
