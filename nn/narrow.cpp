#include "nn/narrow.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "nn/architectures.h"
#include "nn/resized.h"
#include "nn/watched_inputs.h"

namespace notch::nn {
namespace {

constexpr const char* kNarrow = "narrow";

/// The linears of a block that make the inner channels, and the one that reads them.
struct Inner {
  std::vector<Linear*> writers{};
  Linear* reader = nullptr;
};

std::vector<Inner> inner_of(Model& model) {
  const std::int64_t inner = model.sizes().n_inner;
  check(model.sizes().ranks.empty(), kNarrow,
        "the matrices are in two factors: take channels out before");
  std::vector<Inner> all;
  for (const Stage& stage : model.stages()) {
    std::vector<const Step*> steps;
    for (const Step& step : stage.steps)
      if (!step.linears.empty()) steps.push_back(&step);
    if (steps.empty()) continue;
    const bool pair = steps.size() >= 2 && steps.back()->linears.size() == 1 &&
                      steps.back()->linears[0]->in_features() == inner &&
                      std::ranges::all_of(steps[steps.size() - 2]->linears,
                                          [&](Linear* l) { return l->out_features() == inner; });
    check(pair, stage.name, "does not end in an MLP of ", inner, " channels");
    all.push_back({steps[steps.size() - 2]->linears, steps.back()->linears[0]});
  }
  check(!all.empty(), kNarrow, "the model has no blocks");
  return all;
}

}  // namespace

std::vector<std::vector<double>> inner_importance(Model& model, std::span<const Tokens> text) {
  const std::vector<Inner> blocks = inner_of(model);
  const auto n = at(model.sizes().n_inner);
  std::map<const Linear*, std::vector<double>> squares;
  for (const Inner& b : blocks) squares[b.reader].assign(n, 0.0);
  const auto see = [&](const Linear& linear, std::span<const real> h) {
    const auto found = squares.find(&linear);
    if (found == squares.end()) return;
    for (std::size_t i = 0; i < h.size(); ++i)
      found->second[i % n] += static_cast<double>(h[i]) * static_cast<double>(h[i]);
  };
  const double rows = watch_inputs(model, text, kNarrow, see);
  std::vector<std::vector<double>> all;
  for (const Inner& b : blocks) {
    const std::span<const real> w = b.reader->weight->value.flat();
    std::vector<double> norms(n);
    for (std::size_t i = 0; i < w.size(); ++i)
      norms[i % n] += static_cast<double>(w[i]) * static_cast<double>(w[i]);
    std::vector<double>& of_block = all.emplace_back(squares.at(b.reader));
    for (std::size_t i = 0; i < n; ++i) of_block[i] *= norms[i] / rows;
    require_finite(of_block, *b.reader, "channel");
  }
  return all;
}

std::vector<std::vector<std::int64_t>> most_important(
    std::span<const std::vector<double>> importance, std::int64_t n) {
  std::vector<std::vector<std::int64_t>> keep;
  for (const std::vector<double>& block : importance) {
    check(n >= 1 && n <= std::ssize(block), kNarrow, n, " channels of ", block.size());
    check(std::ranges::none_of(block, [](double v) { return std::isnan(v); }), kNarrow,
          "an importance that is NaN has no place among the others");
    std::vector<std::int64_t>& kept = keep.emplace_back(block.size());
    std::iota(kept.begin(), kept.end(), std::int64_t{0});
    std::ranges::stable_sort(
        kept, [&](std::int64_t a, std::int64_t b) { return block[at(a)] > block[at(b)]; });
    kept.resize(at(n));
    std::ranges::sort(kept);
  }
  return keep;
}

std::unique_ptr<Model> narrowed(Model& model, std::span<const std::vector<std::int64_t>> keep) {
  const std::vector<Inner> blocks = inner_of(model);
  const Index n =
      require_kept(keep, std::ssize(blocks), model.sizes().n_inner, kNarrow, "channels");
  Json config = model.config_json();
  config.set(architecture_of(config, kNarrow).inner, n);
  std::unique_ptr<Model> out = make_model(config, kNarrow, Model::Values::allocate);
  ParamStore& to = out->params();
  copy_alike(model.params(), to);  // all else is cut below
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (const Linear* l : blocks[b].writers) {
      take_rows(l->weight, to, keep[b]);
      take_rows(l->bias, to, keep[b]);
    }
    take_columns(*blocks[b].reader->weight, to, keep[b]);
  }
  return out;
}

}  // namespace notch::nn
