// Tokenizers as GGUF has them (tokenizer.ggml.*): which of llama.cpp's names means which words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "data/tokenizer.h"
#include "quant/store/gguf_model.h"

namespace notch::experiments {

/// Usage error when llama.cpp has no name for the way the tokenizer cuts words.
quant::GgufVocabulary gguf_vocabulary(const data::Tokenizer& tokenizer);

/// Fault::input naming `file` and the key for what is not byte-level BPE with words that this program
/// knows.
data::Tokenizer gguf_tokenizer(const quant::GgufVocabulary& vocabulary,
                               const std::filesystem::path& file);

/// The token that a tokenizer.json's TemplateProcessing (or a GGUF's add_bos_token) puts before a
/// text; nothing if it puts none there. `encode` never does. Fault::input for an id without a token.
std::optional<std::int32_t> token_before(const data::Vocabulary& vocabulary);

}  // namespace notch::experiments
