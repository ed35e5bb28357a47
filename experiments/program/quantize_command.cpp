// notch quantize: a model directory on fewer bits, without training.
//
// Flags and keys fill the configuration of an experiment with one row, so that this command and a
// row of a table make the same artefact from the same model.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/bench/input_speed.h"
#include "experiments/config/config_check.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/layer_flags.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/sensitivity_list.h"
#include "experiments/run/setup.h"
#include "nn/model.h"
#include "quant/methods/post_training.h"

namespace notch::experiments {
namespace {

[[noreturn]] void fail(std::string field, std::string what, std::string hint) {
  throw Error({.where = "notch quantize",
               .what = std::move(what),
               .field = std::move(field),
               .hint = std::move(hint)});
}

/// The flags that stand for a key.
constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
    {"method", "quant.methods"},
    {"format", "quant.format"},
    {"bits", "quant.bits"},
    {"group", "quant.group_size"},
    {"per-tensor", "quant.granularity"},
    {"grid", "quant.grid"},
    {"scale", "quant.scale"},
    {"embedding", "quant.embedding"},
    {"activations", "activations.bits"},
    {"observer", "activations.observer"},
    {"activation-range", "activations.range"}};

std::string_view key_of(std::string_view override) {
  return override.substr(0, override.find_first_of(" ="));
}

/// What a flag says, or the key that it stands for.
std::optional<std::string> given(const Args& args, std::string_view flag) {
  if (args.has(flag)) return args.value(flag);
  for (const auto& [name, key] : kKeys) {
    if (name != flag) continue;
    for (const std::string& override : args.overrides) {
      if (key_of(override) != key) continue;
      std::string value = override.substr(override.find('=') + 1);
      std::erase_if(value, [](char c) { return c == ' ' || c == '[' || c == ']' || c == '"'; });
      return value;
    }
  }
  return std::nullopt;
}

const quant::Method& method_of(const Args& args) {
  const std::optional<std::string> name = given(args, "method");
  if (!name)
    fail("--method", "missing", "one of " + quant::method_list(quant::Methods::post_training));
  const quant::Method* method = quant::find_method(*name);
  if (!method) {
    throw Error({.where = "notch quantize",
                 .what = "unknown method",
                 .field = "--method",
                 .found = *name,
                 .expected = quant::method_list(quant::Methods::post_training),
                 .hint = quant::method_hint(*name)});
  }
  if (method->round) return *method;
  fail("--method", str(*name, " trains the model, and this command does not"),
       str("`notch run EXP.toml quant.methods=", *name, "` trains it from the experiment's data"));
}

/// With a target the widths that layers may have, else the one that all have.
bool has_target(const Args& args) { return args.has("target-bytes") || args.has("target-loss"); }

std::vector<int> widths_of(const Args& args) {
  std::vector<int> widths;
  for (const std::string& word : comma_separated(given(args, "bits").value_or(""))) {
    if (word.size() != 1 || word[0] < '1' || word[0] > '8') {
      fail("--bits", str("\"", word, "\" is no width"), "1 to 8: --bits 2,3,4,6,8");
    }
    widths.push_back(word[0] - '0');
  }
  return widths;
}

void check_flags(const Args& args) {
  if (given(args, "format").value_or("none") != "none") {
    for (const char* flag :
         {"bits", "group", "per-tensor", "grid", "scale", "target-bytes", "target-loss"}) {
      // A key, or a flag beside a key, may say the same once more: check_format.
      const bool target = std::string_view(flag).starts_with("target");
      if (args.has(flag) && (target || args.has("format")))
        fail(str("--", flag), "is part of what --format says", "give one of them");
    }
  } else if (!given(args, "bits")) {
    fail("--bits", "missing", "--bits 8, 6, 4, 3 or 2, or a --format");
  }
  if (has_target(args)) {
    if (args.has("target-bytes") && args.has("target-loss"))
      fail("--target-loss", "contradicts --target-bytes", "give one of them");
    args.bytes("target-bytes", 0);
    args.number("target-loss", 0, between(-1e3, 1e3));
    if (widths_of(args).size() < 2)
      fail("--bits", "a target needs widths to choose from", "--bits 2,3,4,6,8");
    require_sensitivities(args.value("sensitivity").value_or(""));
  } else {
    if (args.has("sensitivity"))
      fail("--sensitivity", "no layer is weighed", "add --target-bytes N or --target-loss X");
    if (given(args, "bits").value_or("").find(',') != std::string::npos)
      fail("--bits", "several widths", "one, or with them --target-bytes N or --target-loss X");
    args.integer("bits", 0, 1, 8);
  }
  args.integer("activations", 0, 2, 8);
  const bool has_static = args.value("activation-range").value_or("") == "static";
  if (args.has("observer") && !has_static) {
    fail("--observer", "is of static ranges", "--activations 8 --activation-range static");
  }
  for (const char* flag : {"activation-range", "observer"}) {
    if (args.has(flag) && !args.has("activations")) {
      fail(str("--", flag), "activations stay in fp32", "give their bits too: --activations 8");
    }
  }
  if (!args.has("group")) return;
  if (args.has("per-tensor")) fail("--group", "contradicts --per-tensor", "give one of them");
  if (args.value("group") == "-1" || args.value("group") == "0") {
    fail("--group", "a group has at least one weight", "for one scale per row leave --group out");
  }
  args.integer("group", 0, 1, 65536);
}

/// Refuses keys that say nothing of a quantization: of the data, the model, the training.
void require_quantization_key(const std::string& argument) {
  const std::string key(key_of(argument));
  std::vector<std::string> sections{"quant", "activations", "calib", "mixed", "prune"};
  for (const Item& item : items_of({})) {
    if (item.kind == Kind::section && !rounding_methods(item.name).empty())
      sections.push_back(item.name);
  }
  const bool of_these = std::ranges::find(sections, key.substr(0, key.find('.'))) != sections.end();
  if (of_these && key != "quant.control") return;
  std::string all;
  for (const std::string& section : sections) all += str(all.empty() ? "[" : ", [", section, ']');
  fail(key, "says nothing of one model's quantization", "keys of " + all + " do");
}

/// The experiment whose only row is what the flags and keys ask for.
LoadedConfig config_of(const Args& args) {
  LoadedConfig loaded;
  ExperimentConfig& config = loaded.config;
  config.quant.control = false;
  config.quant.layers = layer_rules(args);
  // Not an override, which would have to have an effect: one command line serves a loop over methods.
  config.calib.windows =
      static_cast<int>(args.integer("calib-windows", config.calib.windows, 1, 1'000'000));
  const auto apply_widths = [&] {
    apply_override(loaded, str("quant.bits=", std::ranges::max(widths_of(args))));
    apply_override(loaded, str("mixed.widths=", *given(args, "bits")));
  };
  for (const auto& [flag, key] : kKeys) {
    if (!args.has(flag)) continue;
    if (flag == "bits" && has_target(args)) {
      apply_widths();
    } else {
      apply_override(loaded, str(key, '=', flag == "per-tensor" ? "tensor" : *args.value(flag)));
    }
  }
  const ExperimentConfig by_flags = config;
  loaded.overrides.clear();
  for (const std::string& argument : args.overrides) {
    const std::string_view key = key_of(argument);
    const auto refuse_both = [&](std::string_view flag, std::string_view own) {
      if (key == own && args.has(flag))
        fail(std::string(key), str("--", flag, " sets it too"), "give one of them");
    };
    for (const auto& [flag, own] : kKeys) refuse_both(flag, own);
    refuse_both("tensor", "quant.layers");
    refuse_both("skip", "quant.layers");
    refuse_both("calib-windows", "calib.windows");
    if (key == "quant.bits" && has_target(args)) {
      apply_widths();
    } else {
      apply_override(loaded, argument);
    }
    require_quantization_key(argument);
  }
  settle_unused(loaded, by_flags);
  check_format(config, loaded.origins);
  return loaded;
}

quant::MixedGoal goal_of(const Args& args) {
  if (args.has("target-loss")) return {.rise = args.number("target-loss", 0, between(-1e3, 1e3))};
  if (!args.has("target-bytes")) return {};
  // An amount that no file has bounds nothing.
  return {.bytes = static_cast<std::int64_t>(std::min(args.bytes("target-bytes", 0), 0x1p62))};
}

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

}  // namespace

