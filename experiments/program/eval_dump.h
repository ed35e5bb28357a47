// Logits and gradients of the first windows of a text as files, so that another implementation can
// check them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "nn/model.h"

namespace notch::experiments {

/// The first N windows of a text, [N, T]: targets are the tokens that follow.
class DumpWindows {
 public:
  /// T = block_size. Throws Fault::usage when the text has fewer than N full windows.
  DumpWindows(std::span<const std::int32_t> tokens, std::int64_t block_size, std::int64_t N);
  std::int64_t count() const { return N_; }
  /// Windows [first, first + n) as a batch.
  nn::Batch batch(std::int64_t first, std::int64_t n) const;

 private:
  friend void dump_logits(const nn::Model&, const DumpWindows&, const std::filesystem::path&);
  friend void dump_gradients(const nn::Model&, const DumpWindows&, const std::filesystem::path&);
  std::int64_t N_, T_;
  std::vector<std::int32_t> tokens_, targets_;
};

/// A safetensors file (eight bytes of a length, so much JSON of names, types, shapes and places, the values;
/// little-endian, row by row) of three tensors:
///   tokens   I32 [N, T]     the windows, in the text's order
///   targets  I32 [N, T]     targets[n][t] follows tokens[n][t]
///   logits   F32 [N, T, V]  before the softmax; logits[n][t] foretells targets[n][t], v by token id
/// `safetensors.numpy.load_file` reads it.
void dump_logits(const nn::Model& model, const DumpWindows& windows,
                 const std::filesystem::path& file);

/// tokens, targets and, under the names and in the orientation of model.safetensors, the gradients
/// (F32) of the mean cross-entropy over all N·T targets, without dropout. Of a quantized model:
/// with respect to its dequantized weights.
void dump_gradients(const nn::Model& model, const DumpWindows& windows,
                    const std::filesystem::path& file);

}  // namespace notch::experiments
