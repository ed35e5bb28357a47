#include "experiments/run/mixed_row.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "autograd/base/names.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "experiments/run/sensitivity_list.h"
#include "experiments/run/setup.h"
#include "experiments/show/table.h"
#include "nn/text_loss.h"
#include "quant/methods/post_training.h"
#include "quant/serve/served_layers.h"
#include "quant/store/model_files.h"

namespace notch::experiments {
namespace {

/// What a measured line holds for: the model's values, how it is rounded, and both texts.
std::string key_of(const ExperimentConfig& config, const quant::Method& method,
                   const quant::Plan& plan, const nn::Model& model,
                   std::span<const nn::Tokens> calibration, const std::string& text) {
  ExperimentConfig options;
  options.quant.options = config.quant.options;
  options.quant.options.mixed = {};  // which widths are asked for, and of what rule, moves no rise
  std::string all =
      str(method.name, ' ', quant::to_json(plan.weights).dump(), ' ', text, '\n', to_toml(options));
  // The same tokens in shorter windows are another text.
  if (config.model.block_size < model.sizes().block_size)
    all += str("windows of ", config.model.block_size, '\n');
  for (const nn::Tokens& batch : calibration)
    all += sha256({reinterpret_cast<const char*>(batch.ids.data()), batch.ids.size_bytes()});
  for (const Param& p : model.params().params()) {
    const std::span<const real> w = p.value.flat();
    all += sha256({reinterpret_cast<const char*>(w.data()), w.size_bytes()});
  }
  return sha256(all).substr(0, 32);
}

/// The loss of a model as it is run: weights rounded, and inputs where the plan says so.
double made_loss(const nn::Model& model, const quant::Method& method, const quant::Plan& plan,
                 std::span<const nn::Tokens> calibration, std::span<const nn::Tokens> text,
                 const quant::PostTrainingOptions& options) {
  const std::unique_ptr<nn::Model> made = nn::clone(model);
  const quant::Quantized quantized =
      quant::post_training(*made, method, quant::resolve(plan, *made), calibration, options);
  const quant::ServedLayers served(*made, quantized.tensors);
  Graph graph;
  return nn::mean_loss(graph, *made, text);
}

}  // namespace

bool mixes(const ExperimentConfig& config, const quant::Method& method) {
  return !config.quant.options.mixed.widths.empty() && !method.trains();
}

MixedPlan mixed_plan(const ExperimentConfig& config, const quant::Method& method,
                     const quant::Plan& plan, nn::Model& model,
                     std::span<const nn::Tokens> calibration, std::span<const std::int32_t> train,
                     std::uint64_t seed, const fs::path& kept, quant::MixedGoal goal) {
  ExperimentConfig weighing = config;
  weighing.calib.windows = config.quant.options.mixed.windows;
  weighing.calib.source = "train";
  const Calibration text(weighing, model, train, mix64(seed));
  std::optional<SensitivityList> list;
  quant::SensitivityStore store;
  if (!kept.empty()) {
    list.emplace(kept, key_of(config, method, plan, model, calibration, text.sha256()));
    store.find = [&](std::string_view layer, int bits) { return list->find(layer, bits); };
    store.keep = [&](const quant::Sensitivity& s) { list->keep(s); };
  }
  goal.file_bytes = [&](const quant::Plan& all) {
    return quant::predict_file_bytes(model, quant::resolve(all, model));
  };
  std::optional<double> before;
  goal.made_rise = [&](const quant::Plan& all) {
    Graph graph;
    if (!before) before = nn::mean_loss(graph, model, text.batches());
    return made_loss(model, method, all, calibration, text.batches(), config.quant.options) -
           *before;
  };
  MixedPlan out{.plan = plan};
  out.mixed = quant::mix(model, method, plan, calibration, text.batches(), config.quant.options,
                         goal, store);
  out.plan.rules.insert(out.plan.rules.end(), out.mixed.rules.begin(), out.mixed.rules.end());
  if (!config.quant.options.prune.on()) out.fixed = goal.file_bytes(out.plan) - out.mixed.bytes;
  return out;
}

Json to_json(const quant::Mixed& mixed, const quant::MixedOptions& options) {
  Json bits = Json::object();
  for (const quant::Sensitivity& s : mixed.chosen) bits.set(s.layer, s.bits);
  Json json = Json::object();
  json.set("rule", word_of(options.rule)).set("bytes", mixed.bytes);
  if (mixed.allowed > 0) json.set("allowed_bytes", mixed.allowed);
  json.set("foretold_rise", mixed.rise);
  if (mixed.made_rise) json.set("measured_rise", *mixed.made_rise);
  return json.set("bits", std::move(bits));
}

std::string describe(const MixedPlan& plan) {
  const quant::Mixed& mixed = plan.mixed;
  const auto [least, most] =
      std::ranges::minmax(mixed.chosen, {}, [](const quant::Sensitivity& s) { return s.bits; });
  const std::string up_to = least.bits == most.bits ? "" : str(" to ", most.bits);
  return str(
      mixed.chosen.size(), " layers at ", least.bits, up_to, " bits, ", plan.fixed + mixed.bytes,
      mixed.allowed > 0 ? str(" of ", plan.fixed + mixed.allowed) : "", " bytes",
      plan.fixed > 0 ? ", the whole file" : "", ", the loss foretold to move by ",
      printed("%+.4f", mixed.rise), " nats",
      mixed.made_rise ? str(", measured on the same text ", printed("%+.4f", *mixed.made_rise),
                            " (", mixed.made, mixed.made == 1 ? " model made)" : " models made)")
                      : "",
      "; measured rises go with output errors by ", printed("%.2f", mixed.hessian_rank),
      ", with Fisher's estimate by ", printed("%.2f", mixed.fisher_rank), " (rank correlation)");
}

}  // namespace notch::experiments
