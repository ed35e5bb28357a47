// A GPT as a GGUF file, and back: what llama.cpp loads under the architecture "gpt2".
//
// Names are llama.cpp's (token_embd.weight, blk.N.attn_qkv.weight, …), matrices row-major
// [out][in], positions, norms and biases F32, every bias there (zeros where the model has none), and
// the head by itself even where it is tied. llama.cpp's GELU is the tanh form.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nn/gguf.h"
#include "nn/gpt.h"
#include "quant/numbers/named_qtensor.h"

namespace notch::quant {

/// A tokenizer as the file holds it: tokens in GPT-2's printable spelling by id, merges as "left
/// right" by rank.
struct GgufVocabulary {
  std::vector<std::string> tokens{}, merges{};
  std::vector<std::int32_t> specials{};
  std::int32_t end_of_text = -1;  ///< -1: none
};

/// Writes the model. Quantized tensors keep their codes bit for bit in the block type that holds them
/// (gguf_blocks.h, exact_type); other matrices are encoded as `type`. Usage error naming the tensor
/// for what cannot be written so: inputs that are rounded or multiplied, a row that blocks do not
/// divide, codes that no type holds.
void save_gguf(const nn::Model& model, const std::vector<NamedQTensor>& tensors,
               const GgufVocabulary& vocabulary, const nn::GgufType& type, const std::string& name,
               const fs::path& path);

struct GgufModel {
  std::unique_ptr<nn::Model> model{};
  GgufVocabulary vocabulary{};
};

/// Reads a "gpt2" file of any of gguf_blocks.h's types, as floats. Fault::input naming the key or
/// tensor for anything else: another architecture, a missing, extra or wrongly shaped tensor, a
/// vocabulary of another size, a head that differs from a table it is said to be.
GgufModel load_gguf(const fs::path& path);

}  // namespace notch::quant
