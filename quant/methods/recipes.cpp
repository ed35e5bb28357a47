#include "quant/methods/recipes.h"

#include <algorithm>

#include "quant/kernels/fake_quant.h"

namespace notch::quant {

QTensor round_nearest(const Target& t, RangeRule rule, double percentile) {
  const Tensor& w = t.weight->value;
  Ranges ranges = choose_scales(w.flat(), w.rows(), w.cols(), t.spec, rule, t.name, percentile);
  return quantize(w.flat(), w.rows(), w.cols(), t.spec, std::move(ranges.at), t.name);
}

void measure_rounding(std::span<const real> before, std::span<const real> after,
                      LayerReport& report) {
  double error = 0, power = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto w = static_cast<double>(before[i]);
    const double difference = w - static_cast<double>(after[i]);
    error += difference * difference;
    power += w * w;
  }
  report.moved =
      static_cast<double>(count_moved(before, after)) / static_cast<double>(before.size());
  report.weight_error = power > 0 ? error / power : 0;
}

QTensor round_absmax(const Target& t, const Hessian*, const PostTrainingOptions&, LayerReport&) {
  return round_nearest(t, RangeRule::absmax);
}

QTensor round_mse(const Target& t, const Hessian*, const PostTrainingOptions&, LayerReport&) {
  return round_nearest(t, RangeRule::mse);
}

QTensor round_percentile(const Target& t, const Hessian*, const PostTrainingOptions& options,
                         LayerReport&) {
  return round_nearest(t, RangeRule::percentile, options.percentile);
}

QTensor round_entropy(const Target& t, const Hessian*, const PostTrainingOptions&, LayerReport&) {
  return round_nearest(t, RangeRule::entropy);
}

QTensor round_gptq(const Target& t, const Hessian* H, const PostTrainingOptions& options,
                   LayerReport& report) {
  // One-hot inputs have a diagonal Hessian, with which GPTQ is round-to-nearest.
  if (H == nullptr) return round_nearest(t, options.gptq.range);
  const Tensor& w = t.weight->value;
  GptqResult result = gptq(w.flat(), w.rows(), w.cols(), t.spec, H->matrix(), options.gptq, t.name);
  report.gptq = result.report;
  return std::move(result.q);
}

QTensor round_gptaq(const Target& t, const Hessian* H, const PostTrainingOptions& options,
                    LayerReport& report) {
  const std::vector<double> drift = H ? H->drift() : std::vector<double>{};
  if (drift.empty()) return round_gptq(t, H, options, report);
  const Tensor& w = t.weight->value;
  const std::vector<double> moments = H->matrix();
  const std::vector<real> target =
      asymmetric_target(w.flat(), w.rows(), w.cols(), moments, drift, options.gptq, t.name);
  GptqResult result = gptq(target, w.rows(), w.cols(), t.spec, moments, options.gptq, t.name);
  report.gptq = result.report;
  return std::move(result.q);
}

const Recipe& recipe(std::string_view name) {
  for (const Recipe& r : kRecipes) {
    if (r.name == name) return r;
  }
  throw Error({.where = "recipe",
               .what = str("\"", name, "\" is not a method"),
               .field = std::string(name),
               .expected = recipe_list(),
               .hint = recipe_hint(name)});
}

std::string recipe_hint(std::string_view name) {
  if (name.starts_with("rtn-moving")) {
    return "a moving average follows batches; a matrix of weights is there at once, and its "
           "extremes "
           "are \"rtn\"";
  }
  const std::string close = did_you_mean(name, recipe_names());
  return close.empty() ? "" : str("did you mean \"", close, "\"?");
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& r : kRecipes) names.emplace_back(r.name);
  return names;
}

const std::string& recipe_list(Recipes which) {
  static const std::array<std::string, 3> lists = [] {
    std::array<std::string, 3> made;
    for (const Recipe& r : kRecipes) {
      const Recipes kind = r.training == Training::none ? Recipes::post_training : Recipes::trained;
      for (const Recipes list : {Recipes::all, kind}) {
        std::string& names = made[static_cast<std::size_t>(list)];
        names += str(names.empty() ? "" : ", ", r.name);
      }
    }
    return made;
  }();
  return lists[static_cast<std::size_t>(which)];
}

double require_activity(const Quantized& quantized, std::string_view where) {
  double moved = 0, weights = 0;
  for (std::size_t i = 0; i < quantized.layers.size(); ++i) {
    const auto n = static_cast<double>(quantized.tensors[i].q.codes.size());
    moved += quantized.layers[i].moved * n;
    weights += n;
  }
  if (weights == 0 || moved == 0) {
    throw Error({.fault = Fault::numeric,
                 .where = std::string(where),
                 .what = "quantization changed no weight",
                 .hint = "is the model already quantized?"});
  }
  return moved / weights;
}

}  // namespace notch::quant
