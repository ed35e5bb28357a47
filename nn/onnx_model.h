// A model as an ONNX graph: what hidden() and head() compute, in standard operators.
//
//   input_ids  I64 [batch, sequence]  ->  logits  F32 [batch, sequence, vocabulary]
// With a cache, under the names that optimum and transformers.js use, for every layer l:
//   past_key_values.l.key, .value  F32 [batch, heads of keys, past, head size]
//   present.l.key, .value          the same with the new positions behind
// Positions count from the length of the past, which may be 0. No padding: every sequence of a
// batch is as long as the others.
#pragma once

#include <cstdint>
#include <string>

#include "nn/model.h"
#include "nn/onnx.h"

namespace notch::nn {

/// How a graph multiplies with matrices and looks rows up: in floating point here; with codes where
/// quant/store/onnx_codes.h says so.
class OnnxWeights {
 public:
  virtual ~OnnxWeights() = default;
  /// x [.., in] times the matrix [out, in], transposed -> [.., out]; without a bias.
  virtual std::string product(OnnxGraph& g, const Param& weight, const std::string& x);
  /// Rows `ids` of a table [V, C]; `rank` is that of the ids.
  virtual std::string rows(OnnxGraph& g, const Param& table, const std::string& ids, int rank);
};

/// `model` and `weights` must outlive the graph, whose tables of positions are as long as `context`, the model's
/// at most; 0: that. Throws Fault::input for an architecture that this has no graph of.
OnnxGraph onnx_graph(const Model& model, OnnxWeights& weights, bool cache,
                     std::int64_t context = 0);

}  // namespace notch::nn
