#include "autograd/graph.h"

#include <atomic>
#include <cmath>

#include "autograd/kernels/elementwise.h"

namespace notch {
namespace {

/// Epochs are unique in the process, so that a value of a graph that is gone is not taken for one
/// of a graph that was made at the same address.
std::uint32_t next_epoch() {
  static std::atomic<std::uint32_t> last = 0;
  return ++last;
}

}  // namespace

const Tensor& Var::value() const { return tape().value_of(*this); }

real Var::item() const {
  const Tensor& v = value();
  check(v.size() == 1, "item", "the value is ", v.shape, ", not one element");
  return v.data[0];
}

void Graph::begin(Mode mode, std::uint64_t key) {
  lifetimes_.begin(mode == Mode::inference, nodes_, input_ids_);
  mode_ = mode;
  key_ = key;
  epoch_ = next_epoch();
  swept_ = false;
  label_ = {};
  nodes_.clear();
  input_ids_.clear();
  memories_.clear();
}

const Node& Graph::at(Var v) const {
  check(&v.tape() == this && v.epoch == epoch_, "graph", "this value belongs to step ", v.epoch,
        ", the graph is at step ", epoch_, "; values die at Graph::begin()");
  check(v.id < nodes_.size(), "graph", "no node ", v.id, " of ", nodes_.size());
  const Node& node = nodes_[v.id];
  check(!lifetimes_.is_lost(v.id, swept_), "graph", "the value of node ", v.id, " (",
        node.op ? node.op->name : node.label, ") has been recycled; call Graph::keep before");
  return node;
}

std::uint32_t Graph::input_of(std::uint32_t id, int i) const {
  const Node& node = nodes_[id];
  check(i >= 0 && static_cast<std::uint32_t>(i) < node.n_inputs, "graph", "input ", i, " of ",
        node.op ? node.op->name : "a leaf", ", which has ", node.n_inputs);
  return input_ids_[node.first_input + static_cast<std::uint32_t>(i)];
}

Var Graph::leaf(const Node& node) {
  static_cast<void>(node.value.flat());  // throws where there are no values
  const auto id = static_cast<std::uint32_t>(nodes_.size());
  nodes_.push_back(node);
  lifetimes_.add_leaf();
  return {this, id, epoch_};
}

Var Graph::param(Param& p) {
  if (const std::optional<Var> known = recall(this, &p)) return *known;
  check(p.value.data != nullptr, p.name, "has a shape but no values (a packed layer's parameter)");
  const bool wants = mode_ == Mode::training && p.grad.data;
  const Var v = leaf({.value = p.value,
                      .grad = wants ? p.grad.data : nullptr,
                      .param = &p,
                      .label = p.name,
                      .needs_grad = wants});
  remember(this, &p, v);
  return v;
}

Var Graph::constant(const Tensor& value, std::string_view label) {
  return leaf({.value = value, .label = label});
}

Var Graph::input(const Tensor& value, std::string_view label) {
  return leaf({.value = value, .label = label, .needs_grad = mode_ == Mode::training});
}

Var Graph::append(const OpTable& table, void* state, std::span<const Var> inputs) {
  const auto id = static_cast<std::uint32_t>(nodes_.size());
  Node node{.op = &table,
            .state = state,
            .label = label_,
            .first_input = static_cast<std::uint32_t>(input_ids_.size()),
            .n_inputs = static_cast<std::uint32_t>(inputs.size())};
  for (const Var& v : inputs) node.needs_grad |= at(v).needs_grad;
  for (const Var& v : inputs) input_ids_.push_back(v.id);
  nodes_.push_back(node);
  lifetimes_.add_op(node.needs_grad);
  Forward f(*this, id);
  {
    const Profile::Scope timing(profile_, table.name, label_, Profile::Pass::forward);
    const Tensor value = table.forward(state, f);
    nodes_[id].value = value;
  }
  if (check_finite_) check_finite(nodes_[id], nodes_[id].value.flat(), "value");
  lifetimes_.end_forward(id, nodes_[id], this->inputs(nodes_[id]));
  return {this, id, epoch_};
}

const Tensor& Graph::read(std::uint32_t id) {
  Node& node = nodes_[id];
  if (lifetimes_.is_gone(id)) {
    Forward f(*this, id);
    node.value = node.op->recompute(node.state, f);
    lifetimes_.made_again(id);
  }
  lifetimes_.read(id);
  return node.value;
}

const Tensor& Graph::value_of(Var v) {
  static_cast<void>(at(v));
  const Tensor& value = read(v.id);
  lifetimes_.settle(v.id);
  return value;
}

void Graph::keep(Var v) {
  static_cast<void>(value_of(v));
  lifetimes_.keep_value(v.id);
}

std::span<real> Graph::grad_of(const Node& node) const {
  return {node.grad, static_cast<std::size_t>(node.value.size())};
}

bool Graph::touch_grad(Node& node) {
  if (node.grad != nullptr) return false;
  const auto n = static_cast<std::size_t>(node.value.size());
  node.grad = static_cast<real*>(lifetimes_.allocate(sizeof(real) * n));
  return true;
}

void Graph::backward(Var loss, real seed) {
  check(at(loss).value.size() == 1, "backward", "the loss is ", loss.shape(),
        "; it must have one element");
  backward(loss, std::span<const real>(&seed, 1));
}

void Graph::backward(Var out, std::span<const real> dout) {
  const Node& node = at(out);
  check(mode_ == Mode::training, "backward", "the graph is in inference mode");
  check(!swept_, "backward", "this step has been swept; call begin() first");
  check(node.needs_grad, "backward",
        "nothing below the loss wants a gradient; allocate_gradients() on the parameters first");
  check(dout.size() == static_cast<std::size_t>(node.value.size()) && (dout.data() || dout.empty()),
        "backward", "dout has ", dout.size(), " elements, the output is ", node.value.shape);
  swept_ = true;
  const bool fresh = touch_grad(nodes_[out.id]);
  real* grad = node.grad;
  for (std::size_t i = 0; i < dout.size(); ++i) grad[i] = fresh ? dout[i] : grad[i] + dout[i];
  reverse(out.id);
}

void Graph::reverse(std::uint32_t from) {
  for (auto id = static_cast<std::uint32_t>(nodes_.size()); id-- > 0;) {
    Node& node = nodes_[id];
    if (node.op == nullptr) continue;
    if (node.grad != nullptr && id <= from) {
      examine_grad(node);
      Backward b(*this, id);
      {
        const Profile::Scope timing(profile_, node.op->name, node.label, Profile::Pass::backward);
        node.op->backward(node.state, b);
      }
      lifetimes_.end_backward();
      if (node.grad) {
        lifetimes_.release(node.grad, grad_of(node).size_bytes());
        node.grad = nullptr;
      }
    }
    lifetimes_.pass(id, id == from);
  }
  for (Node& node : nodes_) {
    if (node.op == nullptr && node.grad != nullptr) examine_grad(node);
  }
}

void Graph::examine_grad(Node& node) {
  if (check_finite_) check_finite(node, grad_of(node), "gradient");
  if (trace_) node.grad_norm = std::sqrt(kernels::sum_of_squares(grad_of(node)));
}

std::span<const real> Graph::grad(Var leaf) const {
  check(&leaf.tape() == this && leaf.epoch == epoch_ && leaf.id < nodes_.size(), "graph",
        "this value is of another step");
  const Node& node = nodes_[leaf.id];
  check(node.op == nullptr, "graph", "only the gradients of leaves are kept; node ", leaf.id,
        " is ", node.op ? node.op->name : "");
  return node.grad ? grad_of(node) : std::span<const real>();
}

void Graph::check_finite(const Node& n, std::span<const real> values, std::string_view what) const {
  std::size_t bad = 0;
  for (const real v : values) bad += !std::isfinite(v);
  if (bad == 0) return;
  throw Error({.fault = Fault::numeric,
               .where = str(n.label.empty() ? "graph" : n.label),
               .what = str(what, " of ", n.op ? n.op->name : "leaf", " (node ", &n - nodes_.data(),
                           ", ", n.value.shape, ") has ", bad, " of ", values.size(),
                           " elements that are not finite"),
               .field = n.op ? std::string(n.op->name) : std::string(n.label)});
}

}  // namespace notch
