#include "quant/store/pack_weights.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "quant/numbers/ranges.h"

namespace notch::quant {

RunnableModel pack_weights(nn::Model& model, const Plan& plan) {
  RunnableModel out{.model = model.twin(nn::Model::Values::shapes_only)};
  ServedLayers::Matrices matrices;
  for (const Target& t : resolve(plan, model)) {
    const std::int64_t rows = t.weight->value.rows(), cols = t.weight->value.cols();
    const std::span<const real> w = t.weight->value.flat();
    const Param* const param = out.model->params().find(t.weight->name);
    const QTensor q =
        quantize(w, rows, cols, t.spec,
                 choose_scales(w, rows, cols, t.spec, RangeRule::absmax, t.name).at, t.name);
    matrices.try_emplace(param, q, t.input);
  }
  ParamStore& params = out.model->params();
  params.allocate_values([&](const Param& p) { return !matrices.contains(&p); });
  for (Param& p : params.params()) {
    if (!p.value.data) continue;
    std::ranges::copy(model.params().find(p.name)->value.flat(), p.value.data);
    out.weight_bytes += p.value.size() * static_cast<std::int64_t>(sizeof(real));
  }
  out.served = std::make_unique<ServedLayers>(*out.model, std::move(matrices));
  out.weight_bytes += out.served->bytes();
  return out;
}

}  // namespace notch::quant
