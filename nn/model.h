// What quantization and training ask of a model: the Model concept, and ModelView, its type-erased
// form, so that recipes are ordinary functions and not templates.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "nn/layers.h"

namespace notch::nn {

/// One training or evaluation batch: tokens [B, T] and, for each, the token that follows (-1:
/// ignored).
struct Batch {
  Tokens tokens{};
  std::span<const std::int32_t> targets{};
};

/// A piece of a model between two hidden states, for methods that go block by block: parts in
/// order, each of which ends in a hidden state as well (a residual branch and its sum).
struct Stage {
  struct Part {
    std::vector<Linear*> linears{};  ///< the layers it runs, in order
    std::function<Var(Graph&, Var)> run{};
  };
  std::string name{};
  std::vector<Part> parts{};

  std::vector<Linear*> linears() const {
    std::vector<Linear*> all;
    for (const Part& p : parts) all.insert(all.end(), p.linears.begin(), p.linears.end());
    return all;
  }
  Var run(Graph& g, Var x) const {
    for (const Part& p : parts) x = p.run(g, x);
    return x;
  }
};

/// hidden = embed, then every stage in order; logits = head(hidden). A tied head shares its
/// `weight` with an embedding. All pointers stay valid while the model lives.
template <class M>
concept Model = requires(M model, Graph& g, const Tokens& tokens, const Batch& batch,
                         const std::optional<Teacher>& teacher) {
  { model.params() } -> std::same_as<ParamStore&>;
  { model.hooks() } -> std::same_as<Hooks&>;
  { model.linears() } -> std::same_as<std::vector<Linear*>>;
  { model.embeddings() } -> std::same_as<std::vector<Embedding*>>;
  { model.head() } -> std::same_as<Linear&>;
  { model.stages() } -> std::same_as<std::vector<Stage>>;
  { model.embed(g, tokens) } -> std::same_as<Var>;
  { model.hidden(g, tokens) } -> std::same_as<Var>;
  { model.logits(g, tokens) } -> std::same_as<Var>;
  { model.loss(g, batch, teacher) } -> std::same_as<Var>;
};

struct ModelView {
  ParamStore* params = nullptr;
  Hooks* hooks = nullptr;
  std::vector<Linear*> linears{};  ///< in the order they run; without the head
  std::vector<Embedding*> embeddings{};
  Linear* head = nullptr;
  std::vector<Stage> stages{};  ///< the last one ends in the input of the head
  std::function<Var(Graph&, const Tokens&)> embed{};
  std::function<Var(Graph&, const Tokens&)> hidden{};
  std::function<Var(Graph&, const Tokens&)> logits{};
  std::function<Var(Graph&, const Batch&, const std::optional<Teacher>&)> loss{};

  bool head_is_tied() const {
    for (const Embedding* e : embeddings) {
      if (e->weight == head->weight) return true;
    }
    return false;
  }
};

template <Model M>
ModelView view(M& model) {
  return {.params = &model.params(),
          .hooks = &model.hooks(),
          .linears = model.linears(),
          .embeddings = model.embeddings(),
          .head = &model.head(),
          .stages = model.stages(),
          .embed = [&model](Graph& g, const Tokens& t) { return model.embed(g, t); },
          .hidden = [&model](Graph& g, const Tokens& t) { return model.hidden(g, t); },
          .logits = [&model](Graph& g, const Tokens& t) { return model.logits(g, t); },
          .loss = [&model](Graph& g, const Batch& b,
                           const std::optional<Teacher>& t) { return model.loss(g, b, t); }};
}

/// cross-entropy or distillation of `hidden` through the head, in chunks (head_loss). Throws when
/// the head has a bias: head_loss has none.
Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher);

}  // namespace notch::nn
