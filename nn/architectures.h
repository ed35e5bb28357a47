// Architectures: the table by which a config.json makes a model. A new one is a class of nn/model.h
// in a pair of files, and its row here.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "autograd/base/files.h"
#include "nn/model.h"

namespace notch::nn {

inline constexpr std::string_view kConfigFile = "config.json";

struct Architecture {
  std::string_view model_type{};  ///< what config.json calls it
  std::string_view title{};       ///< for people
  std::string_view context{};     ///< the key of the longest sequence in config_json()
  std::string_view inner{};       ///< and that of the channels inside the MLP
  std::string_view layers{};      ///< and that of the blocks
  /// The model of a config.json; `path` is for errors. Throws Fault::input, field = the key, for
  /// what the model cannot compute exactly.
  std::unique_ptr<Model> (*make)(const Json& config, const fs::path& path, Model::Values values);
};
std::span<const Architecture> architectures();
/// The row of `config`. Throws Fault::input, field = "model_type", when there is none.
const Architecture& architecture_of(const Json& config, const fs::path& path);

/// config.json of `dir` as it is; what Python's json writes beyond JSON (NaN, Infinity) is read
/// too. Throws Fault::io when missing, Fault::input when not JSON.
Json read_config_json(const fs::path& dir);

/// How a config.json says that weights are quantized; nullptr when it does not, or with null.
const Json* quantization_config(const Json& config);

/// The model that config.json of `dir` describes, which `config` is.
std::unique_ptr<Model> make_model(const Json& config, const fs::path& dir, Model::Values values);

/// A model of the same values for sequences of at most `block_size`: rows of positions beyond are
/// left out, nothing else depends on the length. `model` itself where it is not longer. Without
/// values where it has none. (nanoGPT's crop_block_size.)
std::unique_ptr<Model> shortened(std::unique_ptr<Model> model, std::int64_t block_size);

}  // namespace notch::nn
