// GGUF files on the command line: written by `notch export --gguf`, read wherever a model is.
#pragma once

#include "experiments/program/command_tools.h"
#include "quant/store/gguf_model.h"

namespace notch::experiments {

struct GgufExport {
  std::string type = "F16";  ///< of matrices in floating point; a quantized model's own codes stay
  bool requantize = false;   ///< quant::GgufOptions
  std::string imatrix{};     ///< a file of column weights for encoders; empty: none
};

/// The artefact as `file`, which is new; what was rounded once more. Errors as quant::save_gguf.
std::vector<quant::Requantized> save_gguf(const Artefact& artefact, const GgufExport& how,
                                          const std::filesystem::path& file);

/// A GGUF file as an artefact: floats, with the tokenizer that is in it. Compared with its digest, if it
/// has one, unless --no-verify.
Artefact open_gguf(const Args& args, const std::filesystem::path& file);

/// Its metadata line by line, and a table of its tensors.
void inspect_gguf(const Args& args, const std::filesystem::path& file);

}  // namespace notch::experiments
