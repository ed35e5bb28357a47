#include "nn/shallow.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>

#include "autograd/base/error.h"
#include "nn/architectures.h"
#include "nn/text_loss.h"

namespace notch::nn {
namespace {

constexpr const char* kWhere = "shallow";

/// What the parameters of each block begin with: "h.3.".
std::vector<std::string> blocks_of(Model& model) {
  std::vector<std::string> names;
  for (const Stage& stage : model.stages())
    if (!stage.linears().empty()) names.push_back(stage.name + '.');
  check(std::ssize(names) == model.sizes().n_layer && !names.empty(), kWhere, "the model has ",
        names.size(), " blocks and ", model.sizes().n_layer, " layers");
  return names;
}

}  // namespace

std::unique_ptr<Model> with_blocks(Model& model, std::span<const std::int64_t> keep) {
  const std::vector<std::string> blocks = blocks_of(model);
  check(model.sizes().ranks.empty(), kWhere,
        "the matrices are in two factors: take blocks out before");
  check(!keep.empty() && keep.front() >= 0 && keep.back() < std::ssize(blocks) &&
            std::ranges::adjacent_find(keep, std::greater_equal{}) == keep.end(),
        kWhere, "keeps other than some of ", blocks.size(), " blocks, ascending");
  Json config = model.config_json();
  config.set(architecture_of(config, kWhere).layers, std::ssize(keep));
  std::unique_ptr<Model> out = make_model(config, kWhere, Model::Values::allocate);
  const std::vector<std::string> left = blocks_of(*out);
  for (Param& p : out->params().params()) {
    std::string name = p.name;
    for (std::size_t b = 0; b < left.size(); ++b) {
      if (!p.name.starts_with(left[b])) continue;
      name = blocks[static_cast<std::size_t>(keep[b])] + p.name.substr(left[b].size());
    }
    std::ranges::copy(model.params().find(name)->value.flat(), p.value.data);
  }
  return out;
}

Shallow shallow(Model& model, std::int64_t left, std::span<const Tokens> text) {
  const auto all = std::ssize(blocks_of(model));
  check(left >= 1 && left <= all, kWhere, left, " of ", all, " blocks");
  check(!text.empty(), kWhere, "needs text and got none");
  std::vector<std::int64_t> keep(static_cast<std::size_t>(all));
  std::iota(keep.begin(), keep.end(), std::int64_t{0});
  Graph graph;
  Shallow out;
  double loss = mean_loss(graph, model, text);
  while (std::ssize(keep) > left) {
    std::size_t least = 0;
    double lowest = 0;
    for (std::size_t i = 0; i < keep.size(); ++i) {
      std::vector<std::int64_t> others = keep;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
      const double without = mean_loss(graph, *with_blocks(model, others), text);
      if (!std::isfinite(without)) {
        throw Error({.fault = Fault::numeric,
                     .where = kWhere,
                     .what = "the loss is not finite",
                     .field = str("block ", keep[i])});
      }
      if (i > 0 && without > lowest) continue;
      least = i;
      lowest = without;
    }
    out.removed.push_back({keep[least], lowest - loss});
    keep.erase(keep.begin() + static_cast<std::ptrdiff_t>(least));
    loss = lowest;
  }
  out.model = with_blocks(model, keep);
  return out;
}

}  // namespace notch::nn
