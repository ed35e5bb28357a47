// What an op sees of its node, and so of the graph.
#include "autograd/op.h"

#include <utility>

#include "autograd/base/rng.h"
#include "autograd/graph.h"
#include "autograd/kernels/elementwise.h"

namespace notch {

// ---- forward ----

int Forward::inputs() const { return static_cast<int>(g_.nodes_[id_].n_inputs); }

const Tensor& Forward::in(int i) const { return g_.read(g_.input_of(id_, i)); }

Tensor Forward::out(Shape shape) const {
  const std::size_t bytes = sizeof(real) * static_cast<std::size_t>(shape.size());
  return {static_cast<real*>(g_.lifetimes_.value(id_, bytes)), shape};
}

Tensor Forward::view(int i, Shape shape) const {
  const Tensor& x = in(i);
  check(shape.size() == x.size(), "graph", "a view of ", x.shape, " as ", shape);
  g_.lifetimes_.share(id_, g_.input_of(id_, i));
  return {x.data, shape};
}

bool Forward::wants_grad(int i) const { return g_.nodes_[g_.input_of(id_, i)].needs_grad; }

bool Forward::training() const { return g_.mode_ == Graph::Mode::training; }

kernels::Precision Forward::precision() const { return g_.precision_; }

std::uint64_t Forward::key() const {
  // Mixed twice: key + id would give node 8 of one step the mask of node 7 of the next.
  return mix64(mix64(g_.key_) ^ id_);
}

void* Forward::keep_bytes(std::size_t bytes) const {
  return g_.nodes_[id_].needs_grad ? g_.lifetimes_.keep(id_, bytes) : scratch_bytes(bytes);
}

void* Forward::scratch_bytes(std::size_t bytes) const { return g_.lifetimes_.scratch(bytes); }

// ---- backward ----

const Tensor& Backward::in(int i) const { return g_.read(g_.input_of(id_, i)); }

const Tensor& Backward::out() const { return g_.read(id_); }

std::span<const real> Backward::dout() const { return g_.grad_of(g_.nodes_[id_]); }

bool Backward::wants_grad(int i) const { return g_.nodes_[g_.input_of(id_, i)].needs_grad; }

Backward::Gradient Backward::first_grad(int i) const {
  if (!wants_grad(i)) return {};
  Node& input = g_.nodes_[g_.input_of(id_, i)];
  const bool fresh = g_.touch_grad(input);
  return {g_.grad_of(input), fresh};
}

kernels::Precision Backward::precision() const { return g_.precision_; }

std::span<real> Backward::grad(int i) const {
  const Gradient g = first_grad(i);
  if (g.fresh) kernels::fill(g.values, 0);
  return g.values;
}

void Backward::pass_dout(int i) const {
  if (!wants_grad(i)) return;
  Node &node = g_.nodes_[id_], &input = g_.nodes_[g_.input_of(id_, i)];
  if (input.grad == nullptr) {
    std::swap(input.grad, node.grad);
  } else {
    kernels::accumulate(g_.grad_of(input), g_.grad_of(node));
  }
}

void Backward::pass_kept(int i, std::span<real> kept) const {
  if (!wants_grad(i)) return;
  Node& input = g_.nodes_[g_.input_of(id_, i)];
  if (input.grad == nullptr) {
    g_.lifetimes_.hand_over(kept.data());
    input.grad = kept.data();
  } else {
    kernels::accumulate(g_.grad_of(input), kept);
  }
}

void* Backward::scratch_bytes(std::size_t bytes) const { return g_.lifetimes_.scratch(bytes); }

}  // namespace notch
