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

/// What a model's layers pass on: the residual stream, and inside a branch what the branch has so
/// far (empty between branches).
struct State {
  Var residual{}, inner{};
};

/// Linears that read the same input, and what lies around them: the place where a method can stand
/// between two products. y_i = linears[i](input(state)); take puts them into the state.
struct Step {
  std::vector<Linear*> linears{};
  LayerNorm* norm =
      nullptr;  ///< whose output they read, if one's: a scale of the input folds into it
  /// Whose rows from source_row on reach the input's columns without a nonlinearity (v reaches
  /// attn.c_proj through a weighted mean over positions), if one's do.
  Linear* source = nullptr;
  std::int64_t source_row = 0;
  std::function<Var(Graph&, const State&)> input{};
  std::function<void(Graph&, State&, std::span<const Var> products)> take{};

  void run(Graph& g, State& s) const;
};

/// A piece of a model between two hidden states, for methods that go block by block: its steps in
/// order. A step without linears is what stands between products (a final norm).
struct Stage {
  std::string name{};
  std::vector<Step> steps{};

  std::vector<Linear*> linears() const;
  Var run(Graph& g, Var x) const;
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
