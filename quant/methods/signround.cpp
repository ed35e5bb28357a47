#include "quant/methods/signround.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "quant/methods/learned_rounding.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"
#include "quant/methods/update_rules.h"
#include "quant/numbers/format.h"
#include "quant/ops/offset_round.h"

namespace notch::quant {
namespace {

class Offsets final : public LearnedRounding {
 public:
  Offsets(const Target& target, std::span<const real> w, const QTensor& q, ParamStore& store,
          const SignRoundOptions& options)
      : q_(q),
        options_(options),
        offsets_(&store.add(target.name + ".V", {q.rows, q.cols})),
        factors_(&store.add(target.name + ".a", {std::ssize(q.at.scales)})),
        best_({offsets_, factors_}) {
    codes_ = {.spec = q_.spec,
              .rows = q_.rows,
              .cols = q_.cols,
              .w = w,
              .scales = q_.at.scales,
              .zero_points = q_.at.zero_points};
  }

  void begin() override {
    std::ranges::fill(factors_->value.flat(), real{1});
    best_.keep();
  }

  Var weights(Graph& g) override {
    return offset_round(g.param(*offsets_), g.param(*factors_), codes_);
  }

  void step(double done, double loss) override {
    best_.see(loss);
    const double rate = (1 - done) / options_.steps;
    sign_step(*offsets_, rate, real(-0.5), real(0.5));
    if (options_.ranges) sign_step(*factors_, rate, real(0.5), real(1.5));
  }

  QTensor settled() const override {
    const std::span<const real> factors = best_.of(1);
    QTensor q = q_;
    offset_codes(q.codes, best_.of(0), factors, codes_);
    for (std::size_t u = 0; u < q.at.scales.size(); ++u)
      q.at.scales[u] = round_scale(q_.at.scales[u] * factors[u], q.spec.scale);
    return q;
  }

 private:
  QTensor q_;
  const SignRoundOptions& options_;
  Param *offsets_, *factors_;
  BestValues best_;
  OffsetCodes codes_{};
};

}  // namespace

constinit const Method kSignRound{
    .name = "signround",
    .source = "Cheng et al. 2023",
    .needs = {.text = true},
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      const Target& t = matrix.target;
      if (!grid_of(t.spec).is_every_integer()) {
        throw Error({.where = t.name,
                     .what = "signround shifts weights between neighbouring integers",
                     .field = "grid",
                     .found = std::string(name_of(t.spec.grid)),
                     .expected = grids_with(
                         [](const Format& f) { return f.grid(f.most_bits).is_every_integer(); })});
      }
      return {.q = round_nearest(t, RangeRule::mse)};
    },
    .refine =
        [](const Refinement& work, const PostTrainingOptions& options) {
          learn_by<Offsets>(work, options.signround);
        },
    .section = "signround",
    .layer_figures = kLearnedLayerFigures,
    .row_figures = kLearnedRowFigures};

}  // namespace notch::quant
