// Graph: a tape. Calling an op runs it at once and appends a node; creation order is a topological
// order, so backward is a reversed loop and the printed tape is the lesson.
//
// Lifetimes. In training mode a node's value and what it kept live until backward has passed the
// node: everything that could read them was created later and has been passed before. In inference
// mode the graph notes on the first run who uses what last, and recycles values after their last
// use on the runs that repeat the same sequence of ops; a run that goes on to use such a value
// after all is refused, and the run after it keeps everything. A parameter's value and gradient
// belong to its ParamStore.
//
// Limits: one graph per thread; no gradients of gradients; a Var dies at the next begin().
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "autograd/arena.h"
#include "autograd/kernels/precision.h"
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

/// What an op sees while it runs forward.
class Forward {
 public:
  int inputs() const;
  const Tensor& in(int i) const;
  /// The output's memory, unspecified contents.
  Tensor out(Shape shape) const;
  /// The output as the same memory as input `i` under another shape.
  Tensor view(int i, Shape shape) const;
  /// Memory that the op's backward will read. In inference it lasts until forward returns.
  template <class T = real>
  std::span<T> keep(std::int64_t n) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {static_cast<T*>(keep_bytes(sizeof(T) * static_cast<std::size_t>(n))),
            static_cast<std::size_t>(n)};
  }
  /// Memory until forward returns.
  template <class T = real>
  std::span<T> scratch(std::int64_t n) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {static_cast<T*>(scratch_bytes(sizeof(T) * static_cast<std::size_t>(n))),
            static_cast<std::size_t>(n)};
  }
  /// Whether backward will want the gradient of input `i` (false in inference).
  bool wants_grad(int i) const;
  /// Whether random regularisation is on (dropout).
  bool training() const;
  /// A key that is a pure function of (graph key, node): the seed of counter_uniform.
  std::uint64_t key() const;
  /// Of the matrix products of this step's training.
  kernels::Precision precision() const;

 private:
  friend class Graph;
  Forward(Graph& g, std::uint32_t id) : g_(g), id_(id) {}
  void* keep_bytes(std::size_t bytes) const;
  void* scratch_bytes(std::size_t bytes) const;
  Graph& g_;
  std::uint32_t id_;
};

/// What an op sees while it runs backward. Gradients are added to (+=).
class Backward {
 public:
  const Tensor& in(int i) const;
  const Tensor& out() const;
  std::span<const real> dout() const;
  bool wants_grad(int i) const;
  kernels::Precision precision() const;
  /// The gradient of input `i`, zeroed when it is touched first; empty when nobody wants it.
  std::span<real> grad(int i) const;
  /// The same for an op that can overwrite: `fresh` says that nothing has been added yet and the
  /// contents are unspecified. It saves a pass over memory.
  struct Gradient {
    std::span<real> values{};
    bool fresh = false;
  };
  Gradient first_grad(int i) const;
  /// Adds `dout` unchanged to the gradient of input `i`; a first contribution moves the memory
  /// instead. After it dout() must not be used again.
  void pass_dout(int i) const;
  /// Adds kept memory to the gradient of input `i`; a first contribution moves the memory instead.
  void pass_kept(int i, std::span<real> kept) const;
  template <class T = real>
  std::span<T> scratch(std::int64_t n) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {static_cast<T*>(scratch_bytes(sizeof(T) * static_cast<std::size_t>(n))),
            static_cast<std::size_t>(n)};
  }

 private:
  friend class Graph;
  Backward(Graph& g, std::uint32_t id) : g_(g), id_(id) {}
  void* scratch_bytes(std::size_t bytes) const;
  Graph& g_;
  std::uint32_t id_;
};

/// An op is a plain struct: a name, what it computes, how gradients flow back. Its members are the
/// state that backward needs; they live in the arena and are dropped without a destructor.
template <class T>
concept Op = std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T> &&
    requires(T op, const T kept, Forward& f, Backward& b) {
  { T::name } -> std::convertible_to<std::string_view>;
  { op.forward(f) } -> std::same_as<Tensor>;
  kept.backward(b);
};

/// An op whose value is cheaper to make again than to keep: in training it lives only while an op
/// reads it. `recompute` gives the same bits from the inputs and what forward kept.
template <class T>
concept RecomputableOp = Op<T> && requires(const T kept, Forward& f) {
  { kept.recompute(f) } -> std::same_as<Tensor>;
};

