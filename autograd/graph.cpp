#include "autograd/graph.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "autograd/base/rng.h"
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

// ---- Forward and Backward: an op's view of its node ----

int Forward::inputs() const { return static_cast<int>(g_.nodes_[id_].n_inputs); }

const Tensor& Forward::in(int i) const { return g_.read(g_.input_of(id_, i)); }

Tensor Forward::out(Shape shape) const {
  g_.nodes_[id_].owns_value = true;
  return {
      static_cast<real*>(g_.arena_.allocate(sizeof(real) * static_cast<std::size_t>(shape.size()))),
      shape};
}

Tensor Forward::view(int i, Shape shape) const {
  const Tensor& x = in(i);
  Node& node = g_.nodes_[id_];
  check(shape.size() == x.size(), "graph", "a view of ", x.shape, " as ", shape);
  node.owner = g_.nodes_[g_.input_of(id_, i)].owner;
  g_.nodes_[node.owner].transient = false;  // the view needs its memory
  return {x.data, shape};
}

bool Forward::wants_grad(int i) const { return g_.nodes_[g_.input_of(id_, i)].needs_grad; }

bool Forward::training() const { return g_.mode_ == Graph::Mode::training; }

std::uint64_t Forward::key() const {
  // Mixed twice: key + id would give node 8 of one step the mask of node 7 of the next.
  return mix64(mix64(g_.key_) ^ id_);
}

void* Forward::keep_bytes(std::size_t bytes) const {
  if (!g_.nodes_[id_].needs_grad) return scratch_bytes(bytes);
  void* block = g_.arena_.allocate(bytes);
  g_.kept_.push_back({block, bytes});
  ++g_.nodes_[id_].n_kept;
  return block;
}

void* Forward::scratch_bytes(std::size_t bytes) const {
  void* block = g_.arena_.allocate(bytes);
  g_.scratch_.push_back({block, bytes});
  return block;
}

const Tensor& Backward::in(int i) const { return g_.read(g_.input_of(id_, i)); }

const Tensor& Backward::out() const { return g_.read(id_); }

std::span<const real> Backward::dout() const {
  const Node& node = g_.nodes_[id_];
  return {node.grad, static_cast<std::size_t>(node.value.size())};
}

bool Backward::wants_grad(int i) const { return g_.nodes_[g_.input_of(id_, i)].needs_grad; }

Backward::Gradient Backward::first_grad(int i) const {
  if (!wants_grad(i)) return {};
  const std::uint32_t input = g_.input_of(id_, i);
  const bool fresh = g_.touch_grad(input);
  return {g_.grad_of(input), fresh};
}

std::span<real> Backward::grad(int i) const {
  const Gradient g = first_grad(i);
  if (g.fresh) kernels::fill(g.values, 0);
  return g.values;
}

void Backward::pass_dout(int i) const {
  if (!wants_grad(i)) return;
  Node& node = g_.nodes_[id_];
  const std::uint32_t input = g_.input_of(id_, i);
  const std::span<real> block{node.grad, static_cast<std::size_t>(node.value.size())};
  if (g_.nodes_[input].grad == nullptr) {
    g_.nodes_[input].grad = node.grad;
    node.grad = nullptr;
  } else {
    kernels::accumulate(g_.grad_of(input), block);
  }
}

void Backward::pass_kept(int i, std::span<real> kept) const {
  if (!wants_grad(i)) return;
  const std::uint32_t input = g_.input_of(id_, i);
  if (g_.nodes_[input].grad == nullptr) {
    const auto block =
        std::ranges::find(g_.kept_, static_cast<void*>(kept.data()), &Graph::Block::data);
    block->data = nullptr;  // the gradient owns it now
    g_.nodes_[input].grad = kept.data();
  } else {
    kernels::accumulate(g_.grad_of(input), kept);
  }
}

void* Backward::scratch_bytes(std::size_t bytes) const {
  void* block = g_.arena_.allocate(bytes);
  g_.scratch_.push_back({block, bytes});
  return block;
}

// ---- the tape ----

void Graph::begin(Mode mode, std::uint64_t key) {
  if (mode_ == Mode::inference) {
    if (recording_) {
      plan_.clear();  // an op threw: who comes after it is not known
    } else {
      plan_last_uses();
    }
  }
  recording_ = false;
  plan_holds_ = mode == Mode::inference && !plan_.empty();
  mode_ = mode;
  key_ = key;
  epoch_ = next_epoch();
  swept_ = false;
  label_ = {};
  nodes_.clear();
  input_ids_.clear();
  kept_.clear();
  scratch_.clear();
  transient_.clear();
  memories_.clear();
  arena_.reset();
}

