// notch quantize: a model directory on fewer bits, without training.
//
// The flags fill the same configuration that an experiment's rows come from, so that this command
// and a row of the table make the same artefact from the same model.
#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/base/error.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/run/setup.h"
#include "nn/gpt.h"
#include "quant/methods/post_training.h"

namespace notch::experiments {
namespace {

[[noreturn]] void fail(std::string field, std::string what, std::string hint) {
  throw Error({.where = "notch quantize",
               .what = std::move(what),
               .field = std::move(field),
               .hint = std::move(hint)});
}

std::vector<std::string> comma_separated(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

/// --tensor 'pattern=bits,…' and then --skip 'pattern,…': what is skipped stays in fp32.
std::vector<LayerRule> layer_rules(const Args& args) {
  std::vector<LayerRule> rules;
  for (const std::string& rule : comma_separated(args.value("tensor").value_or(""))) {
    const std::size_t equals = rule.find('=');
    const std::string bits = equals == std::string::npos ? "" : rule.substr(equals + 1);
    if (bits.size() != 1 || bits[0] < '1' || bits[0] > '8') {
      fail("--tensor", str("\"", rule, "\" is not PATTERN=BITS with 1 to 8 bits"),
           "for example --tensor 'h.*.mlp.c_proj=8'");
    }
    rules.push_back({.pattern = rule.substr(0, equals), .bits = bits[0] - '0'});
  }
  for (const std::string& pattern : comma_separated(args.value("skip").value_or(""))) {
    rules.push_back({.pattern = pattern, .bits = 0});
  }
  return rules;
}

const quant::Method& method_of(const Args& args) {
  const std::optional<std::string> name = args.value("method");
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

RowConfig row_of(const Args& args, const quant::Method& method) {
  if (!args.has("bits")) fail("--bits", "missing", "--bits 8, 6, 4, 3 or 2");
  RowConfig row{.method = std::string(method.name),
                .bits = static_cast<int>(args.integer("bits", 0, 1, 8)),
                .granularity = "channel",
                .activations = static_cast<int>(args.integer("activations", 0, 2, 8))};
  const bool has_static = args.value("activation-range").value_or("") == "static";
  if (args.has("observer") && !has_static) {
    fail("--observer", "is of static ranges", "--activations 8 --activation-range static");
  }
  for (const char* flag : {"activation-range", "observer"}) {
    if (args.has(flag) && !args.has("activations")) {
      fail(str("--", flag), "activations stay in fp32", "give their bits too: --activations 8");
    }
  }
  row.grid = args.value("grid").value_or(ExperimentConfig{}.quant.grid);
  if (args.has("group")) {
    if (args.has("per-tensor")) fail("--group", "contradicts --per-tensor", "give one of them");
    if (args.value("group") == "-1" || args.value("group") == "0") {
      fail("--group", "a group has at least one weight", "for one scale per row leave --group out");
    }
    row.granularity = "group";
    row.group_size = static_cast<int>(args.integer("group", 0, 1, 65536));
  } else if (args.has("per-tensor")) {
    row.granularity = "tensor";
  }
  return row;
}

ExperimentConfig config_of(const Args& args, const nn::GptConfig& model) {
  ExperimentConfig config;
  config.quant.grid = args.value("grid").value_or(config.quant.grid);
  config.quant.scale = args.value("scale").value_or(config.quant.scale);
  config.quant.embedding = args.value("embedding").value_or(config.quant.embedding);
  config.quant.layers = layer_rules(args);
  config.activations.range = args.value("activation-range").value_or(config.activations.range);
  config.activations.observer = args.value("observer").value_or(config.activations.observer);
  config.calib.windows =
      static_cast<int>(args.integer("calib-windows", config.calib.windows, 1, 1'000'000));
  config.model.block_size = static_cast<int>(model.block_size);
  config.model.n_embd = static_cast<int>(model.n_embd);
  return config;
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
  return table.without_empty_columns();
}

}  // namespace

int quantize_command(const Args& args) {
  const quant::Method& method = method_of(args);
  const RowConfig row = row_of(args, method);
  const fs::path out = new_directory(args);
  const bool calibrates =
      method.needs.hessian || args.value("activation-range").value_or("") == "static";
  if (calibrates && !args.has("text")) {
    fail("--text", "missing",
         str(method.needs.hessian ? method.name : "a static range",
             " needs calibration text: the text the model was trained on, never the one it is "
             "evaluated on"));
  }
  // One command line serves a loop over methods.
  for (const char* flag : {"text", "calib-windows", "seed"}) {
    if (!calibrates && args.has(flag))
      note(args, str("note: ", method.name, " uses no calibration text: --", flag, " is not read"));
  }
  use_threads(args);
  const Artefact from = open_artefact(args.positionals[0]);
  if (!from.loaded.tensors.empty()) {
    throw Error({.fault = Fault::input,
                 .where = from.path.string(),
                 .what = "already quantized: rounding twice adds the errors of both",
                 .hint = "quantize the fp32 model it was made from"});
  }
  const ExperimentConfig config = config_of(args, from.model().config());
  nn::ModelView view = nn::view(from.model());
  const std::vector<quant::Target> targets = quant::resolve(row_plan(config, row), view);

  Json about = Json::object();
  std::optional<Calibration> calibration;
  if (calibrates) {
    const TokenizedText text = open_text(args, *args.value("text"), from);
    check_calibration(config, text.tokens.size(), proc_bytes("/proc/meminfo", "MemTotal:"));
    const std::int64_t windows = calibration_windows(config, text.tokens.size());
    if (windows < config.calib.windows)
      note(args, str("note: the text has ", windows, " windows of calibration, all are used"));
    calibration.emplace(config, from.model(), text.tokens,
                        static_cast<std::uint64_t>(args.integer("seed", 1337, 0, 1'000'000'000)));
    Json json = Json::object();
    json.set("source", text.name).set("tokens", calibration->tokens());
    json.set("sha256", calibration->sha256());
    about.set("calibration", std::move(json));
  }
  about.set("method", method.name);
  const quant::Quantized quantized = quant::post_training(
      view, method, targets, calibration ? calibration->batches() : std::span<const nn::Tokens>{},
      post_training_options(config));
  const double moved = quant::require_activity(quantized, out.string());
  std::error_code ignored;  // DirectoryWriter says what is wrong
  fs::create_directories(out.parent_path(), ignored);
  {
    DirectoryWriter dir(out);
    from.tokenizer.save(dir.temporary());
    quant::save_quantized(from.model(), quantized, dir.temporary(), about);
    dir.commit();
  }
  print_table(args, layer_table(method, quantized));
  say(args, str(quantized.layers.size(), " matrices quantized, ", std::round(1000 * moved) / 10,
                " % of their weights moved"));
  for (const std::string& line : size_lines(open_artefact(out))) say(args, line);
  note(args, "written to " + out.string());
  return 0;
}

}  // namespace notch::experiments