/// What the graph knows of an op's type.
struct OpTable {
  std::string_view name{};
  Tensor (*forward)(void* op, Forward& f) = nullptr;
  void (*backward)(const void* op, Backward& b) = nullptr;
  Tensor (*recompute)(const void* op, Forward& f) = nullptr;  ///< null: the value is kept
};

template <Op T>
constexpr OpTable op_table() {
  OpTable table{T::name, [](void* op, Forward& f) { return static_cast<T*>(op)->forward(f); },
                [](const void* op, Backward& b) { static_cast<const T*>(op)->backward(b); }};
  if constexpr (RecomputableOp<T>)
    table.recompute = [](const void* op, Forward& f) {
      return static_cast<const T*>(op)->recompute(f);
    };
  return table;
}
template <Op T>
inline constexpr OpTable kOpTable = op_table<T>();

/// A node of the tape. Leaves (parameters, constants) have no op.
struct Node {
  const OpTable* op = nullptr;
  void* state = nullptr;
  Tensor value{};
  real* grad = nullptr;
  const Param* param = nullptr;
  std::string_view label{};  ///< the layer that recorded it, or the leaf's name
  std::uint32_t first_input = 0, n_inputs = 0;
  std::uint32_t owner = 0;   ///< the node whose memory the value is (itself unless a view)
  std::uint32_t n_kept = 0;  ///< blocks on the kept stack
  bool needs_grad = false;
  bool owns_value = false;
  bool released = false;        ///< the value has been recycled
  bool kept_by_caller = false;  ///< Graph::keep: not to be recycled
  bool transient = false;       ///< released when an op has read it, recomputed for the next
  bool read = false;            ///< an op has read the value that is in memory
  double grad_norm = -1;        ///< only when tracing
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
    void* state = arena_.allocate(sizeof(T));
    new (state) T(op);
    return append(kOpTable<T>, state, sizeof(T), inputs);
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
    memories_.push_back({owner, key, {}, {static_cast<std::byte*>(arena_.allocate(bytes)), bytes}});
    return memories_.back().bytes;
  }

  std::uint64_t key() const { return key_; }
  std::uint32_t epoch() const { return epoch_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  std::span<const std::uint32_t> inputs(const Node& n) const {
    return {input_ids_.data() + n.first_input, n.n_inputs};
  }
  const Arena& arena() const { return arena_; }

 private:
  friend class Forward;
  friend class Backward;
  friend struct Var;
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  static constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();

  Var append(const OpTable& table, void* state, std::size_t state_bytes,
             std::span<const Var> inputs);
  Var leaf(Node node);
  const Node& at(Var v) const;
  std::uint32_t input_of(std::uint32_t id, int i) const;
  std::span<real> grad_of(std::uint32_t id);
  /// Allocates the node's gradient if there is none yet, and says whether it did.
  bool touch_grad(std::uint32_t id);
  /// The node's value for an op; recomputed if it is transient and has been released.
  const Tensor& read(std::uint32_t id);
  /// Releases the transient values that have been read.
  void release_transient();
  /// The node's value for a caller, who may read it as long as the step lives.
  const Tensor& value_of(Var v);
  void reverse(std::uint32_t from);
  void release_scratch();
  void release_kept(Node& n);
  void release_value(Node& n);
  void check_finite(const Node& n, std::span<const real> values, std::string_view what) const;
  void plan_last_uses();
  void recycle(std::uint32_t id);

  Mode mode_ = Mode::training;
  std::uint32_t epoch_ = 0;
  std::uint64_t key_ = 0;
  std::string_view label_{};
  kernels::Precision precision_ = kernels::Precision::full;
  bool check_finite_ = false, trace_ = false, swept_ = false;
  bool recording_ = false;  // true after begin() only if an op threw
  Profile* profile_ = nullptr;

  Arena arena_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> input_ids_;
  std::vector<Block> kept_, scratch_;
  std::vector<std::uint32_t> transient_;  // those whose values are in memory
  struct Memory {
    const void *owner = nullptr, *key = nullptr;
    Var var{};
    std::span<std::byte> bytes{};  // of memory(), instead of a Var
  };
  std::vector<Memory> memories_;  // of this step; the graph's own are its parameters' leaves

  // Inference: the last run's sequence of ops, and for each node its last user.
  struct Planned {
    const OpTable* op = nullptr;
    std::uint32_t first_input = 0, n_inputs = 0, last_use = kNever;
  };
  std::vector<Planned> plan_;
  std::vector<std::uint32_t> plan_inputs_;
  bool plan_holds_ = false;
};

inline kernels::Precision Forward::precision() const { return g_.precision_; }
inline kernels::Precision Backward::precision() const { return g_.precision_; }

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
