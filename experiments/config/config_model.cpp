// model.from: what a model directory decides of a configuration.
#include <algorithm>
#include <array>

#include "autograd/base/error.h"
#include "autograd/base/shell_word.h"
#include "data/tokenizer.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "nn/architectures.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "quant/store/gptq_checkpoint.h"

namespace notch::experiments {
namespace {

namespace fs = std::filesystem;

ModelConfig gpt2_model(const Json& json, const fs::path& path) {
  const nn::GptConfig c = nn::parse_gpt_config(json, path);
  return {.architecture = "gpt2",
          .n_layer = c.n_layer,
          .n_head = c.n_head,
          .n_embd = static_cast<int>(c.n_embd),
          .n_inner = static_cast<int>(c.n_inner),
          .block_size = static_cast<int>(c.block_size),
          .bias = c.bias,
          .gelu = c.gelu,
          .tie_embeddings = c.tie_embeddings};
}

ModelConfig llama_model(const Json& json, const fs::path& path) {
  const nn::LlamaConfig c = nn::parse_llama_config(json, path);
  return {.architecture = "llama",
          .n_layer = c.n_layer,
          .n_head = c.n_head,
          .n_kv_head = c.n_kv_head,
          .n_embd = static_cast<int>(c.n_embd),
          .n_inner = static_cast<int>(c.n_inner),
          .block_size = static_cast<int>(c.block_size),
          .tie_embeddings = c.tie_embeddings,
          .rope_theta = c.rope_theta,
          .rms_norm_eps = c.rms_norm_eps};
}

/// The architectures that [model] can describe, and with it a run.
struct TrainedArchitecture {
  std::string_view model_type{};
  ModelConfig (*model)(const Json& json, const fs::path& path);
};
constexpr std::array kTrainedArchitectures{TrainedArchitecture{"gpt2", gpt2_model},
                                           TrainedArchitecture{"llama", llama_model}};

/// 0 stands for what follows from the other sizes; said in full it is the same model.
void spell_alike(ModelConfig& given, const ModelConfig& own) {
  const bool is_llama = own.architecture == "llama";
  if (is_llama && given.n_kv_head == 0) given.n_kv_head = given.n_head;
  if (!is_llama && given.n_inner == 4 * own.n_embd) given.n_inner = 0;
}

}  // namespace

ModelConfig model_of(const fs::path& from) {
  const fs::path path = from / nn::kConfigFile;
  const Json json = nn::read_config_json(from);
  if (nn::quantization_config(json) || quant::gptq_config(from, json)) {
    throw Error({.fault = Fault::input,
                 .where = path.string(),
                 .what = "quantized already: rounding twice adds the errors of both",
                 .field = "quantization_config",
                 .hint = "begin with the fp32 model it was made from"});
  }
  const std::string_view type = nn::architecture_of(json, path).model_type;
  const auto found =
      std::ranges::find(kTrainedArchitectures, type, &TrainedArchitecture::model_type);
  if (found != kTrainedArchitectures.end()) return found->model(json, path);
  std::vector<std::string_view> known;
  for (const TrainedArchitecture& a : kTrainedArchitectures) known.push_back(a.model_type);
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = "a run cannot begin with a model of this architecture",
               .field = "model_type",
               .found = std::string(type),
               .expected = joined(known, ", ", " or "),
               .hint = "`notch quantize` rounds it without a run"});
}

void take_model(LoadedConfig& loaded) {
  ExperimentConfig& config = loaded.config;
  const Origins& origins = loaded.origins;
  if (config.model.from.empty()) return;
  const fs::path given_path = config.model.from;
  const std::string from =
      (given_path.has_filename() ? given_path : given_path.parent_path()).string();
  std::error_code error;
  if (!fs::is_directory(from, error)) {
    const bool is_file = fs::exists(from, error);
    origins.fail("model.from",
                 {.fault = is_file ? Fault::input : Fault::io,
                  .what = is_file ? "a file, not a model directory" : "there is no such directory",
                  .found = from,
                  .expected = "a directory with config.json, the weights and the tokenizer",
                  .hint = is_file ? str("`notch export ", shell_word(from),
                                        " --format f32 --out DIR` makes one of a GGUF file")
                                  : ""});
  }
  config.model.from = from;
  ExperimentConfig own = config;
  own.model = model_of(from);
  own.model.from = from;
  own.model.dropout = config.model.dropout;
  own.data.tokenizer = std::string(data::name(data::Tokenizer::load(from).kind()));
  const auto is_given = [&](const std::string& key) {
    return origins.has(key) && !implies(origins, "model.from", key);
  };
  const int shorter = config.model.block_size;
  if (is_given("model.block_size") && shorter < own.model.block_size) {
    own.model.block_size = shorter;
  }
  spell_alike(config.model, own.model);
  const std::vector<Item> given = items_of(config), taken = items_of(own);
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string key = given[i].kind == ItemKind::section ? "" : given[i].key();
    if (given[i].value == taken[i].value || !is_given(key)) continue;
    const std::string most = key == "model.block_size" ? str("at most ", taken[i].value) : "";
    origins.fail(key, {.what = "contradicts the model that the run begins with",
                       .found = given[i].value,
                       .expected = str(most.empty() ? taken[i].value : most, ", as in ", from),
                       .hint = str(most.empty() ? "" : most + ", or ",
                                   "leave it out: model.from decides it")});
  }
  config = std::move(own);
}

}  // namespace notch::experiments
