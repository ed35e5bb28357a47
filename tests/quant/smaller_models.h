// What tests of models with fewer heads, channels or ranks ask alike.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "nn/kv_cache.h"
#include "tests/quant/tiny_models.h"

namespace notch::test {

/// As logits_of has them, but read token by token through a cache.
inline std::vector<real> logits_by_token(nn::Model& model, const Text& text) {
  nn::Fp32KvCache cache(nn::kv_shape(model.sizes(), text.B));
  std::vector<real> out;
  for (std::int64_t t = 0; t < text.T; ++t) {
    std::vector<std::int32_t> ids;
    for (std::int64_t b = 0; b < text.B; ++b) ids.push_back(text.ids[std::size_t(b * text.T + t)]);
    Graph g;
    g.begin(Graph::Mode::inference);
    const Var y = model.logits(g, {ids, text.B, 1}, &cache);
    const std::int64_t V = y.value().size() / text.B;
    out.resize(std::size_t(text.B * text.T * V));
    for (std::int64_t b = 0; b < text.B; ++b)
      std::copy_n(y.value().data + b * V, V, out.begin() + (b * text.T + t) * V);
  }
  return out;
}

/// What the Linear of a weight gives on a text.
inline std::vector<real> output_of(nn::Model& model, const Param& weight, const Text& text) {
  std::vector<real> seen;
  const nn::Attachment watch = model.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        const Var y = next(g, linear, x);
        if (linear.weight == &weight) seen = copy(y.value().flat());
        return y;
      });
  logits_of(model, text);
  return seen;
}

/// Over positions, of the whole difference of two outputs.
inline double mean_square(const std::vector<real>& a, const std::vector<real>& b,
                          const Text& text) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += std::pow(double(a[k]) - double(b[k]), 2);
  return sum / double(text.B * text.T);
}

}  // namespace notch::test
