// How much memory a model needs where it runs: weights, KV cache, activations.
//
// For our own models and, by the same formulas, for well-known shapes that do not fit here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/show/table.h"
#include "nn/model.h"
#include "quant/serve/kv_cache.h"

namespace notch::experiments {

/// The sizes that memory follows from.
struct MemoryShape {
  std::string name{};
  std::int64_t n_layer = 0, channels = 0, n_head = 0;
  std::int64_t head_dim = 0;      ///< channels of a head
  std::int64_t kv_heads = 0;      ///< fewer than n_head where heads share keys and values
  std::int64_t hidden = 0;        ///< of the MLP
  std::int64_t mlp_matrices = 2;  ///< 3 with a gate
  std::int64_t vocab = 0;
  std::int64_t matrices = 0;  ///< parameters in matrices that are multiplied or looked up
  std::int64_t others = 0;    ///< norms, biases, positions: these stay in fp32 (fp16 there)
  std::int64_t parameters() const { return matrices + others; }
};

/// Llama 2 (Touvron et al. 2023, arXiv:2307.09288): 7B, 13B and 70B.
std::vector<MemoryShape> named_shapes();
MemoryShape memory_shape(const nn::Model& model, std::string name);

/// A use: how weights and cache are stored, for how many sequences of what length.
struct MemoryUse {
  std::string weights{};    ///< "fp32", "fp16", "int8", "int4 g32"
  double matrix_bits = 32;  ///< per weight of a matrix, scales included
  double other_bits = 32;   ///< of everything else
  quant::KvKind kv = quant::KvKind::fp32;
};
std::vector<MemoryUse> usual_uses();

struct MemoryNeed {
  std::int64_t weights = 0, kv_cache = 0;
  /// FP32 values that live at the same time: of a prompt of `context` tokens, two hidden states and
  /// the MLP's matrices of activations per token, and one row of logits per sequence.
  std::int64_t activations = 0;
  std::int64_t total() const { return weights + kv_cache + activations; }
};
MemoryNeed memory_need(const MemoryShape& shape, const MemoryUse& use, std::int64_t context,
                       std::int64_t batch);

/// Bytes that a training step of `tokens` tokens holds, of an fp32 model with `parameters` weights: the
/// weights, their gradients and AdamW's two moments; and what the tape keeps for the backward pass, per
/// token and layer the inputs of the two projections and norms, queries, keys and values, and the
/// MLP's matrices of activations, before and after the nonlinearity. Gradients of activations, logits
/// and workspaces come and go and are not counted.
std::int64_t training_need(const MemoryShape& shape, std::int64_t parameters, std::int64_t tokens);

/// Which wider types keep keys and values in less memory than INT8 does, as a sentence; "" if none.
std::string kv_note(const MemoryShape& shape, std::int64_t context, std::int64_t batch);

/// In decimal units, as disks and memory bandwidths count, and the total in binary ones, as
/// operating systems do.
Table memory_table();
void add_memory_row(Table& table, const MemoryShape& shape, const MemoryUse& use,
                    const MemoryNeed& need);

}  // namespace notch::experiments
