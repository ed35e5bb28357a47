// A directory without model.safetensors: which other form of weights it holds, and the way from
// there.
#include <algorithm>
#include <system_error>
#include <vector>

#include "nn/model_dir.h"

namespace notch::nn {
namespace {

constexpr std::string_view kSaveAgain =
    "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT) "
    "writes "
    "model.safetensors";

struct Form {
  std::string_view begin{}, end{};  // of a file's name
  std::string_view form{}, remedy{};
};

// The first that a name fits counts, so the more telling ones come first.
constexpr Form kForms[] = {
    {"model.safetensors.index", ".json", "weights in several files (shards)",
     "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, "
     "max_shard_size=\"100GB\") writes one"},
    {"model-", ".safetensors", "weights in several files (shards)",
     "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, "
     "max_shard_size=\"100GB\") writes one"},
    {"adapter_model", "", "an adapter (PEFT, LoRA) and not the model it adapts",
     "merge it into its model: in Python, peft's "
     "AutoPeftModelForCausalLM.from_pretrained(DIR).merge_and_unload().save_pretrained(OUT)"},
    {"", ".safetensors", "a safetensors file of another name",
     "rename it to model.safetensors if it holds the whole model"},
    {"pytorch_model", ".json", "PyTorch pickles in several files", kSaveAgain},
    {"pytorch_model", ".bin", "a PyTorch pickle", kSaveAgain},
    {"tf_model", ".h5", "TensorFlow's HDF5",
     "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR, "
     "from_tf=True).save_pretrained(OUT) writes model.safetensors"},
    {"flax_model", ".msgpack", "Flax's msgpack",
     "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR, "
     "from_flax=True).save_pretrained(OUT) writes model.safetensors"},
    {"model.ckpt.", "", "a TensorFlow checkpoint, as OpenAI published GPT-2",
     "take the same model from Hugging Face (openai-community/gpt2)"},
    {"", ".gguf", "GGUF, as llama.cpp reads",
     "in Python, transformers' AutoModelForCausalLM.from_pretrained(DIR, "
     "gguf_file=FILE).save_pretrained(OUT) writes model.safetensors"},
    {"", ".onnx", "ONNX", "take the model that the ONNX file was exported from"},
    {"", ".ot", "rust-bert's tensors", kSaveAgain},
    {"", ".npz", "NumPy arrays", "write them with safetensors.numpy.save_file"},
    {"", ".bin", "a PyTorch pickle", kSaveAgain},
    {"", ".pt", "a PyTorch checkpoint",
     "in Python, safetensors.torch.save_file writes its state dict; names and orientation must be "
     "GPT-2's"},
    {"", ".pth", "a PyTorch checkpoint",
     "in Python, safetensors.torch.save_file writes its state dict; names and orientation must be "
     "GPT-2's"},
    {"", ".ckpt", "a PyTorch checkpoint",
     "in Python, safetensors.torch.save_file writes its state dict; names and orientation must be "
     "GPT-2's"},
};

std::vector<std::string> names_in(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

OtherWeights other_weights(const fs::path& dir) {
  const std::vector<std::string> names = names_in(dir);
  for (const Form& form : kForms) {
    const auto fits = [&](const std::string& name) {
      return name != kWeightsFile && name.size() >= form.begin.size() + form.end.size() &&
             name.starts_with(form.begin) && name.ends_with(form.end);
    };
    const auto at = std::ranges::find_if(names, fits);
    if (at != names.end()) return {str(form.form, ": ", *at), std::string(form.remedy)};
  }
  return {};
}

SafetensorsFile open_weights(const fs::path& dir) {
  const fs::path path = dir / kWeightsFile;
  std::error_code error;
  if (!fs::exists(path, error)) {
    if (const OtherWeights other = other_weights(dir); !other.form.empty()) {
      throw Error({.fault = Fault::io,
                   .where = path.string(),
                   .what = "there is no such file",
                   .found = other.form,
                   .expected = "the weights as one safetensors file",
                   .hint = other.remedy});
    }
  }
  return SafetensorsFile::open(path);
}

}  // namespace notch::nn
