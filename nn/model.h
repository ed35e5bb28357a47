// What training, quantization, generation and files ask of a model.
//
// nn/ is models: layers, GPT-2 and Llama, hooks for who changes how they compute, and their files.
// May include: autograd.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "autograd/ops.h"
#include "nn/kv_cache.h"
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
  Norm* norm = nullptr;  ///< whose output they read, if one's: a scale of the input folds into it
  /// Whose rows from source_row on reach the input's columns without a nonlinearity (v reaches
  /// attn.c_proj through a weighted mean over positions), if one's do.
  Linear* source = nullptr;
  std::int64_t source_row = 0;
  std::function<Var(Graph&, const State&)> input{};
  std::function<void(Graph&, State&, std::span<const Var> products)> take{};

  void run(Graph& g, State& s) const;
};

/// The steps of matrices that are products of two: of `down`, which they share, and of `whole`, which
/// reads what it gives. Of a `down` without a weight `whole` alone. Adds them to `steps`.
void add_factored(std::vector<Step>& steps, Linear& down, Step whole);

/// A piece of a model between two hidden states, for methods that go block by block: its steps in
/// order. A step without linears is what stands between products (a final norm).
struct Stage {
  std::string name{};
  std::vector<Step> steps{};

  std::vector<Linear*> linears() const;
  Var run(Graph& g, Var x) const;
};

/// Steps of a block: into the attention and out of it, into the MLP and out of it.
inline constexpr int kStepsOfBlock = 4;

/// What memory and work follow from, whatever the architecture.
struct Sizes {
  std::int64_t vocab_size = 0;
  std::int64_t block_size = 0;  ///< longest sequence
  int n_layer = 0;
  int n_head = 0;     ///< 0 without attention
  int n_kv_head = 0;  ///< heads of keys and values: n_head, or fewer where queries share them
  std::int64_t head_dim = 0;  ///< channels of a head; n_embd / n_head unless heads were taken out
  std::int64_t n_embd = 0;
  std::int64_t n_inner = 0;  ///< channels inside the MLP
  int mlp_matrices = 2;      ///< 3 with a gate
  /// Of two factors in place of the matrices of a step, block by block and step by step; 0: they are
  /// whole. Empty: all are.
  std::vector<std::int64_t> ranks{};

  std::int64_t attention() const { return n_head * head_dim; }  ///< channels of all heads

  bool operator==(const Sizes&) const = default;
};

/// Which tokens begin and end a text, as far as config.json says it. Kept for whoever opens the model
/// elsewhere: nothing here looks at them.
struct TokenIds {
  std::optional<std::int32_t> bos{};
  std::vector<std::int32_t> eos{};  ///< each of them ends it; none: not said
  bool operator==(const TokenIds&) const = default;
};

/// One tensor of a model's file.
struct FileTensor {
  const Param* param = nullptr;  ///< nullptr: a bias that the model lacks and the file has as zeros
  std::string name{};            ///< in the file
  Shape shape{};                 ///< in the file
  bool transposed = false;       ///< the file has [in, out], the parameter [out, in]
};

/// How the published files of an architecture name their tensors.
struct FileNames {
  std::string_view prefix{};  ///< before every name but the head's; some files are without it
  std::string_view table{};   ///< of the token table, without the prefix
  std::string_view head = "lm_head.weight";
  /// Tensors that some files hold besides the parameters, and nobody needs; without the prefix.
  bool (*is_buffer)(std::string_view name) = nullptr;
  std::string_view reversed{};  ///< the hint for a matrix with its extents the other way round
};

