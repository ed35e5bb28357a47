// Hooks: the seam between models and everything that changes how they compute.
//
// A model asks its Hooks four questions: what a table or matrix looks like in this step (weight),
// how a Linear multiplies (linear), how an Embedding looks up (embedding), and how a head and the
// loss behind it are computed together (loss). Each answer is a chain: links are entered in the
// order they were attached, each may call `next` for the rest of the chain, and behind the last
// stands the plain answer. So the link attached first is the outermost: what it does to a weight is
// done last, to what the links attached later have made of it. A link that does not call `next`
// cuts off those attached later. nn/ does not know who attaches; quant/ does so without touching a
// model file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"

namespace notch::nn {

struct Linear;
struct Embedding;

/// Token ids [B, T], row-major.
struct Tokens {
  std::span<const std::int32_t> ids{};
  std::int64_t B = 0, T = 0;
};

/// What a head is asked for: the loss of its logits against targets, or against a teacher.
struct LossTargets {
  std::span<const std::int32_t> targets{};
  std::optional<Teacher> teacher{};
};

/// Removes its link from the chain when it is destroyed.
class Attachment {
 public:
  Attachment() = default;
  Attachment(const void* link, std::function<void()> detach)
      : link_(link), detach_(std::move(detach)) {}
  Attachment(Attachment&& other) noexcept
      : link_(other.link_), detach_(std::exchange(other.detach_, nullptr)) {}
  Attachment& operator=(Attachment&& other) noexcept {
    std::swap(link_, other.link_);
    std::swap(detach_, other.detach_);
    return *this;
  }
  ~Attachment() {
    if (detach_) detach_();
  }

 private:
  template <class... Args>
  friend class Chain;
  const void* link_ = nullptr;
  std::function<void()> detach_;
};

/// An ordered chain of links Var(Graph&, Args..., const Next& next) in front of a plain function.
template <class... Args>
class Chain {
 public:
  class Next {
   public:
    Var operator()(Graph& g, Args... args) const {
      if (at_ == chain_->links_.end()) return chain_->plain_(g, args...);
      return (*at_)(g, args..., Next(*chain_, std::next(at_)));
    }

   private:
    friend class Chain;
    using Position =
        typename std::list<std::function<Var(Graph&, Args..., const Next&)>>::const_iterator;
    Next(const Chain& chain, Position at) : chain_(&chain), at_(at) {}
    const Chain* chain_;
    Position at_;
  };
  using Link = std::function<Var(Graph&, Args..., const Next&)>;

  explicit Chain(Var (*plain)(Graph&, Args...)) : plain_(plain) {}
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  [[nodiscard]] Attachment attach(Link link) {
    const auto at = links_.insert(links_.end(), std::move(link));
    return Attachment(&*at, [this, at] { links_.erase(at); });
  }
  /// What `link` is handed by its `next`: the answer of the links attached after it. Its owner asks
  /// here for what it works on outside of a forward pass.
  Var below(const Attachment& link, Graph& g, Args... args) const {
    return Next(*this, std::next(find(link)))(g, args...);
  }
  bool is_last(const Attachment& link) const { return std::next(find(link)) == links_.end(); }
  Var operator()(Graph& g, Args... args) const { return Next(*this, links_.begin())(g, args...); }
  bool empty() const { return links_.empty(); }

 private:
  auto find(const Attachment& link) const {
    return std::ranges::find_if(links_, [&](const Link& l) { return &l == link.link_; });
  }

  Var (*plain_)(Graph&, Args...);
  std::list<Link> links_;
};

class Hooks {
 public:
  Hooks();

  Chain<Param&> weight_chain;              ///< default: the parameter itself
  Chain<const Linear&, Var> linear_chain;  ///< default: x wᵀ + bias, w from weight()
  Chain<const Embedding&, const Tokens&> embedding_chain;    ///< default: rows of weight(table)
  Chain<const Linear&, Var, const LossTargets&> loss_chain;  ///< default: head_loss with weight()

  /// The weight chain's answer, asked once per step and parameter: a tied or reused table is
  /// transformed once. The graph remembers it, not the model: graphs of several threads may read
  /// one model.
  Var weight(Graph& g, Param& p) const;
};

}  // namespace notch::nn
