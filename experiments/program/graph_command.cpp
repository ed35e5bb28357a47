// notch graph: the tape of one small step, forward and backward, as text and as a picture; with
// --recipe, of a step that trains through rounding.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/shell_word.h"
#include "autograd/print.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/session.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"
#include "nn/gguf.h"
#include "quant/methods/calibration.h"
#include "quant/methods/post_training.h"
#include "quant/methods/rtn.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kPositions = 8;

struct Subject {
  std::unique_ptr<nn::Model> model{};
  ExperimentConfig config{};
};

/// A model as it is, with the usual settings of rounding or those of the command line.
Subject model_subject(const Args& args, const fs::path& path) {
  LoadedConfig loaded;
  loaded.config.quant.bits = {4};
  for (const std::string& change : args.overrides) {
    const bool of_model =
        change.starts_with("data.") || change.starts_with("model.") || change.starts_with("train.");
    check(args.has("recipe") && !of_model, "notch graph", change,
          ": of a model only what --recipe does can be set; an EXP.toml has the rest");
    apply_override(loaded, change);
  }
  Subject subject{.model = std::move(open_artefact(args, path).loaded.model),
                  .config = loaded.config};
  const nn::Sizes& c = subject.model->sizes();
  ModelConfig& m = subject.config.model;
  m.from = path.string();
  m.architecture = subject.model->architecture();
  m.n_embd = static_cast<int>(c.n_embd);
  m.n_head = static_cast<int>(c.n_head);
  m.block_size = static_cast<int>(c.block_size);
  validate(subject.config, loaded.origins);
  return subject;
}

Subject subject_of(const Args& args) {
  const fs::path path = args.positionals[0];
  if (nn::is_gguf(path)) return model_subject(args, path);
  if (fs::is_regular_file(path) && is_text(path)) {
    throw Error({.where = path.string(),
                 .what = "a file that is no configuration",
                 .expected = "a model directory, or an EXP.toml for a model at its start",
                 .hint = str("of a text, `notch config ", shell_word(path.string()),
                             " > my.toml` writes such a file, which can be drawn")});
  }
  if (!fs::is_regular_file(path) && path.extension() != ".toml") return model_subject(args, path);
  const ExperimentConfig config = load_config(path, args.overrides, Rows::other).config;
  use_products(config);
  const int vocab_size = vocabulary_before_text(config);
  if (config.data.tokenizer == "char") {
    note(args, str("a vocabulary of ", vocab_size, " stands in for the text's characters"));
  }
  std::unique_ptr<nn::Model> model = make_model(config, vocab_size);
  model->init(static_cast<std::uint64_t>(config.seeds.at(0)));
  return {.model = std::move(model), .config = config};
}

/// What trains through rounding, as a row of the experiment has it.
struct Rounding {
  ExperimentConfig config{};
  std::unique_ptr<nn::Model> teacher{};  ///< of a distilled recipe
  std::unique_ptr<quant::QuantizedTraining> training{};
};

std::vector<std::int32_t> some_ids(const nn::Sizes& sizes) {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t <= std::min(kPositions, sizes.block_size); ++t) {
    ids.push_back(static_cast<std::int32_t>((7 * t + 1) % sizes.vocab_size));
  }
  return ids;
}

/// The experiment's first row of the method, or the method at its first width.
RowConfig row_of(const ExperimentConfig& config, const std::string& method) {
  const std::vector<RowConfig> rows = planned_rows(config);
  const auto own = std::ranges::find(rows, method, &RowConfig::method);
  return own != rows.end() ? *own : rows_of_method(config, method).at(0);
}

Rounding attach(const Subject& subject, const std::string& name, const Args& args) {
  const quant::Method& method = quant::method(name);
  if (!method.trains()) {
    throw Error({.where = "--recipe",
                 .what = "does not train, so no step rounds",
                 .found = name,
                 .expected = quant::method_list(quant::Methods::trained)});
  }
  // One step is drawn, of one row: of several widths all but the first would say nothing.
  for (const std::string& change : args.overrides) {
    const std::string key = change.substr(0, change.find_first_of(" ="));
    const bool widths = key == "quant.bits" && subject.config.quant.bits.size() > 1;
    const bool inputs = key == "activations.bits" && subject.config.activations.bits.size() > 1;
    if (key != "quant.methods" && !widths && !inputs) continue;
    throw Error({.where = "notch graph",
                 .what = key == "quant.methods" ? "--recipe names the method of the step"
                                                : "one step is drawn, of one width",
                 .field = key,
                 .found = change.substr(change.find('=') + 1),
                 .hint = key == "quant.methods" ? "leave it out" : "give one"});
  }
  const RowConfig row = row_of(subject.config, name);
  Rounding rounding{.config = row_config(subject.config, row)};
  if (method.distills) rounding.teacher = nn::clone(*subject.model);
  const quant::Plan plan = row_plan(rounding.config, row);
  std::vector<quant::Target> targets = quant::resolve(plan, *subject.model);
  const std::vector<std::int32_t> ids = some_ids(subject.model->sizes());
  const nn::Tokens tokens{std::span(ids).first(ids.size() - 1), 1, std::ssize(ids) - 1};
  quant::calibrate(*subject.model, targets, {&tokens, 1});
  std::optional<quant::Quantized> start;
  if (!method.trains_weights())
    start = quant::post_training(*subject.model, quant::kRtn, targets, {}, {});
  rounding.training = std::make_unique<quant::QuantizedTraining>(
      *subject.model, method, targets, training_options(rounding.config, method, 0),
      start ? &*start : nullptr);
  for (nn::Addition* addition : rounding.training->additions())
    if (ParamStore* own = addition->trained()) own->allocate_gradients();
  note(args, str(name, ": ", quant::name_of(plan.weights)));
  return rounding;
}

