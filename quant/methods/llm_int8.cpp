#include "quant/methods/llm_int8.h"

#include "autograd/base/error.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/rtn.h"

namespace notch::quant {
namespace {

constexpr LayerFigure kLayerFigures[] = {{"outliers", "outlier channels", 0}};
constexpr RowFigure kRowFigures[] = {
    {"llm_int8_outliers", "outlier channels", 0, false,
     [](std::span<const LayerReport> layers) { return total(layers, "outliers"); }}};

}  // namespace

std::vector<std::int32_t> outlier_channels(std::span<const real> largest, double threshold) {
  check(threshold > 0, "llm_int8", "a threshold of ", threshold, " is not above 0");
  std::vector<std::int32_t> channels;
  for (std::size_t j = 0; j < largest.size(); ++j) {
    if (static_cast<double>(largest[j]) >= threshold)
      channels.push_back(static_cast<std::int32_t>(j));
  }
  return channels;
}

constinit const Method kLlmInt8{
    .name = "llm-int8",
    .source = "Dettmers et al. 2022",
    .needs = {.text = true, .magnitudes = true},
    .transform =
        [](std::span<const Target* const>, const Hessian& H, const PostTrainingOptions& options) {
          Transform by{.apart = outlier_channels(H.largest(), options.llm_int8.threshold)};
          by.measures = {{"outliers", static_cast<double>(by.apart.size())}};
          return by;
        },
    .round = [](const MatrixView& matrix, const PostTrainingOptions&) -> Rounded {
      return {.q = round_nearest(matrix.target, RangeRule::absmax)};
    },
    .section = "llm_int8",
    .layer_figures = kLayerFigures,
    .row_figures = kRowFigures};

}  // namespace notch::quant