int quantize_command(const Args& args) {
  const quant::Method& method = method_of(args);
  check_flags(args);
  const LoadedConfig asked = config_of(args);
  const std::vector<RowConfig> rows = planned_rows(asked.config);
  if (rows.size() != 1) {
    fail(asked.config.quant.bits.size() > 1 ? "quant.bits" : "activations.bits",
         "one model is written, of one width", "give one");
  }
  const RowConfig& row = rows[0];
  ExperimentConfig config = row_config(asked.config, row);
  const fs::path out = new_directory(args);
  const bool has_static =
      row.activations > 0 && config.activations.spec.range == quant::ActivationRange::fixed;
  const bool mixed = mixes(config, method);
  const quant::Pruner* pruner = quant::find_pruner(config.quant.options.prune.method);
  const bool reads_inputs = method.needs.reads_text() || (pruner && pruner->needs_inputs);
  const bool calibrates = reads_inputs || has_static || mixed;
  const bool writes_text = config.calib.source == "self";
  const bool reads_text = calibrates && (!writes_text || mixed);
  if (reads_text && !args.has("text")) {
    fail("--text", "missing",
         str(method.needs.reads_text() ? method.name
             : reads_inputs            ? pruner->name
             : mixed                   ? "the choice of widths"
                                       : "a static range",
             " needs calibration text: the text the model was trained on, never the one it is "
             "evaluated on"));
  }
  for (const char* flag : {"text", "calib-windows", "seed"}) {
    if (!calibrates && args.has(flag))
      note(args, str("note: ", method.name, " uses no calibration text: --", flag, " is not read"));
  }
  use_threads(args);
  const Artefact from = open_artefact(args, args.positionals[0]);
  if (!from.loaded.tensors.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "already quantized: rounding twice adds the errors of both",
                 .hint = "quantize the fp32 model it was made from"});
  }
  for (const Override& change : asked.overrides) note(args, describe(change));
  if (!from.loaded.masks.empty() && !pruner) {
    config.quant.options.prune.method = "zeros";
    note(args, "note: the model is pruned: what is zero in its Linears stays zero");
  }
  config.model.block_size = static_cast<int>(from.model().sizes().block_size);
  config.model.n_embd = static_cast<int>(from.model().sizes().n_embd);
  config.model.architecture = from.model().architecture();
  nn::Model& model = from.model();
  quant::Plan plan = row_plan(config, row);
  std::vector<quant::Target> targets = targets_of(config, plan, model);
  require_live_rules(args, config.quant.layers, model);
  quant::require_grids(method, plan, targets);

  Json about = Json::object();
  std::optional<Calibration> calibration;
  const auto seed = static_cast<std::uint64_t>(args.integer("seed", 1337, 0, 1'000'000'000));
  if (calibrates) {
    const TokenizedText text =
        reads_text ? open_text(args, *args.value("text"), from) : TokenizedText{};
    check_calibration(config, text.tokens.size(), proc_bytes("/proc/meminfo", "MemTotal:"));
    const std::int64_t windows = calibration_windows(config, text.tokens.size());
    if (windows < config.calib.windows)
      note(args, str("note: the text has ", windows, " windows of calibration, all are used"));
    calibration.emplace(config, model, text.tokens, seed);
    Json json = Json::object();
    json.set("source", writes_text ? "self" : text.name).set("tokens", calibration->tokens());
    json.set("sha256", calibration->sha256());
    about.set("calibration", std::move(json));
    if (mixed) {
      const MixedPlan own =
          mixed_plan(config, method, plan, model, calibration->batches(), text.tokens, seed,
                     args.value("sensitivity").value_or(""), goal_of(args));
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

}  // namespace notch::experiments
