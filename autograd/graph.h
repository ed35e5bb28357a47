// Graph: a tape. Calling an op runs it at once and appends a node; creation order is a topological
// order, so backward is a reversed loop and the printed tape is the lesson.
//
// What an op is and sees is in autograd/op.h; how long values live, which the tape does not care
// about, in autograd/lifetimes.h. A parameter's value and gradient belong to its ParamStore.
//
// Limits: one graph per thread; no gradients of gradients; a Var dies at the next begin().
//
// autograd/ is tensors, parameters, the tape, and in autograd/ops/ a struct per op.
// May include: autograd/kernels, autograd/base.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/kernels/precision.h"
#include "autograd/lifetimes.h"
#include "autograd/op.h"
#include "autograd/param.h"
#include "autograd/profile.h"
#include "autograd/tensor.h"

namespace notch {

class Graph;

/// Handle to a node. Cheap to copy; valid until the graph's next begin().
struct Var {
  Graph* graph = nullptr;
  std::uint32_t id = 0;
  std::uint32_t epoch = 0;

  /// The graph it is of. Throws Fault::usage for a Var that no op or leaf has made.
  Graph& tape() const {
    check(graph != nullptr, "graph",
          "an empty Var, which is no node of a graph, was used; a value "
          "comes from an op, or from Graph::param, constant or input");
    return *graph;
  }
  const Tensor& value() const;
  const Shape& shape() const { return value().shape; }
  real item() const;  ///< the value of a one-element Var
};

/// A node of the tape. Leaves (parameters, constants) have no op.
struct Node {
  const OpTable* op = nullptr;
  void* state = nullptr;  ///< the op's
  Tensor value{};
  real* grad = nullptr;
  const Param* param = nullptr;
  std::string_view label{};  ///< the layer that recorded it, or the leaf's name
  std::uint32_t first_input = 0, n_inputs = 0;
  bool needs_grad = false;
  double grad_norm = -1;  ///< only when tracing
};

class Graph {
 public:
  enum class Mode { training, inference };

  /// Starts a step: forgets the tape, keeps the memory. `key` seeds dropout: give it (seed, step).
  void begin(Mode mode, std::uint64_t key = 0);
  Mode mode() const { return mode_; }

  /// Leaves. A parameter is one node per step however often it is used.
  Var param(Param& p);
  Var constant(const Tensor& value, std::string_view label = "constant");
  /// A leaf whose gradient is kept for the caller to read after backward (lessons, tests, stages).
  Var input(const Tensor& value, std::string_view label = "input");

  /// Runs `op` on `inputs` and appends its node.
  template <Op T>
  Var record(const T& op, std::initializer_list<Var> inputs) {
    return record(op, std::span<const Var>(inputs.begin(), inputs.size()));
  }
  template <Op T>
  Var record(const T& op, std::span<const Var> inputs) {
    void* state = lifetimes_.begin_op(sizeof(T));
    new (state) T(op);
    return append(kOpTable<T>, state, inputs);
  }

  /// Seeds d(loss)/d(loss) = `seed` and runs the tape in reverse. `loss` has one element.
  void backward(Var loss, real seed = 1);
  /// Seeds with `dout`, of `out`'s size.
  void backward(Var out, std::span<const real> dout);
  /// The gradient of a leaf made by input() after backward; empty if nothing reached it.
  std::span<const real> grad(Var leaf) const;

  /// Names the nodes recorded while a scope is open; the text must outlive the step.
  std::string_view label() const { return label_; }
  void set_label(std::string_view label) { label_ = label; }
  /// Keeps `v` readable until begin(), although inference would recycle it after its last use and
  /// backward when it passes it.
  void keep(Var v);

  /// Checking: throws Fault::numeric naming the first node whose value or gradient is not finite.
  void set_check_finite(bool on) { check_finite_ = on; }
  /// Tracing: notes each node's gradient norm for print(); a parameter's is its sum over steps.
  void set_trace(bool on) { trace_ = on; }
  /// Profiling: adds each node's time, forward and backward, to `profile`; null switches it off.
  void set_profile(Profile* profile) { profile_ = profile; }

  /// Precision of the matrix products with weights, in this step and those to come.
  void set_precision(kernels::Precision precision) { precision_ = precision; }

  /// What `owner` has made of `key` in this step, if it said so by remember(). A model keeps here
  /// what its layers share: models do not change while they run, so that several graphs may use one.
  std::optional<Var> recall(const void* owner, const void* key) const {
    for (const Memory& m : memories_) {
      if (m.owner == owner && m.key == key && m.bytes.empty()) return m.var;
    }
    return std::nullopt;
  }
  void remember(const void* owner, const void* key, Var v) { memories_.push_back({owner, key, v}); }
  /// Memory that lives as long as the step: `bytes` of it at a multiple of 64, unspecified at first,
  /// and the same memory whenever `owner` asks again for `key`, unless it is for more.
  std::span<std::byte> memory(const void* owner, const void* key, std::size_t bytes) {
    for (const Memory& m : memories_) {
      if (m.owner == owner && m.key == key && !m.bytes.empty() && m.bytes.size() >= bytes) {
        return m.bytes;
      }
    }
    memories_.push_back(
        {owner, key, {}, {static_cast<std::byte*>(lifetimes_.allocate(bytes)), bytes}});
    return memories_.back().bytes;
  }

  std::uint64_t key() const { return key_; }
  std::uint32_t epoch() const { return epoch_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  std::span<const std::uint32_t> inputs(const Node& n) const {
    return {input_ids_.data() + n.first_input, n.n_inputs};
  }
  const Arena& arena() const { return lifetimes_.arena(); }

 private:
  friend class Forward;
  friend class Backward;
  friend struct Var;
  Var append(const OpTable& table, void* state, std::span<const Var> inputs);
  Var leaf(const Node& node);
  const Node& at(Var v) const;
  std::uint32_t input_of(std::uint32_t id, int i) const;
  /// The node's value for an op; made again if it is transient and has been released.
  const Tensor& read(std::uint32_t id);
  /// The node's value for a caller, who may read it as long as the step lives.
  const Tensor& value_of(Var v);
  std::span<real> grad_of(const Node& node) const;
  /// Allocates the node's gradient if there is none yet, and says whether it did.
  bool touch_grad(Node& node);
  void reverse(std::uint32_t from);
  /// What checking and tracing want of a gradient that is complete.
  void examine_grad(Node& node);
  void check_finite(const Node& n, std::span<const real> values, std::string_view what) const;

  Mode mode_ = Mode::training;
  std::uint32_t epoch_ = 0;
  std::uint64_t key_ = 0;
  std::string_view label_{};
  kernels::Precision precision_ = kernels::Precision::full;
  bool check_finite_ = false, trace_ = false;
  bool swept_ = false;  // by backward
  Profile* profile_ = nullptr;

  std::vector<Node> nodes_;
  std::vector<std::uint32_t> input_ids_;
  Lifetimes lifetimes_;
  struct Memory {
    const void *owner = nullptr, *key = nullptr;
    Var var{};
    std::span<std::byte> bytes{};  // of memory(), instead of a Var
  };
  std::vector<Memory> memories_;  // of this step; the graph's own are its parameters' leaves
};

/// Sets the graph's label for a scope.
class LabelScope {
 public:
  LabelScope(Graph& g, std::string_view label) : g_(g), before_(g.label()) { g.set_label(label); }
  ~LabelScope() { g_.set_label(before_); }
  LabelScope(const LabelScope&) = delete;
  LabelScope& operator=(const LabelScope&) = delete;

 private:
  Graph& g_;
  std::string_view before_;
};

}  // namespace notch