const Node& Graph::at(Var v) const {
  check(&v.tape() == this && v.epoch == epoch_, "graph", "this value belongs to step ", v.epoch,
        ", the graph is at step ", epoch_, "; values die at Graph::begin()");
  check(v.id < nodes_.size(), "graph", "no node ", v.id, " of ", nodes_.size());
  const Node& node = nodes_[v.id];
  const Node& owner = nodes_[node.owner];
  check(!owner.released || (owner.transient && !swept_), "graph", "the value of node ", v.id, " (",
        node.op ? node.op->name : node.label, ") has been recycled; call Graph::keep before");
  return node;
}

std::uint32_t Graph::input_of(std::uint32_t id, int i) const {
  const Node& node = nodes_[id];
  check(i >= 0 && static_cast<std::uint32_t>(i) < node.n_inputs, "graph", "input ", i, " of ",
        node.op ? node.op->name : "a leaf", ", which has ", node.n_inputs);
  return input_ids_[node.first_input + static_cast<std::uint32_t>(i)];
}

Var Graph::leaf(Node node) {
  static_cast<void>(node.value.flat());  // throws where there are no values
  const auto id = static_cast<std::uint32_t>(nodes_.size());
  node.owner = id;
  nodes_.push_back(node);
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

Var Graph::append(const OpTable& table, void* state, std::size_t state_bytes,
                  std::span<const Var> inputs) {
  recording_ = true;
  const auto id = static_cast<std::uint32_t>(nodes_.size());
  Node node{.op = &table,
            .state = state,
            .label = label_,
            .first_input = static_cast<std::uint32_t>(input_ids_.size()),
            .n_inputs = static_cast<std::uint32_t>(inputs.size()),
            .owner = id};
  for (const Var& v : inputs) node.needs_grad |= at(v).needs_grad;
  for (const Var& v : inputs) input_ids_.push_back(v.id);
  if (node.needs_grad) {
    kept_.push_back({state, state_bytes});
    node.n_kept = 1;
  } else {
    scratch_.push_back({state, state_bytes});
  }
  nodes_.push_back(node);
  Forward f(*this, id);
  {
    const Profile::Scope timing(profile_, table.name, label_, Profile::Pass::forward);
    const Tensor value = table.forward(state, f);
    nodes_[id].value = value;
  }
  release_scratch();
  if (check_finite_) check_finite(nodes_[id], nodes_[id].value.flat(), "value");
  release_transient();
  if (table.recompute && nodes_[id].needs_grad) {
    nodes_[id].transient = true;
    transient_.push_back(id);
  }
  if (plan_holds_) recycle(id);
  recording_ = false;
  return {this, id, epoch_};
}

void Graph::release_scratch() {
  for (const Block& b : scratch_) arena_.release(b.data, b.bytes);
  scratch_.clear();
}

void Graph::release_kept(Node& n) {
  for (; n.n_kept > 0; --n.n_kept) {
    if (kept_.back().data) arena_.release(kept_.back().data, kept_.back().bytes);
    kept_.pop_back();
  }
}

void Graph::release_value(Node& n) {
  if (!n.owns_value || n.released || n.kept_by_caller) return;
  arena_.release(n.value.data, sizeof(real) * static_cast<std::size_t>(n.value.size()));
  n.released = true;
}

std::span<real> Graph::grad_of(std::uint32_t id) {
  return {nodes_[id].grad, static_cast<std::size_t>(nodes_[id].value.size())};
}

bool Graph::touch_grad(std::uint32_t id) {
  Node& node = nodes_[id];
  if (node.grad != nullptr) return false;
  const auto n = static_cast<std::size_t>(node.value.size());
  node.grad = static_cast<real*>(arena_.allocate(sizeof(real) * n));
  return true;
}

const Tensor& Graph::read(std::uint32_t id) {
  if (nodes_[id].released && nodes_[id].transient) {
    Forward f(*this, id);
    const Tensor value = nodes_[id].op->recompute(nodes_[id].state, f);
    nodes_[id].value = value;
    nodes_[id].released = false;
    transient_.push_back(id);
  }
  nodes_[id].read = true;
  return nodes_[id].value;
}

void Graph::release_transient() {
  std::erase_if(transient_, [this](std::uint32_t id) {
    Node& node = nodes_[id];
    if (node.transient && node.read) release_value(node);
    return node.released || !node.transient;
  });
}

const Tensor& Graph::value_of(Var v) {
  static_cast<void>(at(v));
  Node& node = nodes_[v.id];
  if (node.transient) {
    static_cast<void>(read(v.id));
    node.transient = false;
  }
  return node.value;
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
  const bool fresh = touch_grad(out.id);
  real* grad = nodes_[out.id].grad;
  for (std::size_t i = 0; i < dout.size(); ++i) grad[i] = fresh ? dout[i] : grad[i] + dout[i];
  reverse(out.id);
}

void Graph::reverse(std::uint32_t from) {
  for (auto id = static_cast<std::uint32_t>(nodes_.size()); id-- > 0;) {
    Node& node = nodes_[id];
    if (node.op == nullptr) continue;
    if (node.grad != nullptr && id <= from) {
      if (check_finite_) check_finite(node, grad_of(id), "gradient");
      if (trace_) node.grad_norm = std::sqrt(kernels::sum_of_squares(grad_of(id)));
      Backward b(*this, id);
      {
        const Profile::Scope timing(profile_, node.op->name, node.label, Profile::Pass::backward);
        node.op->backward(node.state, b);
      }
      release_scratch();
      release_transient();
      if (node.grad) {
        arena_.release(node.grad, sizeof(real) * static_cast<std::size_t>(node.value.size()));
        node.grad = nullptr;
      }
    }
    release_kept(node);
    if (id != from) release_value(node);  // the loss stays readable
  }
  for (Node& leaf : nodes_) {
    if (leaf.op != nullptr || leaf.grad == nullptr) continue;
    const std::span<const real> grad{leaf.grad, static_cast<std::size_t>(leaf.value.size())};
    if (check_finite_) check_finite(leaf, grad, "gradient");
    if (trace_) leaf.grad_norm = std::sqrt(kernels::sum_of_squares(grad));
  }
}

std::span<const real> Graph::grad(Var leaf) const {
  check(&leaf.tape() == this && leaf.epoch == epoch_ && leaf.id < nodes_.size(), "graph",
        "this value is of another step");
  const Node& node = nodes_[leaf.id];
  check(node.op == nullptr, "graph", "only the gradients of leaves are kept; node ", leaf.id,
        " is ", node.op ? node.op->name : "");
  if (!node.grad) return {};
  return {node.grad, static_cast<std::size_t>(node.value.size())};
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

// ---- inference: recycle values after their last use ----

void Graph::plan_last_uses() {
  plan_.clear();
  plan_inputs_.assign(input_ids_.begin(), input_ids_.end());
  for (const Node& n : nodes_) plan_.push_back({n.op, n.first_input, n.n_inputs, kNever});
  for (std::uint32_t id = 0; id < nodes_.size(); ++id) {
    // A view keeps its owner's memory in use.
    for (const std::uint32_t input : inputs(nodes_[id])) {
      plan_[input].last_use = id;
      plan_[nodes_[input].owner].last_use = id;
    }
  }
  // A view that nobody uses is for the caller to read.
  for (std::uint32_t id = 0; id < nodes_.size(); ++id) {
    if (plan_[id].last_use == kNever) plan_[nodes_[id].owner].last_use = kNever;
  }
}

void Graph::recycle(std::uint32_t id) {
  const Node& node = nodes_[id];
  const auto same = [&] {
    if (id >= plan_.size() || plan_[id].op != node.op || plan_[id].n_inputs != node.n_inputs) {
      return false;
    }
    return std::ranges::equal(
        inputs(node), std::span(plan_inputs_).subspan(plan_[id].first_input, node.n_inputs));
  };
  if (!same()) {
    plan_holds_ = false;  // another sequence of ops: keep everything in this run
    return;
  }
  for (const std::uint32_t input : inputs(node)) {
    Node& owner = nodes_[nodes_[input].owner];
    if (plan_[nodes_[input].owner].last_use == id) release_value(owner);
  }
}

void Graph::keep(Var v) {
  static_cast<void>(value_of(v));
  nodes_[nodes_[v.id].owner].kept_by_caller = true;
}

}  // namespace notch
