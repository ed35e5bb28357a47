// What llama.cpp calls a model and its parts: a table, one row for each architecture that is written
// and read.
//
// gpt2    every bias is there (zeros where the model has none), and the head by itself even where it is
//         tied; GELU is the tanh form.
// llama   rows of q and k lie pair by pair: llama.cpp turns channels 2i and 2i + 1 of a head, Hugging
//         Face's models i and i + half. Row h·S + 2i + s of the file is row h·S + s·S/2 + i of the
//         parameter, S channels a head. A tied head is left out. What slow pairs are divided by stands
//         in rope_freqs.weight; the numbers it is made from in notch.rope_scaling.*, which other programs
//         do not write: of theirs a file is read whose divisors are Llama 3.1's for some factor.
// Source: llama.cpp's src/llama-arch.cpp, src/models, conversion/llama.py (permute).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"
#include "nn/gguf.h"
#include "nn/model.h"

namespace notch::quant {

struct GgufConstant {
  std::string name{};
  std::vector<float> values{};
};

struct GgufArchitecture {
  std::string_view name{};       ///< also nn::Architecture's
  bool biases = false;           ///< of every norm and matrix of a block
  bool head_twice = false;       ///< a tied head is in the file once more
  std::string_view positions{};  ///< the parameter of a position table, which stays F32
  /// The tensor that holds a parameter.
  std::string (*tensor)(const std::string& param) = nullptr;
  /// Tensors that no parameter is in but the configuration decides, F32; null: none.
  std::vector<GgufConstant> (*constants)(const nn::Model& model) = nullptr;
  /// Keys and values of the configuration. Fault::input naming the key for a number that `make` would not
  /// read back.
  std::vector<nn::GgufEntry> (*configuration)(const nn::Model& model) = nullptr;
  /// The model that the metadata describe, its head tied or not, without values. Fault::input naming
  /// the key for what is missing, out of range or not computed by the model.
  std::unique_ptr<nn::Model> (*make)(const nn::GgufFile& file, bool tied) = nullptr;
  /// Which row of the parameter row `row` of the file is; null: the same.
  std::int64_t (*row)(const nn::Model& model, const std::string& param, std::int64_t row) = nullptr;
};

/// The row of a name, nullptr if there is none.
const GgufArchitecture* gguf_architecture(std::string_view name);
/// The row of a model. Fault::input for one that llama.cpp has no names for.
const GgufArchitecture& gguf_architecture_of(const nn::Model& model);
/// "gpt2 or llama"
std::string gguf_architecture_names();

/// In files of every architecture; absent where nothing says the token. (llama.cpp then takes token 11 of a
/// byte-level BPE vocabulary, but a file has no way to say that there is none.)
inline constexpr const char* kGgufBosKey = "tokenizer.ggml.bos_token_id";
inline constexpr const char* kGgufEosKey = "tokenizer.ggml.eos_token_id";

/// A vector of F32.
std::vector<float> gguf_floats(const nn::GgufFile& file, const nn::GgufTensor& tensor);

/// The value of a key. Fault::input if it is missing or of another type.
template <class T>
const T& gguf_value(const nn::GgufFile& file, const std::string& key) {
  const nn::GgufValue* value = file.find(key);
  if (!value) refuse_file(file.path(), key, "missing from the metadata");
  if (const T* typed = std::get_if<T>(value)) return *typed;
  refuse_file(file.path(), key, "of another type than llama.cpp writes");
}

}  // namespace notch::quant
