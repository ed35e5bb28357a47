// Models that train in a blink, text with something to learn in it, and comparisons by bits.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/mlp.h"
#include "optim/adamw.h"
#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"
#include "tests/same_bits.h"

namespace notch::test {

/// 2 blocks, 12 channels (rows that do not fill their last byte), 11 tokens.
inline nn::GptConfig tiny_config() {
  return {.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 12};
}

/// Matrices N(0, 0.3), everything else off its neutral value: no part of the model is invisible.
inline void randomise(ParamStore& params, std::uint64_t seed) {
  Rng rng(seed, 97);
  for (Param& p : params.params()) {
    const bool norm = p.value.shape.rank() == 1 && p.name.ends_with("weight");
    for (real& v : p.value.flat()) v = static_cast<real>(0.3 * rng.normal() + (norm ? 1 : 0));
  }
}

inline std::unique_ptr<nn::Gpt> make_gpt(const nn::GptConfig& config = tiny_config(),
                                         std::uint64_t seed = 1) {
  auto model = std::make_unique<nn::Gpt>(config);
  randomise(model->params(), seed);
  return model;
}

inline std::unique_ptr<nn::Mlp> make_mlp(const nn::MlpConfig& config = {.vocab_size = 11,
                                                                        .channels = 12,
                                                                        .hidden = 20},
                                         std::uint64_t seed = 1) {
  auto model = std::make_unique<nn::Mlp>(config);
  randomise(model->params(), seed);
  return model;
}

/// 2 blocks, 4 heads of 4 channels that share 2 heads of keys.
inline std::unique_ptr<nn::Llama> make_llama(bool tied = true, std::uint64_t seed = 1) {
  auto model = std::make_unique<nn::Llama>(nn::LlamaConfig{.vocab_size = 11,
                                                           .block_size = 8,
                                                           .n_layer = 2,
                                                           .n_head = 4,
                                                           .n_kv_head = 2,
                                                           .n_embd = 16,
                                                           .n_inner = 20,
                                                           .rope_theta = 100,
                                                           .tie_embeddings = tied});
  randomise(model->params(), seed);
  return model;
}

/// A GPT with biases and a Llama, of so many blocks.
inline std::vector<std::unique_ptr<nn::Model>> gpt_and_llama(int n_layer) {
  std::vector<std::unique_ptr<nn::Model>> all;
  nn::GptConfig gpt = tiny_config();
  gpt.bias = true;
  gpt.n_layer = n_layer;
  all.push_back(make_gpt(gpt));
  nn::LlamaConfig llama = make_llama()->config();
  llama.n_layer = n_layer;
  all.push_back(std::make_unique<nn::Llama>(llama));
  randomise(all.back()->params(), 7);
  return all;
}

/// A model of any kind.
struct AnyModel {
  std::shared_ptr<nn::Model> model{};

  nn::Model& get() const { return *model; }
  ParamStore& params() const { return model->params(); }
};

template <class Make>
AnyModel any_model(const Make& make) {
  return {make()};
}

/// Another model of the same kind with the same values and no hooks.
inline AnyModel copy_of(const AnyModel& model) { return {nn::clone(model.get())}; }

/// Token t+1 follows from token t by a rule three times out of four.
struct Text {
  std::int64_t B = 4, T = 8;
  std::vector<std::int32_t> ids{}, targets{};

  explicit Text(std::uint64_t seed, std::int64_t batch = 4, std::int64_t vocab = 11) : B(batch) {
    Rng rng(seed, 96);
    const auto V = static_cast<std::uint64_t>(vocab);
    std::uint64_t token = rng.below(V);
    for (std::int64_t i = 0; i < B * T; ++i) {
      ids.push_back(static_cast<std::int32_t>(token));
      token = rng.below(4) == 0 ? rng.below(V) : (3 * token + 1) % V;
      targets.push_back(static_cast<std::int32_t>(token));
    }
  }
  nn::Tokens tokens() const { return {ids, B, T}; }
  nn::Batch batch() const { return {tokens(), targets}; }
};

inline std::vector<real> copy(std::span<const real> v) { return {v.begin(), v.end()}; }

inline std::vector<real> logits_of(const nn::Model& model, const Text& text,
                                   Graph::Mode mode = Graph::Mode::inference) {
  Graph g;
  g.begin(mode);
  return copy(model.logits(g, text.tokens()).value().flat());
}

inline std::vector<real> values_of(const ParamStore& params) {
  std::vector<real> all;
  for (const Param& p : params.params()) {
    all.insert(all.end(), p.value.flat().begin(), p.value.flat().end());
  }
  return all;
}

/// Overwrites the named parameters by their dequantized codes.
inline void put_dequantized(const quant::Quantized& quantized, ParamStore& params) {
  for (const quant::NamedQTensor& t : quantized.tensors) {
    quant::dequantize(t.q, params.find(t.name)->value.flat());
  }
}

/// AdamW on the model's parameters and, at ten times the rate and without decay, `extra`. Returns
/// the loss of every step.
inline std::vector<double> train(nn::Model& model, ParamStore* extra, const Text& text, int steps,
                                 double lr = 3e-3, const std::optional<Teacher>& teacher = {}) {
  model.params().allocate_gradients();
  std::vector<optim::ParamGroup> groups = optim::decay_matrices(model.params(), 0.1);
  if (extra && !extra->params().empty()) {
    extra->allocate_gradients();
    optim::ParamGroup& group = groups.emplace_back();
    for (Param& p : extra->params()) group.params.push_back(&p);
    group.lr_mult = 10;
    group.clip = false;
  }
  optim::AdamW optimizer(std::move(groups));
  Graph g;
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) {
    model.params().zero_gradients();
    if (extra) extra->zero_gradients();
    g.begin(Graph::Mode::training);
    const Var loss = model.loss(g, text.batch(), teacher);
    losses.push_back(loss.item());
    g.backward(loss);
    optimizer.step(lr);
  }
  return losses;
}

}  // namespace notch::test
