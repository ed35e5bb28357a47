// Op: what can stand on the tape, and what it sees of it.
//
// An op is a plain struct that says how its output and the gradients of its inputs are computed. It
// sees no graph, only its own node: Forward while it computes, Backward while the sweep passes it.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "autograd/kernels/precision.h"
#include "autograd/tensor.h"

namespace notch {

class Graph;

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
  /// The precision of this step's matrix products.
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

}  // namespace notch
