#include "quant/methods/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/magnitude.h"
#include "quant/methods/sparsegpt.h"
#include "quant/methods/targets.h"
#include "quant/methods/wanda.h"
#include "quant/methods/zeros.h"
#include "quant/numbers/format.h"

namespace notch::quant {
namespace {

constexpr std::array<const Pruner*, 4> kPruners{&kMagnitude, &kWanda, &kSparseGpt, &kZeros};

/// Zeroes `keep` at the `prune` smallest scores; among equal ones the first are kept.
void drop_smallest(std::span<const double> scores, std::span<std::uint8_t> keep, Index prune) {
  std::vector<Index> order(scores.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::nth_element(order.begin(), order.begin() + prune, order.end(), [&](Index a, Index b) {
    return scores[at(a)] != scores[at(b)] ? scores[at(a)] < scores[at(b)] : a > b;
  });
  for (Index i = 0; i < prune; ++i) keep[at(order[at(i)])] = 0;
}

}  // namespace

std::vector<std::string_view> PruneOptions::words() {
  std::vector<std::string_view> all{"none"};
  for (const Pruner* p : kPruners) all.push_back(p->name);
  return all;
}

std::string_view PruneOptions::rounds_help() {
  static const std::string help =
      str(pruner_list([](const Pruner& p) { return p.in_rounds; }),
          ", rows that train: prunings, spread over the first half of the training; 1 = all before "
          "it");
  return help;
}

std::span<const Pruner* const> pruners() { return kPruners; }

std::string pruner_list(bool (*which)(const Pruner& pruner)) {
  std::vector<std::string_view> all;
  for (const Pruner* p : kPruners)
    if (which(*p)) all.push_back(p->name);
  return joined(all, ", ", " or ");
}

const Pruner* find_pruner(std::string_view name) {
  if (name == "none") return nullptr;
  const auto found = std::ranges::find(kPruners, name, &Pruner::name);
  if (found != kPruners.end()) return *found;
  throw Error({.where = "prune.method",
               .what = str("\"", name, "\" does not prune"),
               .field = "prune.method",
               .found = std::string(name),
               .expected = joined(PruneOptions::words())});
}

bool is_prunable(nn::Model& model, const Target& t) {
  const std::vector<nn::Embedding*> tables = model.embeddings();
  return t.linear && t.linear != &model.head() &&
         std::ranges::find(tables, t.weight, &nn::Embedding::weight) == tables.end();
}

std::vector<NamedMask> whole_masks(nn::Model& model, std::span<const Target> targets) {
  require_targets(model, targets, Weights::with_values);
  std::vector<NamedMask> masks;
  for (const Target& t : targets)
    if (is_prunable(model, t))
      masks.push_back({t.weight->name, Keep(t.weight->value.flat().size(), 1)});
  return masks;
}

PatternSize size_of(Pattern pattern) {
  switch (pattern) {
    case Pattern::unstructured:
      return {};
    case Pattern::two_of_four:
      return {2, 4};
    case Pattern::four_of_eight:
      return {4, 8};
  }
  return {};
}

void require_pattern(const PruneOptions& options, Index cols, std::string_view where) {
  const auto [kept, of] = size_of(options.pattern);
  if (of > 0 && cols % of != 0) {
    throw Error(
        {.where = std::string(where),
         .what = "the pattern does not divide the layer's inputs",
         .field = "prune.pattern",
         .found = str(kept, ':', of, " of ", cols, " inputs"),
         .hint = "prune.pattern = \"unstructured\", or leave the layer out in quant.layers"});
  }
}

Keep keep_largest(std::span<const double> scores, Index rows, Index cols,
                  const PruneOptions& options, Within within, std::string_view where,
                  double share) {
  check(std::ssize(scores) == extent(where, {rows, cols}), where, "got ", scores.size(),
        " scores for ", rows, " x ", cols, " weights");
  check(options.sparsity >= 0 && options.sparsity <= 1 && share >= 0 && share <= 1, where,
        "a share of ", share, " of the zeros, which are ", options.sparsity, " of the weights");
  if (std::ranges::any_of(scores, [](double s) { return std::isnan(s); })) {
    throw Error({.fault = Fault::numeric,
                 .where = std::string(where),
                 .what = "the score of a weight is no number",
                 .hint = "the model diverged; lower the learning rate"});
  }
  require_pattern(options, cols, where);
  const auto [kept, of] = size_of(options.pattern);
  Keep keep(scores.size(), 1);
  const Index n = of > 0 ? of : within == Within::row ? cols : rows * cols;
  if (n == 0) return keep;
  const double zeros = of > 0 ? of - kept : options.sparsity * static_cast<double>(n);
  const auto prune = static_cast<Index>(std::llround(share * zeros));
  const auto part = [&](Index first) {
    drop_smallest(scores.subspan(at(first), at(n)), std::span(keep).subspan(at(first), at(n)),
                  prune);
  };
  if (n == rows * cols) {
    part(0);
  } else {
    parallel_for(rows, [&](Index r) {
      for (Index c = 0; c < cols; c += n) part(r * cols + c);
    });
  }
  return keep;
}

std::vector<real> kept_weights(std::span<const real> w, std::span<const std::uint8_t> keep) {
  check(w.size() == keep.size(), "prune", "a mask of ", keep.size(), " for ", w.size(), " weights");
  std::vector<real> out(w.begin(), w.end());
  for (std::size_t i = 0; i < out.size(); ++i)
    if (keep[i] == 0) out[i] = 0;
  return out;
}

void require_zero(const Spec& spec, std::string_view where) {
  const auto has_zero = [](const Spec& s) {
    const Grid grid = grid_of(s);
    return has_zero_points(s) || grid.level(grid.nearest(0)) == 0;
  };
  if (has_zero(spec)) return;
  throw Error({.where = std::string(where),
               .what = "a pruned weight is 0, which is no level of its grid",
               .field = "grid",
               .found = name_of(spec),
               .expected = "a grid with a zero",
               .hint = "grid = \"narrow\", or prune.method = \"none\""});
}

}  // namespace notch::quant
