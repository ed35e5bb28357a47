// The importance matrix of llama.cpp: how large the inputs of each matrix are, column by column, and
// its file.
//
// For a matrix that multiplies x: in_sum2 = Σ x² over all tokens, one sum per column, and their count.
// llama-quantize reads both and weighs the columns by in_sum2 / count. The file is a GGUF of the type
// "imatrix" with NAME.in_sum2 and NAME.counts, NAME the tensor of the model's file; the older .dat form is
// neither written nor read. Source: llama.cpp, tools/imatrix/imatrix.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "nn/gguf.h"
#include "nn/model.h"

namespace notch::quant {

struct InputSquares {
  std::vector<double> sums{};  ///< by column
  std::int64_t tokens = 0;
};

struct ImportanceMatrix {
  std::map<std::string, InputSquares> of{};  ///< by the tensor's name in a GGUF of the model
  std::string text{};                        ///< what it was made from
  std::int64_t chunks = 0, chunk_tokens = 0;
};

/// Adds what the matrices of the blocks are given when the model reads `tokens`; the head is not among
/// them, as llama.cpp leaves it out. Usage error for an architecture without GGUF names; numeric naming
/// the layer for an input that is not finite.
void add_importance(nn::Model& model, const nn::Tokens& tokens, ImportanceMatrix& matrix);

void save_importance(const ImportanceMatrix& matrix, const fs::path& path,
                     Existing existing = Existing::replace);

/// in_sum2 / count by tensor, as encoders want it; ones where the count is 0. Fault::input naming the
/// tensor for what is no such file, or damaged.
std::map<std::string, std::vector<float>> load_importance(const fs::path& path);

}  // namespace notch::quant
