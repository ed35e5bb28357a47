#include "experiments/run/teacher.h"

#include <filesystem>

#include "autograd/base/error.h"
#include "nn/architectures.h"
#include "nn/integrity.h"
#include "nn/model_dir.h"

namespace notch::experiments {

void require_teacher(const ExperimentConfig& config, const data::Tokenizer& tokenizer) {
  const std::string& dir = config.distill.teacher;
  const auto refuse = [&](std::string what, std::string found, std::string expected) {
    throw Error({.fault = Fault::input,
                 .where = dir,
                 .what = std::move(what),
                 .field = "distill.teacher",
                 .found = std::move(found),
                 .expected = std::move(expected)});
  };
  if (!std::filesystem::exists(std::filesystem::path(dir) / nn::kConfigFile)) {
    refuse("no model stands there", dir,
           "a directory with config.json and model.safetensors; those of a run are in its models/");
  }
  nn::require_intact(dir);
  const data::Tokenizer own = data::Tokenizer::load(dir);
  if (own.definition_hash() != tokenizer.definition_hash()) {
    refuse(
        "the teacher has another tokenizer than the run, so its outputs are of other tokens",
        str(own.vocab_size(), " tokens, sha256 ", own.definition_hash().substr(0, 12)),
        str(tokenizer.vocab_size(), " tokens, sha256 ", tokenizer.definition_hash().substr(0, 12)));
  }
  const nn::Sizes sizes =
      nn::make_model(nn::read_config_json(dir), dir, nn::Model::Values::shapes_only)->sizes();
  if (sizes.vocab_size != tokenizer.vocab_size())
    refuse("the teacher has other outputs than the run has tokens", str(sizes.vocab_size),
           str(tokenizer.vocab_size()));
  if (sizes.block_size < config.model.block_size)
    refuse("the teacher's context is shorter than the run's", str(sizes.block_size),
           str("at least ", config.model.block_size));
  if (config.distill.hidden > 0 && sizes.n_embd != config.model.n_embd)
    refuse(
        "hidden states are compared channel by channel (distill.hidden), and the teacher has "
        "others",
        str(sizes.n_embd, " channels"), str(config.model.n_embd));
}

std::unique_ptr<nn::Model> load_teacher(const ExperimentConfig& config) {
  return config.distill.teacher.empty() ? nullptr : nn::load_model(config.distill.teacher);
}

TrainParts taught(TrainParts parts, const DistillConfig& how, nn::Model* teacher) {
  parts.teacher = teacher;
  parts.temperature = how.temperature;
  parts.alpha = how.alpha;
  parts.reverse = how.reverse;
  parts.hidden = how.hidden;
  return parts;
}

}  // namespace notch::experiments
