#include "experiments/run/mixed_row.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <sstream>

#include "autograd/base/files.h"
#include "autograd/base/names.h"
#include "autograd/base/orphans.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
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
  for (const nn::Tokens& batch : calibration)
    all += sha256({reinterpret_cast<const char*>(batch.ids.data()), batch.ids.size_bytes()});
  for (const Param& p : model.params().params()) {
    const std::span<const real> w = p.value.flat();
    all += sha256({reinterpret_cast<const char*>(w.data()), w.size_bytes()});
  }
  return sha256(all).substr(0, 32);
}

/// The lines of a file that hold for `key`; one that does not read (cut off by a kill) is measured again.
/// Those of other keys, of another model or text, go to `others`.
std::vector<quant::Sensitivity> lines_of(const fs::path& file, const std::string& key,
                                         std::string& others) {
  std::vector<quant::Sensitivity> out;
  if (file.empty() || !fs::exists(file)) return out;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    try {
      const Json json = Json::parse(line, file.string());
      if (json.at("key", file.string()).as_string(file.string()) != key) {
        others += line + "\n";
        continue;
      }
      out.push_back(quant::sensitivity_from_json(json, file.string()));
    } catch (const Error&) {
    }
  }
  return out;
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

void require_sensitivities(const fs::path& file) {
  if (file.empty() || !fs::exists(file)) return;
  const std::string text = read_file(file);
  if (text.empty()) return;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    try {
      quant::sensitivity_from_json(Json::parse(line, file.string()), file.string());
      return;
    } catch (const Error&) {
    }
  }
  throw Error({.fault = Fault::input,
               .where = file.string(),
               .what = "is no list of sensitivities, and would be replaced by one",
               .hint = "name a new file, or one that this flag has written"});
}

bool mixes(const ExperimentConfig& config, const quant::Method& method) {
  return !config.quant.options.mixed.widths.empty() && !method.trains();
}

MixedPlan mixed_plan(const ExperimentConfig& config, const quant::Method& method,
                     const quant::Plan& plan, nn::Model& model,
                     std::span<const nn::Tokens> calibration, std::span<const std::uint16_t> train,
                     std::uint64_t seed, const fs::path& kept, quant::MixedGoal goal) {
  ExperimentConfig weighing = config;
  weighing.calib.windows = config.quant.options.mixed.windows;
  weighing.calib.source = "train";
  const Calibration text(weighing, model, train, mix64(seed));
  std::vector<quant::Sensitivity> known;
  std::string key, others;
  quant::SensitivityStore store;
  const fs::path file = behind_link(kept);
  if (!kept.empty()) {
    key = key_of(config, method, plan, model, calibration, text.sha256());
    known = lines_of(kept, key, others);
    store.find = [&](std::string_view layer, int bits) -> std::optional<quant::Sensitivity> {
      const auto at = std::ranges::find_if(
          known, [&](const quant::Sensitivity& s) { return s.layer == layer && s.bits == bits; });
      if (at == known.end()) return std::nullopt;
      return *at;
    };
    store.keep = [&](const quant::Sensitivity& s) {
      known.push_back(s);
      std::string lines = others;
      for (const quant::Sensitivity& k : known)
        lines += quant::to_json(k).set("key", key).dump() + "\n";
      remove_orphans(file);  // now that something is written: a command may have been refused
      write_file(file, lines);
    };
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
  if (goal.bytes) out.fixed = *goal.bytes - out.mixed.allowed;
  out.plan.rules.insert(out.plan.rules.end(), out.mixed.rules.begin(), out.mixed.rules.end());
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
  return str(
      mixed.chosen.size(), " layers at ", least.bits, " to ", most.bits, " bits, ",
      plan.fixed + mixed.bytes, mixed.allowed > 0 ? str(" of ", plan.fixed + mixed.allowed) : "",
      " bytes", plan.fixed > 0 ? ", the whole file" : "", ", the loss foretold to rise by ",
      printed("%.4f", mixed.rise), " nats",
      mixed.made_rise ? str(", measured on the same text ", printed("%.4f", *mixed.made_rise), " (",
                            mixed.made, mixed.made == 1 ? " model made)" : " models made)")
                      : "",
      "; measured rises go with output errors by ", printed("%.2f", mixed.hessian_rank),
      ", with Fisher's estimate by ", printed("%.2f", mixed.fisher_rank), " (rank correlation)");
}

}  // namespace notch::experiments
