#include "experiments/run/merge_products.h"

#include "experiments/run/evaluate.h"
#include "quant/serve/served_layers.h"

namespace notch::experiments {

MergedProducts merge_products(const ExperimentConfig& config, const Data& data,
                              nn::Model& trained, const nn::Model& fp32,
                              const quant::Quantized& products,
                              const std::function<quant::Quantized(nn::Model&)>& round) {
  const auto loss_of = [&](nn::Model& model) {
    const data::TokenData& tokens = data.source.tokens;
    return evaluate(model, tokens.val, tokens.val_bytes_per_token, nullptr,
                    {.windows = config.train.eval_windows})
        .loss;
  };
  const std::unique_ptr<nn::Model> model = nn::clone(fp32);
  quant::absorb_products(products, model->params());
  MergedProducts merged{.quantized = round(*model)};
  for (std::size_t i = 0; i < products.tensors.size(); ++i) {
    if (products.tensors[i].change.side) continue;
    merged.quantized.tensors[i] = products.tensors[i];
    merged.quantized.layers[i] = products.layers[i];
  }
  quant::absorb_products(merged.quantized, model->params());  // nothing but codes
  const quant::ServedLayers served(*model, merged.quantized.tensors);
  merged.cost = loss_of(*model) - loss_of(trained);
  return merged;
}

}  // namespace notch::experiments
