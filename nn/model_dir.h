// Model directories: a model as Hugging Face users expect one of its architecture: config.json and
// model.safetensors. (vocab.json and merges.txt beside them are the tokenizer's.) The architecture
// knows the names and the orientation of its tensors (Model::file_tensors, file_names).
//
// The reader is separate from save and load, because a quantized directory stores some of the same
// tensors packed.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nn/architectures.h"
#include "nn/safetensors.h"

namespace notch::nn {

inline constexpr std::string_view kWeightsFile = "model.safetensors";
inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

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
  /// Opens the weights of a model that is to be filled. The tensor of a tied table may have the
  /// name of the head.
  WeightFile(const fs::path& dir, const Model& model);
  /// The one file of a quantized directory. Throws Fault::input when there are several.
  const SafetensorsFile& file() const;

  /// The tensor of that name, with or without the architecture's prefix before it, or under the
  /// name that the file's metadata has for it. Throws Fault::input naming it when it is missing or
  /// has another shape (found, expected).
  const TensorEntry& require(std::string_view name, const FileShape& shape);
  const TensorEntry& require(const FileTensor& t) { return require(t.name, file_shape(t.shape)); }

  /// The same; nullptr when it is missing.
  const TensorEntry* find(std::string_view name) const;

  /// Throws Fault::input naming a tensor that nobody has required. The architecture's buffers are
  /// ignored, and so is lm_head.weight if `head_is_tied`: check_tied_head compares it.
  void check_no_others(bool head_is_tied) const;

  /// Fills the parameter's values; for a bias that the model lacks, checks that the file has
  /// zeros. Throws Fault::input for a value that is not finite.
  void read(const FileTensor& t) const;

  /// Throws Fault::input when there is an lm_head.weight and it differs from the table's.
  void check_tied_head(const Param& table) const;

 private:
  const TensorEntry* find_as_spelled(std::string_view name) const;
  const SafetensorsFile& file_of(const TensorEntry& entry) const;
  std::string_view without_prefix(std::string_view name) const;
  std::string prefix_before(std::string_view name) const;

  std::vector<SafetensorsFile> files_;
  fs::path dir_;
  FileNames names_;
  bool tied_;
  std::set<const TensorEntry*> required_;
};

/// Throws Fault::input when the tokenizer of the directory has more tokens than the model. (Fewer:
/// some vocabularies are padded to a round number.)
void require_tokens(const Model& model, std::int64_t tokens, const fs::path& dir);

// ---- both ----

/// Writes both files into `dir`, which exists (a DirectoryWriter's temporary), with weights of type
/// f32, f16 or bf16 (rounded half to even); `more` is merged into config.json. manifest.json is
/// made of that and of what is there already, so the tokenizer is saved before.
void save_model(const Model& model, const fs::path& dir, const Json& more = Json::object(),
                DType dtype = DType::f32);

/// Reads what save_model wrote, or a Hugging Face model of a known architecture with F32, F16, BF16
/// or F64 weights. Names and shapes are checked before the model's memory is allocated. Throws
/// Fault::input or Fault::io.
std::unique_ptr<Model> load_model(const fs::path& dir);

}  // namespace notch::nn
