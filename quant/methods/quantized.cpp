#include "quant/methods/quantized.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "quant/kernels/fake_quant.h"

namespace notch::quant {

double measure(const LayerReport& layer, std::string_view key) {
  const auto at = std::ranges::find(layer.measures, key, &Measure::key);
  return at == layer.measures.end() ? 0 : at->value;
}

double total(std::span<const LayerReport> layers, std::string_view key) {
  double sum = 0;
  for (const LayerReport& l : layers) sum += measure(l, key);
  return sum;
}

double largest(std::span<const LayerReport> layers, std::string_view key) {
  double most = 0;
  for (const LayerReport& l : layers) most = std::max(most, measure(l, key));
  return most;
}

void measure_rounding(std::span<const real> before, std::span<const real> after,
                      LayerReport& report) {
  check(!before.empty() && before.size() == after.size(), report.name, before.size(),
        " weights before rounding and ", after.size(), " after it");
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

double require_activity(const Quantized& quantized, std::string_view where) {
  check(quantized.layers.size() <= quantized.tensors.size(), where, "tells of ",
        quantized.layers.size(), " layers and has the codes of ", quantized.tensors.size());
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