/// One sequence through the whole model; the mean loss is the root.
void record_model(Graph& graph, const nn::Model& model, const std::vector<std::int32_t>& ids,
                  const Rounding& rounding) {
  const std::span<const std::int32_t> all(ids);
  const std::size_t n = ids.size() - 1;
  const nn::Tokens tokens{all.first(n), 1, static_cast<std::int64_t>(n)};
  Graph teacher_graph;
  std::optional<Teacher> teacher;
  if (rounding.teacher) {
    teacher_graph.begin(Graph::Mode::inference);
    const DistillConfig& d = rounding.config.distill;
    teacher = Teacher{.x = rounding.teacher->hidden(teacher_graph, tokens).value(),
                      .head = rounding.teacher->head().weight->value,
                      .tau = d.temperature,
                      .alpha = d.alpha,
                      .reverse = d.reverse};
  }
  graph.backward(model.loss(graph, {.tokens = tokens, .targets = all.subspan(1, n)}, teacher));
}

/// One block on standard normal hidden states, with ones as the gradient of its output.
void record_block(Graph& graph, const nn::Stage& stage, std::int64_t channels,
                  std::int64_t positions, FlatBlock& memory) {
  const Shape shape{1, positions, channels};
  memory = FlatBlock(2 * static_cast<std::size_t>(shape.size()));
  const auto n = static_cast<std::size_t>(shape.size());
  const std::span<real> x = memory.flat().first(n), dout = memory.flat().subspan(n);
  Rng rng(1337);
  for (real& value : x) value = static_cast<real>(rng.normal());
  std::ranges::fill(dout, real{1});
  graph.backward(stage.run(graph, graph.input({x.data(), shape}, "hidden")), dout);
}

int graph_command(const Args& args) {
  const Subject subject = subject_of(args);
  const std::unique_ptr<nn::Model>& model = subject.model;
  const nn::Sizes& sizes = model->sizes();
  model->params().allocate_gradients();
  Rounding rounding;
  if (const auto method = args.value("recipe")) rounding = attach(subject, *method, args);
  Graph graph;
  graph.set_trace(true);
  graph.begin(Graph::Mode::training);
  const std::vector<std::int32_t> ids = some_ids(sizes);
  FlatBlock memory;
  const std::vector<nn::Stage> stages = model->stages();
  if (args.has("block")) {
    const std::int64_t block = args.integer("block", 0, 0, sizes.n_layer - 1);
    record_block(graph, stages.at(static_cast<std::size_t>(block)), sizes.n_embd,
                 std::min(kPositions, sizes.block_size), memory);
  } else {
    record_model(graph, *model, ids, rounding);
  }
  if (const auto file = args.value("dot")) {
    write_file(*file, to_dot(graph), Existing::refuse);
    note(args, str("picture: dot -Tsvg ", shell_word(*file), " > graph.svg"));
  }
  std::cout << print(graph);
  return 0;
}

}  // namespace

Command graph_verb() {
  static const std::string trained_recipes =
      "a step that trains through rounding: " + quant::method_list(quant::Methods::trained);
  return {{.name = "graph",
           .summary = "the tape of one small training step, with gradient norms",
           .examples = {"notch graph experiments/quick.toml --block 0 --dot block.dot",
                        "notch graph MODEL_DIR --recipe qat-ste quant.bits=2 quant.grid=seq"},
           .positionals = {{.name = "MODEL_DIR|EXP.toml", .help = "a model, or one at its start"}},
           .flags = {{.name = "recipe", .value = "NAME", .help = trained_recipes},
                     {.name = "block", .value = "N", .help = "only this block, from 0"},
                     {.name = "dot",
                      .value = "FILE",
                      .help = "also as a picture for Graphviz",
                      .path = PathUse::written},
                     no_verify_flag(),
                     threads_flag()},
           .overrides = true},
          graph_command};
}

}  // namespace notch::experiments
