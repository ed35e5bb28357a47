#include "autograd/param.h"

#include <algorithm>

#include "autograd/kernels/elementwise.h"

namespace notch {
namespace {

std::size_t padded(std::int64_t n) {
  constexpr std::size_t kStep = 64 / sizeof(real);
  return (static_cast<std::size_t>(n) + kStep - 1) / kStep * kStep;
}

/// `total` and `n` more; usage Error for a sum whose bytes could not be counted.
template <class Count>
Count plus(Count total, Count n) {
  constexpr Count kMost = Count{1} << 60;
  check(n <= kMost && total <= kMost - n, "params", total, " and ", n, " values are no size of memory");
  return total + n;
}

}  // namespace

FlatBlock::FlatBlock(std::size_t n)
    : data_(allocate_large(plus(std::size_t{0}, n) * sizeof(real))), n_(n) {
  std::ranges::fill(flat(), real{0});
}

Param& ParamStore::add(std::string name, Shape shape) {
  check(find(name) == nullptr, "params", "\"", name, "\" is declared twice");
  Param& p =
      params_.emplace_back(Param{std::move(name), Tensor{nullptr, shape}, Tensor{nullptr, shape}});
  by_name_.emplace(p.name, &p);
  return p;
}

void ParamStore::allocate_values(const std::function<bool(const Param&)>& wanted) {
  std::size_t total = 0;
  std::vector<std::pair<Param*, std::size_t>> placed;
  for (Param& p : params_) {
    if (p.value.data || (wanted && !wanted(p))) continue;
    placed.emplace_back(&p, total);
    total = plus(total, padded(p.value.size()));
  }
  if (placed.empty()) return;
  values_.emplace_back(total);
  for (const auto& [p, offset] : placed) p->value.data = values_.back().flat().data() + offset;
}

void ParamStore::allocate_gradients() {
  std::size_t total = 0;
  for (const Param& p : params_)
    if (p.value.data && !p.grad.data) total = plus(total, padded(p.value.size()));
  if (total == 0) return;
  gradients_.emplace_back(total);
  real* at = gradients_.back().flat().data();
  for (Param& p : params_) {
    if (!p.value.data || p.grad.data) continue;
    p.grad.data = at;
    at += padded(p.value.size());
  }
}

void ParamStore::zero_gradients() {
  for (const FlatBlock& block : gradients_) kernels::fill(block.flat(), 0);
}

Param* ParamStore::find(std::string_view name) {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : at->second;
}

const Param* ParamStore::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : at->second;
}

std::int64_t ParamStore::count() const {
  std::int64_t n = 0;
  for (const Param& p : params_) n = plus(n, p.value.size());
  return n;
}

void ParamStore::copy_values(const ParamStore& from) {
  check(from.params_.size() == params_.size(), "params", "copy from ", from.params_.size(),
        " parameters into ", params_.size());
  for (std::size_t i = 0; i < params_.size(); ++i) {
    const Param& source = from.params_[i];
    Param& target = params_[i];
    check(source.name == target.name && source.value.shape == target.value.shape, "params",
          "copy of ", source.name, " ", source.value.shape, " into ", target.name, " ",
          target.value.shape);
    check(source.value.data && target.value.data, "params", source.name, " has no values to copy");
    std::ranges::copy(source.value.flat(), target.value.data);
  }
}

}  // namespace notch