/// A language model: hidden = embed, then every stage in order; logits = head(hidden).
///
/// What is common to all of them is here; an architecture declares its parameters in its
/// constructor and says how they are run, stored and configured. All pointers into a model stay
/// valid while it lives. nn/architectures.h has the table by which files and programs make one.
class Model {
 public:
  /// Whether the parameters get memory. A packed model fills only what stays in floating point.
  enum class Values { allocate, shapes_only };

  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  const Sizes& sizes() const { return sizes_; }
  ParamStore& params() { return params_; }
  const ParamStore& params() const { return params_; }
  Hooks& hooks() { return hooks_; }
  /// A tied head shares its `weight` with the token table.
  Linear& head() { return head_; }
  const Linear& head() const { return head_; }
  Embedding& token_table() { return token_table_; }
  const Embedding& token_table() const { return token_table_; }
  /// Rows that are added by position; null where positions enter otherwise.
  Embedding* position_table() { return position_table_.weight ? &position_table_ : nullptr; }
  std::vector<Embedding*> embeddings();  ///< the token table, then the positions
  bool head_is_tied() const { return head_.weight == token_table_.weight; }
  std::vector<Linear*> linears();  ///< in the order they run; without the head
  /// Weights that multiply each token: of the linears and the head. A table that is only looked up
  /// does not count.
  std::int64_t matrix_weights() const;

  /// Fills the parameters as the architecture's authors do. Parameter i draws from stream i.
  virtual void init(std::uint64_t seed) = 0;
  /// A model of the same configuration, without values of its own or hooks.
  virtual std::unique_ptr<Model> twin(Values values = Values::allocate) const = 0;
  /// Sets the dropout of training; an architecture without one ignores it.
  virtual void set_dropout(double) {}
  virtual std::vector<Stage> stages() = 0;  ///< the last one ends in the input of the head
  /// Rows [B, T, C] of the tokens. With a cache, positions start at cache->length().
  virtual Var embed(Graph& g, const Tokens& tokens, const KvCache* cache = nullptr) const = 0;
  /// The final normalised states [B, T, C]. With a cache the new positions are added to it.
  virtual Var hidden(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const = 0;

  /// [B, T, V].
  Var logits(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const;
  /// [B, 1, V]: of the last position alone, which is all that generation wants of a prompt.
  Var next_logits(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const;
  /// Mean cross-entropy in nats, or the distillation loss -> [1].
  Var loss(Graph& g, const Batch& batch, const std::optional<Teacher>& teacher = {}) const;

  /// What config.json and the table of architectures call it.
  virtual std::string architecture() const = 0;
  /// The members of config.json, without those of callers (quantization_config).
  virtual Json config_json() const = 0;
  /// What a person is told beside the sizes: "tied head, no biases".
  virtual std::string description() const = 0;
  virtual FileNames file_names() const = 0;
  /// Everything the file of this model holds, in the order of the parameters. A tied head is not in
  /// it.
  virtual std::vector<FileTensor> file_tensors() const;
  /// As the configuration says them.
  virtual TokenIds token_ids() const { return {}; }

 protected:
  Model() = default;
  Sizes sizes_{};
  ParamStore params_;
  Hooks hooks_;
  Embedding token_table_{}, position_table_{};
  Linear head_{};
};

/// A model of the same configuration and values. Hooks are not copied.
std::unique_ptr<Model> clone(const Model& model);

/// Makes the first factors of a model's matrices while it is constructed, step after step.
class FactorShapes {
 public:
  /// Usage error for ranks that are not one per step of each block. Store and hooks outlive it.
  FactorShapes(ParamStore& params, const Hooks& hooks, const Sizes& sizes);
  /// Inputs of the matrices of the next step, which have `out` rows together and read `in` channels: its
  /// rank, of a `down` called `<name>.down` [rank, in] that this makes, or `in` where they are whole.
  /// Usage error for a rank above either.
  std::int64_t next(Linear& down, const std::string& name, std::int64_t out, std::int64_t in);

 private:
  ParamStore& params_;
  const Hooks& hooks_;
  std::vector<std::int64_t> ranks_;
  std::size_t at_ = 0;
};

/// The cache shape of a model's whole context.
KvShape kv_shape(const Sizes& sizes, std::int64_t batch = 1);

/// cross-entropy or distillation of `hidden` through the head, in chunks (head_loss). Throws when
/// the head has a bias: head_loss has none.
Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher);

}  // namespace notch::nn
