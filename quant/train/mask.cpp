#include "quant/train/mask.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "quant/methods/magnitude.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/format.h"

namespace notch::quant {
namespace {

Param& matrix_of(ParamStore& params, const NamedMask& mask) {
  Param* p = params.find(mask.name);
  check(p && p->value.data && p->value.size() == std::ssize(mask.keep), mask.name, "a mask of ",
        mask.keep.size(), " weights is none of the model's");
  check(std::ranges::all_of(mask.keep, [](std::uint8_t keep) { return keep <= 1; }), mask.name,
        "a weight is kept, 1, or is not, 0");
  return *p;
}

}  // namespace

Mask::Mask(nn::Model& model, std::span<const NamedMask> masks,
           const std::optional<PruneOptions>& growing)
    : growing_(growing) {
  check(!growing || growing->rounds > 0, "prune", "to grow in ", growing ? growing->rounds : 0,
        " rounds");
  for (const NamedMask& m : masks) {
    nodes_.push_back({&matrix_of(model.params(), m), {m.keep.begin(), m.keep.end()}});
  }
  settle();
  attachment_ = model.hooks().weight_chain.attach([this](Graph& g, Param& p, const auto& next) {
    const Var w = next(g, p);
    Node* node = find(p);
    if (!node) return w;
    const Var keep = g.constant({node->keep.data(), p.value.shape}, "mask");
    return mul(w, keep);
  });
}

Mask::Node* Mask::find(const Param& p) {
  const auto at = std::ranges::find(nodes_, &p, &Node::weight);
  return at == nodes_.end() ? nullptr : &*at;
}

std::vector<nn::NamedValues> Mask::state() {
  std::vector<nn::NamedValues> all{{"mask.rounds", done_}};
  for (Node& node : nodes_) all.push_back({node.weight->name + ".mask", node.keep});
  return all;
}

void Mask::before_update(double r) {
  nn::require_share(r);
  if (!growing_) return;
  const double n = growing_->rounds, due = std::min(n, 1 + std::floor(2 * r * n));
  if (static_cast<double>(done_[0]) >= due) return;
  done_[0] = static_cast<real>(due);
  const double share = 1 - elementary::pow(1 - due / n, 3);
  for (Node& node : nodes_) {
    const Param& p = *node.weight;
    std::vector<double> scores = magnitudes_of(p.value.flat());
    for (std::size_t i = 0; i < scores.size(); ++i)
      if (node.keep[i] == 0) scores[i] = -1;
    const Keep keep = keep_largest(scores, p.value.rows(), p.value.cols(), *growing_,
                                   Within::matrix, p.name, share);
    std::ranges::copy(keep, node.keep.begin());
  }
}

std::vector<NamedMask> Mask::masks() const {
  std::vector<NamedMask> all;
  for (const Node& node : nodes_) {
    NamedMask& mask = all.emplace_back(NamedMask{.name = node.weight->name});
    for (const real keep : node.keep) mask.keep.push_back(keep != 0);
  }
  return all;
}

void Mask::settle() {
  for (Node& node : nodes_) {
    const std::span<real> w = node.weight->value.flat();
    for (std::size_t i = 0; i < w.size(); ++i)
      if (node.keep[i] == 0) w[i] = 0;
  }
}

void zero_pruned(ParamStore& params, std::span<const NamedMask> masks) {
  for (const NamedMask& m : masks) {
    const std::span<real> w = matrix_of(params, m).value.flat();
    for (std::size_t i = 0; i < w.size(); ++i)
      if (m.keep[i] == 0) w[i] = 0;
  }
}

void zero_pruned(Quantized& quantized, std::span<const NamedMask> masks) {
  for (const NamedMask& m : masks) {
    NamedQTensor* const at = find_named(quantized.tensors, m.name);
    check(at && at->q.codes.size() == m.keep.size(), m.name, "a mask of ", m.keep.size(),
          " weights is of none of the integers");
    QTensor& q = at->q;
    require_zero(q.spec, m.name);
    const Grid grid = grid_of(q.spec);
    require_whole(q, m.name);
    const auto unit = static_cast<std::size_t>(unit_size(q.spec, q.rows, q.cols));
    for (std::size_t i = 0; i < m.keep.size(); ++i) {
      if (m.keep[i] != 0) continue;
      const int z = q.at.zero_points.empty() ? 0 : q.at.zero_points[i / unit];
      q.codes[i] = static_cast<std::int8_t>(grid.nearest(0, z));
    }
  }
}

}  // namespace notch::quant
