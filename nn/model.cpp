#include "nn/model.h"

#include <algorithm>
#include <utility>

namespace notch::nn {

void Step::run(Graph& g, State& s) const {
  check(take && (linears.empty() || input), "step",
        "has no function for its input or its products");
  std::vector<Var> products;
  if (!linears.empty()) {
    const Var x = input(g, s);
    for (const Linear* linear : linears) products.push_back((*linear)(g, x));
  }
  take(g, s, products);
}

void add_factored(std::vector<Step>& steps, Linear& down, Step whole) {
  if (down.weight) {
    steps.push_back({.linears = {&down},
                     .norm = std::exchange(whole.norm, nullptr),
                     .source = std::exchange(whole.source, &down),
                     .source_row = std::exchange(whole.source_row, 0),
                     .input = std::move(whole.input),
                     .take = [](Graph&, State& s, std::span<const Var> y) { s.inner = y[0]; }});
    whole.input = [](Graph&, const State& s) { return s.inner; };
  }
  steps.push_back(std::move(whole));
}

std::vector<Linear*> Stage::linears() const {
  std::vector<Linear*> all;
  for (const Step& s : steps) all.insert(all.end(), s.linears.begin(), s.linears.end());
  return all;
}

Var Stage::run(Graph& g, Var x) const {
  const LabelScope scope(g, name);
  State state{.residual = x};
  for (const Step& s : steps) s.run(g, state);
  return state.residual;
}

std::vector<Embedding*> Model::embeddings() {
  if (position_table_.weight) return {&token_table_, &position_table_};
  return {&token_table_};
}

std::vector<Linear*> Model::linears() {
  std::vector<Linear*> all;
  for (const Stage& stage : stages()) {
    for (Linear* linear : stage.linears()) all.push_back(linear);
  }
  return all;
}

std::int64_t Model::matrix_weights() const {
  std::int64_t all = 0;
  for (const Param& p : params_.params()) {
    const bool looked_up =
        &p == position_table_.weight || (&p == token_table_.weight && !head_is_tied());
    if (p.value.shape.rank() == 2 && !looked_up) all += p.value.size();
  }
  return all;
}

Var Model::logits(Graph& g, const Tokens& tokens, KvCache* cache) const {
  const Var x = hidden(g, tokens, cache);
  return head_(g, x);
}

Var Model::next_logits(Graph& g, const Tokens& tokens, KvCache* cache) const {
  const Var x = hidden(g, tokens, cache);
  const Var last = slice(x, 1, tokens.T - 1, tokens.T);
  return head_(g, last);
}

Var Model::loss(Graph& g, const Batch& batch, const std::optional<Teacher>& teacher) const {
  const Var x = hidden(g, batch.tokens);
  return loss_of(g, head_, x, batch.targets, teacher);
}

std::vector<FileTensor> Model::file_tensors() const {
  std::vector<FileTensor> tensors;
  for (const Param& p : params_.params()) tensors.push_back({&p, p.name, p.value.shape, false});
  return tensors;
}

std::unique_ptr<Model> clone(const Model& model) {
  std::unique_ptr<Model> copy = model.twin();
  copy->params().copy_values(model.params());
  return copy;
}

FactorShapes::FactorShapes(ParamStore& params, const Hooks& hooks, const Sizes& sizes)
    : params_(params), hooks_(hooks), ranks_(sizes.ranks) {
  check(ranks_.empty() || std::ssize(ranks_) == kStepsOfBlock * sizes.n_layer, "ranks", "are ",
        ranks_.size(), " for ", sizes.n_layer, " blocks of ", kStepsOfBlock, " steps");
}

std::int64_t FactorShapes::next(Linear& down, const std::string& name, std::int64_t out,
                                std::int64_t in) {
  check(ranks_.empty() || at_ < ranks_.size(), name, "is one matrix more than the ", ranks_.size(),
        " ranks are of");
  const std::int64_t rank = ranks_.empty() ? 0 : ranks_[at_++];
  if (rank == 0) return in;
  check(rank > 0 && rank <= std::min(out, in), name, "a rank of ", rank, " for a matrix of [", out,
        ", ", in, "]");
  down = make_linear(params_, hooks_, name + ".down", rank, in, false);
  return rank;
}

KvShape kv_shape(const Sizes& s, std::int64_t batch) {
  return {.n_layer = s.n_layer,
          .n_head = s.n_head,
          .channels = s.attention(),
          .capacity = s.block_size,
          .batch = batch,
          .n_kv_head = s.n_kv_head};
}

Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher) {
  check(head.weight && head.hooks, "loss", "the head has no weight");
  check(head.bias == nullptr, head.name, "a head with a bias has no chunked loss");
  const LabelScope scope(g, head.name);
  return head.hooks->loss_chain(g, head, hidden, {targets, teacher});
}

}  // namespace notch::nn
