#include "quant/methods/rtn.h"

#include "autograd/base/error.h"
#include "quant/methods/options.h"

namespace notch::quant {
namespace {

template <RangeRule rule>
Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  return {.q = round_nearest(matrix.target, rule, options.rtn.percentile)};
}

}  // namespace

QTensor round_nearest(const Target& t, RangeRule rule, double percentile) {
  check(t.weight && t.weight->value.data, t.name, "has no values to round");
  const Tensor& w = t.weight->value;
  Ranges ranges = choose_scales(w.flat(), w.rows(), w.cols(), t.spec, rule, t.name, percentile);
  return quantize(w.flat(), w.rows(), w.cols(), t.spec, std::move(ranges.at), t.name);
}

constinit const Method kRtn{.name = "rtn",
                            .source = "round to nearest, absmax range",
                            .family = Family::baseline,
                            .round = round<RangeRule::absmax>,
                            .own_levels = true};
constinit const Method kRtnMse{.name = "rtn-mse",
                               .source = "round to nearest, least-squares range",
                               .family = Family::baseline,
                               .round = round<RangeRule::mse>,
                               .own_levels = true};
constinit const Method kRtnPercentile{
    .name = "rtn-percentile",
    .source = "round to nearest, a share of the weights inside the range",
    .family = Family::baseline,
    .round = round<RangeRule::percentile>};
constinit const Method kRtnEntropy{
    .name = "rtn-entropy",
    .source = "round to nearest, range of the least KL divergence (Migacz 2017)",
    .family = Family::baseline,
    .round = round<RangeRule::entropy>};

}  // namespace notch::quant
