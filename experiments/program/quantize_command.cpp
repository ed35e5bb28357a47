// notch quantize: a model directory on fewer bits, without training.
//
// Flags and keys fill the configuration of an experiment with one row (quantize_request.cpp), so that this
// command and a row of a table make the same artefact from the same model.
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/bench/input_speed.h"
#include "experiments/config/config_check.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/layer_flags.h"
#include "experiments/program/quantize_request.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/setup.h"
#include "nn/model.h"
#include "quant/methods/post_training.h"

namespace notch::experiments {
namespace {

Table layer_table(const quant::Method& method, const quant::Quantized& quantized) {
  std::vector<Column> columns = {{.key = "layer", .text = true},
                                 {.key = "spec", .text = true},
                                 {.key = "moved_pct", .title = "moved %", .decimals = 1},
                                 {.key = "weight_error", .title = "weight error", .decimals = 6}};
  for (const quant::LayerFigure& f : method.layer_figures) {
    columns.push_back(
        {.key = std::string(f.key), .title = std::string(f.title), .decimals = f.decimals});
  }
  Table table(std::move(columns));
  for (const quant::LayerReport& l : quantized.layers) {
    std::vector<Cell> cells = {text(l.name), text(quant::name_of(l.spec)), number(100 * l.moved),
                               number(l.weight_error)};
    for (const quant::LayerFigure& f : method.layer_figures) {
      cells.push_back(l.measures.empty() ? missing() : number(quant::measure(l, f.key)));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

/// The flag that makes a model with inputs in floating point faster, and by how much here: measured
/// on its largest layer. Empty where there is none.
std::string faster_flag(const quant::Quantized& quantized, std::span<const quant::Target> targets) {
  const quant::QTensor* largest = nullptr;
  for (const quant::NamedQTensor& t : quantized.tensors) {
    const auto target = std::ranges::find(
        targets, t.name, [](const quant::Target& of) { return std::string_view(of.weight->name); });
    if (target == targets.end() || !target->linear || t.input) continue;
    if (!quant::grid_of(t.q.spec).levels.empty()) continue;
    if (!largest || t.q.rows * t.q.cols > largest->rows * largest->cols) largest = &t.q;
  }
  if (!largest) return {};
  const InputSpeed speed = rounded_input_speed(*largest);
  const auto tenths = [](double ratio) { return std::round(10 * ratio) / 10; };
  return str("with --activations 8 its products would be ", tenths(speed.prompt),
             " times as fast on a prompt and ", tenths(speed.decode),
             " times in decoding, measured here now");
}

/// Groups that a format brought along and a layer's inputs do not have are refused with formats
/// whose groups they have: the size is no choice of its own.
std::vector<quant::Target> targets_of(const ExperimentConfig& config, const quant::Plan& plan,
                                      nn::Model& model) {
  try {
    return quant::resolve(plan, model);
  } catch (const Error& e) {
    if (config.quant.format == "none" || e.parts().field != "group_size") throw;
    std::int64_t inputs = 0;
    for (const nn::Linear* l : model.linears()) inputs = std::gcd(inputs, l->in_features());
    ErrorParts parts = e.parts();
    parts.hint = formats_with_groups(inputs);
    throw Error(std::move(parts));
  }
}

/// What of the row reads calibration text; "" for nothing.
std::string_view text_reader(const QuantizeRequest& asked) {
  const quant::Pruner* pruner = quant::find_pruner(asked.config.quant.options.prune.method);
  if (asked.method.needs.reads_text()) return asked.method.name;
  if (pruner && pruner->needs_inputs) return pruner->name;
  if (mixes(asked.config, asked.method)) return "the choice of widths";
  const bool has_static = asked.row.activations > 0 &&
                          asked.config.activations.spec.range == quant::ActivationRange::fixed;
  return has_static ? "a static range" : "";
}

/// Whether --text is read: the model may write its calibration text itself, but layers are weighed on --text.
bool reads_file(const QuantizeRequest& asked) {
  return !text_reader(asked).empty() &&
         (asked.config.calib.source != "self" || mixes(asked.config, asked.method));
}

/// Refuses a missing --text, and notes flags of a text that is not read.
void check_text_flags(const Args& args, const QuantizeRequest& asked) {
  const std::string_view reader = text_reader(asked);
  if (reads_file(asked) && !args.has("text")) {
    throw Error({.where = "notch quantize",
                 .what = "missing",
                 .field = "--text",
                 .hint = str(reader,
                             " needs calibration text: the text the model was trained on, never "
                             "the one it is evaluated on")});
  }
  for (const char* flag : {"text", "ctx", "calib-windows", "seed"}) {
    if (reader.empty() && args.has(flag)) {
      note(args,
           str("note: ", asked.method.name, " uses no calibration text: --", flag, " is not read"));
    }
  }
}

Artefact open_unquantized(const Args& args) {
  Artefact from = open_artefact(args, args.positionals[0]);
  if (from.loaded.tensors.empty()) return from;
  throw Error({.fault = Fault::input,
               .where = from.path.string(),
               .what = "already quantized: rounding twice adds the errors of both",
               .hint = "quantize the fp32 model it was made from"});
}

/// The row's configuration with what the model decides. Of its context only windows of text have to know,
/// which may be shorter: the model that is written keeps its own.
ExperimentConfig config_for(const Args& args, ExperimentConfig config, const Artefact& from,
                            std::int64_t window) {
  if (!from.loaded.masks.empty() && !config.quant.options.prune.on()) {
    config.quant.options.prune.method = "zeros";
    note(args, "note: the model is pruned: what is zero in its Linears stays zero");
  }
  config.model.block_size = static_cast<int>(window);
  config.model.n_embd = static_cast<int>(from.model().sizes().n_embd);
  config.model.architecture = from.model().architecture();
  return config;
}

/// The text that the row is calibrated on, of which `about` tells.
Calibration calibration_of(const Args& args, const ExperimentConfig& config, const nn::Model& model,
                           const TokenizedText& text, std::uint64_t seed, Json& about) {
  check_calibration(config, text.tokens.size(), proc_bytes("/proc/meminfo", "MemTotal:"));
  const std::int64_t windows = calibration_windows(config, text.tokens.size());
  if (windows < config.calib.windows)
    note(args, str("note: the text has ", windows, " windows of calibration, all are used"));
  Calibration calibration(config, model, text.tokens, seed);
  Json json = Json::object();
  json.set("source", config.calib.source == "self" ? "self" : text.name)
      .set("tokens", calibration.tokens())
      .set("sha256", calibration.sha256());
  if (config.model.block_size < model.sizes().block_size)
    json.set("ctx", std::int64_t{config.model.block_size});
  about.set("calibration", std::move(json));
  return calibration;
}

int quantize_command(const Args& args) {
  const QuantizeRequest asked = quantize_request(args);
  const quant::Method& method = asked.method;
  const fs::path out = new_directory(args);
  check_text_flags(args, asked);
  use_threads(args);
  const Artefact from = open_unquantized(args);
  nn::Model& model = from.model();
  for (const Override& change : asked.overrides) note(args, describe(change));
  const std::int64_t window =
      text_reader(asked).empty() ? model.sizes().block_size : window_length(args, from);
  const ExperimentConfig config = config_for(args, asked.config, from, window);
  const quant::Plan plan = row_plan(config, asked.row);
  std::vector<quant::Target> targets = targets_of(config, plan, model);
  require_live_rules(args, config.quant.layers, model);
  quant::require_grids(method, plan, targets);

  Json about = Json::object();
  std::optional<Calibration> calibration;
  const auto seed = static_cast<std::uint64_t>(args.integer("seed", 1337, 0, 1'000'000'000));
  if (!text_reader(asked).empty()) {
    const TokenizedText text = reads_file(asked)
                                   ? open_text(args, *args.value("text"), from, {.window = window})
                                   : TokenizedText{};
    calibration = calibration_of(args, config, model, text, seed, about);
    if (mixes(config, method)) {
      const MixedPlan own =
          mixed_plan(config, method, plan, model, calibration->batches(), text.tokens, seed,
                     args.value("sensitivity").value_or(""), asked.goal);
      about.set("mixed", to_json(own.mixed, config.quant.options.mixed));
      targets = quant::resolve(own.plan, model);
      say(args, describe(own));
    }
  }
  about.set("method", method.name);
  const quant::Quantized quantized = quant::post_training(
      model, method, targets, calibration ? calibration->batches() : std::span<const nn::Tokens>{},
      config.quant.options);
  const double moved = quant::require_activity(quantized, out.string());
  write_directory(out, [&](const fs::path& dir) {
    from.tokenizer.save(dir);
    quant::save_quantized(model, quantized, dir, about);
  });
  print_table(args, layer_table(method, quantized));
  say(args, str(quantized.layers.size(), " matrices quantized, ", std::round(1000 * moved) / 10,
                " % of their weights moved"));
  for (const std::string& line : size_lines(open_artefact(args, out))) say(args, line);
  note(args, "written to " + printable(out.string()));
  if (args.has("quiet")) return 0;  // measured only to be told
  if (const std::string flag = faster_flag(quantized, targets); !flag.empty()) note(args, flag);
  return 0;
}

}  // namespace

Command quantize_verb() {
  return {
      {.name = "quantize",
       .summary = "put a model on fewer bits, without training",
       .examples = {"notch quantize MODEL_DIR --method rtn --bits 8 --out small",
                    "notch quantize MODEL_DIR --method gptq --bits 4 --text train.txt --out small",
                    "notch quantize MODEL_DIR --method gptq --bits 2,3,4,6,8 --target-bytes 500000 "
                    "--text train.txt --out small"},
       .positionals = {model_positional()},
       .flags = quantize_flags(),
       .overrides = true},
      quantize_command};
}

}  // namespace notch::experiments
