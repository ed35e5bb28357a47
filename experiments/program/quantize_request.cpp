#include "experiments/program/quantize_request.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "autograd/base/error.h"
#include "experiments/config/config_check.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/layer_flags.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/sensitivity_list.h"
#include "quant/methods/methods.h"
#include "quant/numbers/activation.h"
#include "quant/numbers/format.h"

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
    if (item.kind == ItemKind::section && !rounding_methods(item.name).empty())
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

std::vector<std::string_view> methods_with_statistics() {
  std::vector<std::string_view> names;
  for (const quant::Method* m : quant::methods()) {
    if (m->needs.reads_text()) names.push_back(m->name);
  }
  return names;
}

}  // namespace

std::vector<Flag> quantize_flags() {
  constexpr quant::ActivationSpec kInput;
  static const std::string observers =
      "of static ranges: " + joined(words_of<quant::ObserverRule>());
  static const std::string text = str("calibration text, for ", joined(methods_with_statistics()),
                                      " and static ranges; others do not read it; - is stdin");
  return {
      {.name = "method",
       .value = "NAME",
       .help = quant::method_list(quant::Methods::post_training)},
      {.name = "bits",
       .letter = 'b',
       .value = "N",
       .help = "1 to 8; with a target a list, of which every layer gets one"},
      {.name = "target-bytes",
       .value = "SIZE",
       .help = "widths that raise the loss least, model.safetensors in SIZE: 500000, 500kB, 2MiB"},
      {.name = "target-loss",
       .value = "NATS",
       .help = "the fewest bytes that raise the loss by at most NATS, measured on up to 8 models"},
      {.name = "sensitivity",
       .value = "FILE",
       .help = "with a target: what each layer costs at each width, kept to go on from",
       .path = PathUse::added_to},
      {.name = "format",
       .value = "NAME",
       .help = quant::preset_help(),
       .words = quant::preset_names()},
      {.name = "group",
       .letter = 'g',
       .value = "N",
       .help = "a scale for every N weights of a row",
       .fallback = "one per row"},
      {.name = "per-tensor", .help = "one scale for a whole matrix"},
      {.name = "grid",
       .value = "NAME",
       .help = quant::grid_help(),
       .fallback = "narrow",
       .words = quant::grid_names()},
      {.name = "scale",
       .value = "TYPE",
       .help = "stored type of scales; f16_7: halves of seven bits, e8m0: powers of two, nested, "
               "bilevel: scales of scales",
       .fallback = "f32",
       .words = words_of<quant::ScaleType>()},
      {.name = "embedding",
       .value = "WORD",
       .help = "the token table: int8, same (as --bits) or fp32",
       .fallback = "int8",
       .words = {"int8", "same", "fp32"}},
      {.name = "activations",
       .letter = 'a',
       .value = "N",
       .help = "bits of what enters the layers, 2 to 8; the model then multiplies integers",
       .fallback = "fp32"},
      {.name = "activation-range",
       .value = "WORD",
       .help = "of activations: dynamic (every token's own) or static (from --text)",
       .fallback = word_of(kInput.range),
       .words = words_of<quant::ActivationRange>()},
      {.name = "observer",
       .value = "NAME",
       .help = observers,
       .fallback = word_of(kInput.observer),
       .words = words_of<quant::ObserverRule>()},
      {.name = "tensor",
       .value = "LIST",
       .help = "other bits for layers by name: 'h.0.*=8,h.*.mlp.c_proj=6'"},
      {.name = "skip", .value = "LIST", .help = "layers that stay in fp32: 'h.0.*,wte'"},
      {.name = "text", .value = "FILE", .help = text, .path = PathUse::read},
      {.name = "calib-windows",
       .value = "N",
       .help = "windows of calibration text",
       .fallback = "128"},
      ctx_flag("tokens of a window of calibration text; the written model keeps its context"),
      {.name = "seed", .value = "N", .help = "which windows", .fallback = "1337"},
      out_flag(),
      no_verify_flag(),
      threads_flag(),
      output_flag()};
}

QuantizeRequest quantize_request(const Args& args) {
  const quant::Method& method = method_of(args);
  check_flags(args);
  LoadedConfig loaded = config_of(args);
  const std::vector<RowConfig> rows = planned_rows(loaded.config);
  if (rows.size() != 1) {
    fail(loaded.config.quant.bits.size() > 1 ? "quant.bits" : "activations.bits",
         "one model is written, of one width", "give one");
  }
  return {.method = method,
          .row = rows[0],
          .config = row_config(loaded.config, rows[0]),
          .overrides = std::move(loaded.overrides),
          .goal = goal_of(args)};
}

}  // namespace notch::experiments
