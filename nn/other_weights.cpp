// The files that hold a directory's weights; and, where they are in another form, which it is and
// the way from there.
#include <algorithm>
#include <map>
#include <set>
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
    {"model-", ".safetensors", "weights in several files (shards) without their index",
     "copy model.safetensors.index.json as well: it says which tensor is in which file"},
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
     "give the file itself in place of its directory; `notch export FILE --format f32 --out DIR` "
     "writes model.safetensors"},
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

namespace {

[[noreturn]] void refuse_index(const fs::path& path, std::string what, const std::string& tensor,
                               std::string found, std::string expected) {
  refuse_file(path, tensor, std::move(what), std::move(found), std::move(expected),
              "copy all files of the model, and the index that was written with them");
}

// The files of an index, checked to hold exactly the tensors that it gives them.
std::vector<SafetensorsFile> open_shards(const fs::path& index) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20;
  const Json json = Json::parse(read_file(index, kMaxBytes), index.string(), NonFinite::allowed);
  const std::string where = str(index.string(), ": weight_map");
  std::map<std::string, std::string> file_of;
  std::set<std::string> names;
  for (const auto& [tensor, file] : json.at("weight_map", index.string()).as_object(where)) {
    const std::string& name = file.as_string(str(where, ".", tensor));
    if (name.empty() || fs::path(name).filename() != name) {
      refuse_index(index, "not the name of a file beside the index", tensor, json_quote(name),
                   "\"model-00001-of-00002.safetensors\" or the like");
    }
    file_of.emplace(tensor, name);
    names.insert(name);
  }
  if (names.empty()) refuse_index(index, "names no file", "weight_map", "", "tensors and files");
  std::vector<SafetensorsFile> files;
  for (const std::string& name : names) {
    files.push_back(SafetensorsFile::open(index.parent_path() / name));
    for (const TensorEntry& entry : files.back().entries()) {
      const auto at = file_of.find(entry.name);
      if (at != file_of.end() && at->second == name) continue;
      refuse_index(index, "has another file for the tensor", entry.name, name,
                   at == file_of.end() ? "none" : at->second);
    }
  }
  for (const auto& entry : file_of) {
    const std::string &tensor = entry.first, &name = entry.second;
    const auto holds = [&](const SafetensorsFile& file) { return file.find(tensor) != nullptr; };
    if (std::ranges::none_of(files, holds)) {
      refuse_index(index.parent_path() / name, "the index gives the file a tensor that it lacks",
                   tensor, "", "the tensor");
    }
  }
  return files;
}

}  // namespace

std::vector<SafetensorsFile> open_weights(const fs::path& dir) {
  const fs::path path = dir / kWeightsFile;
  std::error_code error;
  if (!fs::exists(path, error)) {
    if (fs::exists(dir / kIndexFile, error)) return open_shards(dir / kIndexFile);
    if (const OtherWeights other = other_weights(dir); !other.form.empty()) {
      throw Error({.fault = Fault::io,
                   .where = path.string(),
                   .what = "there is no such file",
                   .found = other.form,
                   .expected = "the weights as safetensors",
                   .hint = other.remedy});
    }
  }
  std::vector<SafetensorsFile> files;
  files.push_back(SafetensorsFile::open(path));
  return files;
}

}  // namespace notch::nn
