// A model as a GGUF file, and back: what llama.cpp loads under the architectures of
// quant/store/gguf_architectures.h. Matrices are row-major [out][in]; positions, norms and biases are F32.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/gguf.h"
#include "nn/model.h"
#include "quant/numbers/named_qtensor.h"

namespace notch::quant {

inline constexpr const char* kGgufChatTemplateKey = "tokenizer.chat_template";

/// A tokenizer as the file holds it (tokenizer.*, model "gpt2").
struct GgufVocabulary {
  /// What a token is, in llama.cpp's numbers (llama_token_type).
  enum Kind : std::int32_t {
    kNormal = 1,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,  ///< no text becomes it
    kByte = 6
  };

  std::vector<std::string> tokens{};  ///< by id, in GPT-2's printable spelling
  std::vector<std::int32_t> kinds{};  ///< one for each token, or nothing: all normal
  std::vector<std::string> merges{};  ///< "left right" by rank
  std::string pre = "gpt-2";          ///< how words are cut, by llama.cpp's name; empty: not said
  std::optional<std::int32_t> bos{}, eos{};  ///< where nothing says them, the file has no such key
  bool add_bos = false;                      ///< before every text
  std::string chat_template{};               ///< empty: there is none
  bool operator==(const GgufVocabulary&) const = default;
};

/// Something that is known of the inputs of a matrix, one number per column; empty: nothing.
using Importance = std::function<std::span<const float>(const std::string& tensor)>;

struct GgufOptions {
  /// Of matrices in floating point; TQ1_0: of codes that it holds, too (exact_type).
  const nn::GgufType* type = nullptr;
  /// Quantized tensors that no block holds exactly are rounded once more, to `type`, instead of being
  /// refused.
  bool requantize = false;
  Importance importance{};  ///< by the file's tensor names; of encoders that weigh columns
};

/// A matrix that was rounded once more.
struct Requantized {
  std::string name{};
  const nn::GgufType* type = nullptr;
  std::string why{};  ///< no type holds it exactly
  double change = 0;  ///< ‖ŵ' - ŵ‖ / ‖ŵ‖: from the weights that the model multiplies
};

/// Writes the model. Quantized tensors keep their codes bit for bit in the block type that holds them
/// (gguf_exact.h); other matrices are encoded as options.type (gguf_encode.h). Returns what was rounded
/// once more. Usage error naming the tensor for what cannot be written so: inputs that are rounded or
/// multiplied, a row that blocks do not divide, codes that no type holds, weights beyond the type's range;
/// as GgufArchitecture::configuration for numbers of the model. Then nothing is at `path` that was not before.
std::vector<Requantized> save_gguf(const nn::Model& model, const std::vector<NamedQTensor>& tensors,
                                   const GgufVocabulary& vocabulary, const GgufOptions& options,
                                   const std::string& name, const fs::path& path,
                                   Existing existing = Existing::replace);

struct GgufModel {
  std::unique_ptr<nn::Model> model{};
  GgufVocabulary vocabulary{};
};

/// Reads a file with tensors of any type of nn::gguf_type, as floats. Fault::input naming the key or
/// tensor for anything else: a part of a model, another architecture, a missing, extra or wrongly
/// shaped tensor, a vocabulary of another size or model. A head that equals the table is tied.
GgufModel load_gguf(const fs::path& path);

}  // namespace notch::quant
