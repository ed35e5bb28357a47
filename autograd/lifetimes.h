// Lifetimes: the memory of a step, and until when each piece of it is needed. The tape (graph.h)
// says what happens; what is allocated, released and handed out again is decided here.
//
//   scratch            lives until the op that asked for it returns
//   an op's state and
//   what it keeps      until backward has passed its node; where no gradient is wanted, as scratch
//   a value            until backward has passed its node: everything that could read it was
//                      created later and has been passed before
//   a transient value  until an op has read it; it is made again for the next (RecomputableOp)
//   a gradient         until backward has passed its node; a leaf's as long as the step
//
// Inference has no backward. There the first run notes who uses what last, and runs that repeat the
// same sequence of ops recycle values after their last use; a run that goes on to use such a value
// after all is refused, and the run after it keeps everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "autograd/arena.h"

namespace notch {

struct Node;

class Lifetimes {
 public:
  /// Forgets a step and keeps its memory. The last tape, `nodes` and `input_ids`, is the plan of an
  /// inference that follows an inference.
  void begin(bool inference, std::span<const Node> nodes, std::span<const std::uint32_t> input_ids);

  // ---- what nodes ask for ----

  /// Lives as long as the step, unless it is released.
  void* allocate(std::size_t bytes) { return arena_.allocate(bytes); }
  void release(void* block, std::size_t bytes) { arena_.release(block, bytes); }
  void* scratch(std::size_t bytes);
  void* keep(std::uint32_t id, std::size_t bytes);
  /// Memory that `id` has kept becomes the caller's, to be released by it.
  void hand_over(const void* kept);
  /// Memory of the value of `id`.
  void* value(std::uint32_t id, std::size_t bytes);
  /// The value of `id` is the memory of the value of `of`.
  void share(std::uint32_t id, std::uint32_t of);

  // ---- what the tape tells ----

  void add_leaf();
  /// An op begins: memory for its state.
  void* begin_op(std::size_t state_bytes);
  /// The node of the op that began has been appended.
  void add_op(bool needs_grad);
  /// The op of node `id` has run.
  void end_forward(std::uint32_t id, const Node& node, std::span<const std::uint32_t> inputs);
  void end_backward();
  /// The sweep has passed `id`. The loss stays readable.
  void pass(std::uint32_t id, bool is_loss);

  // ---- who may read what ----

  /// Whether nobody can read the value of `id` any more. While nothing has been `swept` by backward,
  /// transient values can be made again.
  bool is_lost(std::uint32_t id, bool swept) const;
  /// Whether the value of `id` has to be made again before it is read.
  bool is_gone(std::uint32_t id) const { return of_[id].released && of_[id].transient; }
  void made_again(std::uint32_t id);
  void read(std::uint32_t id) { of_[id].read = true; }
  /// The value of `id`, which is there, stays as long as one that is not transient.
  void settle(std::uint32_t id) { of_[id].transient = false; }
  /// The value of `id` stays until begin().
  void keep_value(std::uint32_t id) { of_[of_[id].owner].kept_by_caller = true; }

  const Arena& arena() const { return arena_; }

 private:
  static constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  /// What is known of the memory of a node.
  struct Life {
    Block value{};             // none: a leaf's or a view's
    std::uint32_t owner = 0;   // the node whose memory the value is (itself unless a view)
    std::uint32_t n_kept = 0;  // blocks on the kept stack
    bool released = false;     // the value has been recycled
    bool kept_by_caller = false;
    bool transient = false;
    bool read = false;  // an op has read the value that is in memory
  };
  /// What the last inference found of a node.
  struct Planned {
    const void* op = nullptr;
    std::uint32_t first_input = 0, n_inputs = 0, last_use = kNever;
  };

  void release_scratch();
  void release_kept(Life& life);
  void release_value(Life& life);
  void release_transient();
  void plan_last_uses(std::span<const Node> nodes, std::span<const std::uint32_t> input_ids);
  void recycle(std::uint32_t id, const Node& node, std::span<const std::uint32_t> inputs);

  Arena arena_;
  std::vector<Life> of_;  // by the node's number
  std::vector<Block> kept_, scratch_;
  std::vector<std::uint32_t> transient_;  // those whose values are in memory
  Block state_{};                         // of the op that begins
  bool inference_ = false;
  bool running_ = false;  // true in begin() only if an op threw
  std::vector<Planned> plan_;
  std::vector<std::uint32_t> plan_inputs_;
  bool plan_holds_ = false;
};

}  // namespace notch
