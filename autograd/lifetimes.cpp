#include "autograd/lifetimes.h"

#include <algorithm>

#include "autograd/graph.h"

namespace notch {

void Lifetimes::begin(bool inference, std::span<const Node> nodes,
                      std::span<const std::uint32_t> input_ids) {
  if (inference_) {
    if (running_) {
      plan_.clear();  // an op threw: who comes after it is not known
    } else {
      plan_last_uses(nodes, input_ids);
    }
  }
  running_ = false;
  inference_ = inference;
  plan_holds_ = inference && !plan_.empty();
  of_.clear();
  kept_.clear();
  scratch_.clear();
  transient_.clear();
  arena_.reset();
}

// ---- what nodes ask for ----

void* Lifetimes::scratch(std::size_t bytes) {
  void* block = arena_.allocate(bytes);
  scratch_.push_back({block, bytes});
  return block;
}

void* Lifetimes::keep(std::uint32_t id, std::size_t bytes) {
  void* block = arena_.allocate(bytes);
  kept_.push_back({block, bytes});
  ++of_[id].n_kept;
  return block;
}

void Lifetimes::hand_over(const void* kept) {
  std::ranges::find(kept_, kept, &Block::data)->data = nullptr;
}

void* Lifetimes::value(std::uint32_t id, std::size_t bytes) {
  of_[id].value = {arena_.allocate(bytes), bytes};
  return of_[id].value.data;
}

void Lifetimes::share(std::uint32_t id, std::uint32_t of) {
  of_[id].owner = of_[of].owner;
  of_[of_[id].owner].transient = false;  // the view needs its memory
}

// ---- what the tape tells ----

void Lifetimes::add_leaf() { of_.push_back({.owner = static_cast<std::uint32_t>(of_.size())}); }

void* Lifetimes::begin_op(std::size_t state_bytes) {
  running_ = true;
  state_ = {arena_.allocate(state_bytes), state_bytes};
  return state_.data;
}

void Lifetimes::add_op(bool needs_grad) {
  of_.push_back({.owner = static_cast<std::uint32_t>(of_.size()), .n_kept = needs_grad ? 1u : 0u});
  (needs_grad ? kept_ : scratch_).push_back(state_);
}

void Lifetimes::end_forward(std::uint32_t id, const Node& node,
                            std::span<const std::uint32_t> inputs) {
  release_scratch();
  release_transient();
  if (node.op->recompute && node.needs_grad) {
    of_[id].transient = true;
    transient_.push_back(id);
  }
  if (plan_holds_) recycle(id, node, inputs);
  running_ = false;
}

void Lifetimes::end_backward() {
  release_scratch();
  release_transient();
}

void Lifetimes::pass(std::uint32_t id, bool is_loss) {
  release_kept(of_[id]);
  if (!is_loss) release_value(of_[id]);
}

// ---- who may read what ----

bool Lifetimes::is_lost(std::uint32_t id, bool swept) const {
  const Life& owner = of_[of_[id].owner];
  return owner.released && (swept || !owner.transient);
}

void Lifetimes::made_again(std::uint32_t id) {
  of_[id].released = false;
  transient_.push_back(id);
}

// ---- releases ----

void Lifetimes::release_scratch() {
  for (const Block& b : scratch_) arena_.release(b.data, b.bytes);
  scratch_.clear();
}

void Lifetimes::release_kept(Life& life) {
  for (; life.n_kept > 0; --life.n_kept) {
    if (kept_.back().data) arena_.release(kept_.back().data, kept_.back().bytes);
    kept_.pop_back();
  }
}

void Lifetimes::release_value(Life& life) {
  if (!life.value.data || life.released || life.kept_by_caller) return;
  arena_.release(life.value.data, life.value.bytes);
  life.released = true;
}

/// Those that have been read.
void Lifetimes::release_transient() {
  std::erase_if(transient_, [this](std::uint32_t id) {
    Life& life = of_[id];
    if (life.transient && life.read) release_value(life);
    return life.released || !life.transient;
  });
}

// ---- inference: recycle values after their last use ----

void Lifetimes::plan_last_uses(std::span<const Node> nodes,
                               std::span<const std::uint32_t> input_ids) {
  plan_.clear();
  plan_inputs_.assign(input_ids.begin(), input_ids.end());
  for (const Node& n : nodes) plan_.push_back({n.op, n.first_input, n.n_inputs, kNever});
  for (std::uint32_t id = 0; id < nodes.size(); ++id) {
    // A view keeps its owner's memory in use.
    for (const std::uint32_t input : input_ids.subspan(nodes[id].first_input, nodes[id].n_inputs)) {
      plan_[input].last_use = id;
      plan_[of_[input].owner].last_use = id;
    }
  }
  // A view that nobody uses is for the caller to read.
  for (std::uint32_t id = 0; id < nodes.size(); ++id) {
    if (plan_[id].last_use == kNever) plan_[of_[id].owner].last_use = kNever;
  }
}

void Lifetimes::recycle(std::uint32_t id, const Node& node, std::span<const std::uint32_t> inputs) {
  const auto same = [&] {
    if (id >= plan_.size() || plan_[id].op != node.op || plan_[id].n_inputs != node.n_inputs) {
      return false;
    }
    return std::ranges::equal(
        inputs, std::span(plan_inputs_).subspan(plan_[id].first_input, node.n_inputs));
  };
  if (!same()) {
    plan_holds_ = false;  // another sequence of ops: keep everything in this run
    return;
  }
  for (const std::uint32_t input : inputs) {
    const std::uint32_t owner = of_[input].owner;
    if (plan_[owner].last_use == id) release_value(of_[owner]);
  }
}

}  // namespace notch
