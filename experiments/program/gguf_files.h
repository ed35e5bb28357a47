// GGUF files on the command line: written by `notch export --gguf`, read wherever a model is.
#pragma once

#include "experiments/program/command_tools.h"
#include "nn/gguf.h"

namespace notch::experiments {

/// The artefact as `file`, its floating-point matrices as `type` ("F16"; a quantized model's own codes
/// stay what they are). Errors as quant::save_gguf.
void save_gguf(const Artefact& artefact, std::string_view type, const std::filesystem::path& file);

/// A GGUF file as an artefact: floats, with the tokenizer that is in it. Compared with its digest, if it
/// has one, unless --no-verify.
Artefact open_gguf(const Args& args, const std::filesystem::path& file);

/// Its metadata line by line, and a table of its tensors.
void inspect_gguf(const Args& args, const std::filesystem::path& file);

}  // namespace notch::experiments
