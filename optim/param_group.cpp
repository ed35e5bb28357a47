#include "optim/param_group.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace notch::optim {
namespace {

constexpr std::size_t kAlignBytes = 64;

constexpr std::size_t round_up(std::size_t n, std::size_t step) {
  return (n + step - 1) / step * step;
}

/// Whether `next` is the first multiple of 64 bytes behind `run`: then only padding lies between
/// them. Compared as addresses, because the two may belong to different blocks. Blocks end at such
/// a multiple too, so two blocks that happen to touch have nothing between them.
bool follows(std::span<const real> run, const real* next) {
  const auto end = reinterpret_cast<std::uintptr_t>(run.data() + run.size());
  return round_up(end, kAlignBytes) == reinterpret_cast<std::uintptr_t>(next);
}

std::span<real> extend(std::span<real> run, const Tensor& next) {
  return {run.data(), static_cast<std::size_t>(next.data - run.data() + next.size())};
}

}  // namespace

std::vector<ParamGroup> decay_matrices(ParamStore& store, double weight_decay) {
  ParamGroup matrices{.weight_decay = weight_decay}, vectors{};
  for (Param& p : store.params()) {
    if (!p.value.data) continue;
    (p.value.shape.rank() >= 2 ? matrices : vectors).params.push_back(&p);
  }
  return {std::move(matrices), std::move(vectors)};
}

FlatLayout::FlatLayout(const std::vector<ParamGroup>& groups, Gradients gradients) {
  const bool with_grads = gradients == Gradients::required;
  std::vector<const Param*> seen;
  for (const ParamGroup& group : groups) {
    for (const double factor : {group.lr_mult, group.weight_decay})
      check(std::isfinite(factor) && factor >= 0, "optimizer",
            "a group has lr_mult = ", group.lr_mult, " and weight_decay = ", group.weight_decay,
            "; neither can be negative");
    for (const Param* p : group.params) {
      check(p != nullptr, "optimizer", "a group holds a null parameter");
      check(p->value.data, "optimizer", p->name, " has no values, only a shape ", p->value.shape,
            "; leave it out of the groups");
      check(!with_grads || p->grad.data, "optimizer", p->name,
            " has no gradient; call ParamStore::allocate_gradients first");
      append(*p, group, with_grads);
      seen.push_back(p);
    }
  }
  check(!seen.empty(), "optimizer", "there is no parameter to train");
  std::ranges::sort(seen);
  const auto twice = std::ranges::adjacent_find(seen);
  check(twice == seen.end(), "optimizer", twice == seen.end() ? "" : (*twice)->name,
        " is in the groups twice");
}

void FlatLayout::append(const Param& p, const ParamGroup& group, bool with_grads) {
  const bool continues = !runs_.empty() && runs_.back().group == &group &&
                         follows(runs_.back().values, p.value.data) &&
                         (!with_grads || follows(runs_.back().grads, p.grad.data));
  if (continues) {
    FlatRun& run = runs_.back();
    run.values = extend(run.values, p.value);
    if (with_grads) run.grads = extend(run.grads, p.grad);
  } else {
    runs_.push_back(
        {p.value.flat(), with_grads ? p.grad.flat() : std::span<real>{}, &group, size_});
  }
  const FlatRun& run = runs_.back();
  slots_.push_back({&p, run.offset + static_cast<std::size_t>(p.value.data - run.values.data())});
  size_ = round_up(run.offset + run.values.size(), kAlignBytes / sizeof(real));
}

std::vector<StateTensor> FlatLayout::views(std::string_view prefix, const FlatBlock& block) const {
  std::vector<StateTensor> all;
  all.reserve(slots_.size());
  for (const Slot& s : slots_) {
    all.push_back(
        {str(prefix, ".", s.param->name), {block.flat().data() + s.offset, s.param->value.shape}});
  }
  return all;
}

}  // namespace notch::optim
