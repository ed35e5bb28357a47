// A small model with values of its own, and its file's tensors in memory, so that tests can build
// and spoil files.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "nn/gpt.h"
#include "nn/model_dir.h"

namespace notch::test {

using namespace notch::nn;

inline GptConfig small() {
  return {.vocab_size = 11, .block_size = 6, .n_layer = 2, .n_head = 2, .n_embd = 4};
}

// Every parameter, biases and norms too, gets values of its own.
inline std::unique_ptr<Gpt> random_model(const GptConfig& config) {
  auto model = std::make_unique<Gpt>(config);
  Rng rng(7);
  for (Param& p : model->params().params()) {
    for (real& v : p.value.flat()) v = static_cast<real>(static_cast<float>(rng.normal()));
  }
  return model;
}

/// The configuration that a config.json describes, by way of the table of architectures.
inline GptConfig parse_config(const Json& json, const fs::path& path) {
  const auto model = architecture_of(json, path).make(json, path, Model::Values::shapes_only);
  return dynamic_cast<const Gpt&>(*model).config();
}
inline GptConfig read_config(const fs::path& dir) {
  return parse_config(read_config_json(dir), dir / kConfigFile);
}

inline bool same_bits(const Model& a, const Model& b) {
  const auto& left = a.params().params();
  const auto& right = b.params().params();
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const Param& p, const Param& q) {
                      const auto bytes = sizeof(real) * static_cast<std::size_t>(p.value.size());
                      return p.name == q.name && p.value.shape == q.value.shape &&
                             std::memcmp(p.value.data, q.value.data, bytes) == 0;
                    });
}

inline std::vector<std::string> names_in(const fs::path& path) {
  std::vector<std::string> names;
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const TensorEntry& entry : file.entries()) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

// A tensor held in memory.
struct Held {
  std::string name{};
  FileShape shape{};
  std::vector<real> values{};
};

inline std::vector<Held> held(const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<Held> tensors;
  for (const TensorEntry& entry : file.entries()) {
    Held t{entry.name, entry.shape, std::vector<real>(static_cast<std::size_t>(entry.size()))};
    file.read(entry, t.values);
    tensors.push_back(std::move(t));
  }
  return tensors;
}

inline Held& named(std::vector<Held>& tensors, std::string_view name) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const Held& t) { return t.name == name; });
}

inline void write(const fs::path& path, const std::vector<Held>& tensors,
                  DType dtype = DType::f32) {
  std::vector<TensorSource> sources;
  for (const Held& t : tensors) sources.push_back(real_tensor(t.name, t.shape, t.values, dtype));
  write_safetensors(path, sources, {{"format", "pt"}});
}

}  // namespace notch::test
