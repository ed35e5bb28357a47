// Model directories: a Gpt as Hugging Face users expect a GPT-2: config.json and model.safetensors.
// (vocab.json and merges.txt beside them are the tokenizer's.)
//
// GPT-2 keeps its projections as Conv1D, [in, out]; our Linear is [out, in], so the weights of
// c_attn, c_proj and c_fc are transposed in the file. Names are our parameters' names, as in the
// published GPT-2; an untied model has them below "transformer.", except "lm_head.weight", as
// GPT2LMHeadModel.save_pretrained writes them. The format has biases everywhere: a model without
// them writes zeros and says so in its config ("notch": {"bias": false}).
//
// The list of file tensors and the reader are separate from save and load, because a quantized
// directory stores some of the same tensors packed.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "nn/gpt.h"
#include "nn/safetensors.h"

namespace notch::nn {

inline constexpr std::string_view kConfigFile = "config.json";
inline constexpr std::string_view kWeightsFile = "model.safetensors";
inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// ---- config.json ----

/// The members of config.json. Callers may set more (token ids, quantization_config).
Json config_json(const GptConfig& config);

/// config.json of `dir` as it is; what Python's json writes beyond JSON (NaN, Infinity) is read
/// too. Throws Fault::io when missing, Fault::input when not JSON.
Json read_config_json(const fs::path& dir);

/// How a config.json says that weights are quantized; nullptr when it does not, or with null.
const Json* quantization_config(const Json& config);

/// The configuration a config.json describes. Defaults are those of transformers' GPT2Config; the
/// five sizes must be there. Throws Fault::input, field = the key, for what this model cannot do
/// exactly: another architecture or activation, attention that is scaled in another way.
GptConfig parse_config(const Json& json, const fs::path& path);

GptConfig read_config(const fs::path& dir);

// ---- model.safetensors ----

/// One tensor of the file.
struct FileTensor {
  const Param* param = nullptr;  ///< nullptr: a bias that the model lacks and the file has as zeros
  std::string name{};            ///< in the file
  Shape shape{};                 ///< in the file
  bool transposed = false;       ///< the file has [in, out], the parameter [out, in]
};

/// Everything the file of `model` holds, in the order of the parameters. A tied head is not in it.
std::vector<FileTensor> file_tensors(const Gpt& model);

/// `t` as floating point. The parameter must have values and outlive the write.
TensorSource float_source(const FileTensor& t, DType dtype = DType::f32);

/// model.safetensors of `dir`, or, where it is absent, the files (shards) that
/// model.safetensors.index.json names, in the order of their names. Throws as SafetensorsFile::open;
/// Fault::input for a tensor that is not in the file that the index says, or in one without it;
/// where the directory holds the weights in another form, the error says which and what to do.
std::vector<SafetensorsFile> open_weights(const fs::path& dir);

/// The other form in which `dir` holds weights, and the remedy; empty when none is known.
struct OtherWeights {
  std::string form{}, remedy{};
};
OtherWeights other_weights(const fs::path& dir);

/// The weights of a directory, for whoever assembles a model from them: ask for every tensor with
/// `require`, then check_no_others, and only then allocate and read.
class WeightFile {
 public:
  /// `tied`: the config ties head and table, whose tensor may then have the name of either.
  WeightFile(const fs::path& dir, bool tied) : files_(open_weights(dir)), dir_(dir), tied_(tied) {}
  /// The one file of a quantized directory. Throws Fault::input when there are several.
  const SafetensorsFile& file() const;

  /// The tensor of that name, with or without "transformer." before it, or under the name that the
  /// file's metadata has for it. Throws Fault::input naming it when it is missing or has another
  /// shape (found, expected).
  const TensorEntry& require(std::string_view name, const FileShape& shape);
  const TensorEntry& require(const FileTensor& t) { return require(t.name, file_shape(t.shape)); }

  /// Throws Fault::input naming a tensor that nobody has required. GPT-2's mask buffers
  /// (h.N.attn.bias and h.N.attn.masked_bias) are ignored, and so is lm_head.weight if
  /// `head_is_tied`: check_tied_head compares it.
  void check_no_others(bool head_is_tied) const;

  /// Fills the parameter's values; for a bias that the model lacks, checks that the file has
  /// zeros. Throws Fault::input for a value that is not finite.
  void read(const FileTensor& t) const;

  /// Throws Fault::input when there is an lm_head.weight and it differs from `wte`.
  void check_tied_head(const Param& wte) const;

 private:
  const TensorEntry* find(std::string_view name) const;

  const TensorEntry* find_as_spelled(std::string_view name) const;
  const SafetensorsFile& file_of(const TensorEntry& entry) const;
  std::string prefix_before(std::string_view name) const;

  std::vector<SafetensorsFile> files_;
  fs::path dir_;
  bool tied_;
  std::set<const TensorEntry*> required_;
};

// ---- both ----

/// Writes both files into `dir`, which exists (a DirectoryWriter's temporary), with weights of type
/// f32, f16 or bf16 (rounded half to even); `more` is merged into config.json.
void save_model(const Gpt& model, const fs::path& dir, const Json& more = Json::object(),
                DType dtype = DType::f32);

/// Reads what save_model wrote, or a Hugging Face GPT-2 with F32, F16, BF16 or F64 weights. Names
/// and shapes are checked before the model's memory is allocated. Throws Fault::input or Fault::io.
std::unique_ptr<Gpt> load_model(const fs::path& dir);

}  // namespace notch::nn
