#include "nn/architectures.h"

#include <algorithm>
#include <array>

#include "autograd/base/file_form.h"
#include "nn/config_reader.h"
#include "nn/gpt.h"
#include "nn/llama.h"

namespace notch::nn {
namespace {

std::unique_ptr<Model> make_gpt2(const Json& config, const fs::path& path, Model::Values values) {
  return std::make_unique<Gpt>(parse_gpt_config(config, path), values);
}

std::unique_ptr<Model> make_llama(const Json& config, const fs::path& path, Model::Values values) {
  return std::make_unique<Llama>(parse_llama_config(config, path), values);
}

constexpr std::array kArchitectures{
    Architecture{.model_type = "gpt2",
                 .title = "GPT-2",
                 .context = "n_positions",
                 .inner = "n_inner",
                 .layers = "n_layer",
                 .make = make_gpt2},
    Architecture{.model_type = "llama",
                 .title = "Llama",
                 .context = "max_position_embeddings",
                 .inner = "intermediate_size",
                 .layers = "num_hidden_layers",
                 .make = make_llama},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& architecture_of(const Json& config, const fs::path& path) {
  const ConfigReader in(config, path);
  const std::string type = in.text("model_type", "");
  const auto at = std::ranges::find(kArchitectures, type, &Architecture::model_type);
  if (at != kArchitectures.end()) return *at;
  std::string known;
  for (const Architecture& a : kArchitectures)
    known += (known.empty() ? "" : " or ") + json_quote(a.model_type);
  in.refuse("model_type", "an architecture this program does not know", json_quote(type), known,
            "only models of these architectures can be read");
}

Json read_config_json(const fs::path& dir) {
  const fs::path path = dir / kConfigFile;
  const std::string bytes = read_file(path, 1 << 20);
  refuse_known_form(path.string(), bytes, "a JSON object");
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view text = bytes;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return Json::parse(text, path.string(), NonFinite::allowed);
}

const Json* quantization_config(const Json& config) {
  const Json* about = config.find("quantization_config");
  return about && !about->is_null() ? about : nullptr;
}

std::unique_ptr<Model> make_model(const Json& config, const fs::path& dir, Model::Values values) {
  const fs::path path = dir / kConfigFile;
  return architecture_of(config, path).make(config, path, values);
}

std::unique_ptr<Model> shortened(std::unique_ptr<Model> model, std::int64_t block_size) {
  check(model != nullptr, "shortened", "there is no model");
  if (block_size >= model->sizes().block_size) return model;
  Json config = model->config_json();
  const fs::path where = str("a context of ", block_size);
  const Architecture& architecture = architecture_of(config, where);
  config.set(architecture.context, block_size);
  const bool values = model->params().params().front().value.data != nullptr;
  std::unique_ptr<Model> out = architecture.make(
      config, where, values ? Model::Values::allocate : Model::Values::shapes_only);
  check(out->sizes().block_size == block_size, where.string(), "is not the one that ",
        architecture.context, " says");
  if (!values) return out;
  // A table of positions has its first rows in front; every other parameter is as long as before.
  for (Param& p : out->params().params()) {
    const Param& from = *model->params().find(p.name);
    std::ranges::copy(from.value.flat().first(p.value.flat().size()), p.value.data);
  }
  return out;
}

}  // namespace notch::nn
