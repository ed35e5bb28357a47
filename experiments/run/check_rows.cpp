// What a run refuses before anything is trained: rows against the shapes of the model, and the processor
// (experiments/run/setup.h).
#include <algorithm>

#include "autograd/base/error.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/layer_rules.h"
#include "experiments/config/pipeline.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/setup.h"
#include "quant/methods/lqer.h"
#include "quant/methods/methods.h"
#include "quant/methods/prune.h"
#include "quant/methods/side_rank.h"
#include "quant/methods/spqr.h"
#include "quant/train/adapters.h"

namespace notch::experiments {
namespace {

/// The row's method, or those of its stages.
std::vector<const quant::Method*> methods_of(const RowConfig& row) {
  if (row.pipeline.empty()) return {&quant::method(row.method)};
  std::vector<const quant::Method*> all;
  for (const PipelineStage& s : parse_pipeline(row.pipeline))
    if (s.method) all.push_back(s.method);
  return all;
}

/// The targets of a row; what the plan has from a key of the configuration is refused there, and a grid that
/// the method does not know. `grid`: the key of the row's.
std::vector<quant::Target> resolve_row(const ExperimentConfig& config, const RowConfig& row,
                                       const std::string& grid, nn::Model& model,
                                       const Origins& origins) {
  try {
    const quant::Plan plan = row_plan(config, row);
    std::vector<quant::Target> targets = quant::resolve(plan, model);
    if (const auto dead = dead_rule(config.quant.layers, model)) {
      origins.fail(str("quant.layers[", dead->rule, ']'),
                   {.what = "has no effect: later rules take every layer that it names",
                    .found = config.quant.layers[dead->rule].pattern,
                    .hint = str("leave it out, or put it behind ",
                                toml::quote(config.quant.layers[dead->by].pattern))});
    }
    for (const quant::Method* method : methods_of(row))
      quant::require_grids(*method, plan, targets);
    return targets;
  } catch (const Error& e) {
    const std::string& field = e.parts().field;
    const ErrorParts& parts = e.parts();
    if (field.starts_with("rules")) {
      origins.fail("quant.layers" + field.substr(std::string_view("rules").size()), parts);
    }
    if (field.starts_with("asymmetric")) origins.fail("activations." + field, parts);
    if (field == "grid") origins.fail(grid, parts);
    if (field == "input grid") origins.fail("activations.grid", parts);
    throw;
  }
}

/// Refuses at a key, or at the row's where it has set that one itself. `row`: "" for none.
[[noreturn]] void refuse_at(const Origins& origins, const std::string& row, const char* key,
                            ErrorParts parts) {
  origins.fail(origins.has(key) || row.empty() ? std::string(key) : row, std::move(parts));
}

/// What zeros of a row do not go together with. `grid` and `row`: as elsewhere here.
void check_pruning(const ExperimentConfig& config, const RowConfig& planned,
                   std::span<const quant::Target> targets, nn::Model& model,
                   const std::string& grid, const std::string& row, const Origins& origins) {
  const std::vector<PipelineStage> stages = parse_pipeline(planned.pipeline);
  const std::string& by = config.quant.options.prune.method;
  const bool prunes = config.quant.options.prune.on();
  if (!prunes &&
      std::ranges::find(stages, PipelineStage::Kind::prune, &PipelineStage::kind) == stages.end())
    return;
  const quant::Method& method = quant::method(planned.method);
  const quant::Method* codes = method.trains() ? quant::start_of(method, config.qat.from) : &method;
  if (prunes && codes && codes->refine) {
    refuse_at(
        origins, row, "prune.method",
        {.what = str(codes->name, " learns every code of a matrix and would fill what is pruned"),
         .found = by,
         .hint = "another method, or prune.method = \"none\" for this row"});
  }
  try {
    for (const quant::Target& t : targets) {
      if (!quant::is_prunable(model, t)) continue;
      quant::require_zero(t.spec, t.name);
      quant::require_pattern(config.quant.options.prune, t.weight->value.cols(), t.name);
    }
  } catch (const Error& e) {
    if (e.parts().field == "grid") origins.fail(grid, e.parts());
    refuse_at(origins, row, "prune.pattern", e.parts());
  }
}

/// The rank of products beside the matrices of blocks, by `require`. `row`: the key of the row, or "".
template <class Require>
void check_rank(const Require& require, nn::Model& model, std::span<const quant::Target> targets,
                const char* key, const std::string& row, const Origins& origins) {
  const std::vector<nn::Linear*> linears = model.linears();
  for (const quant::Target& t : targets) {
    if (std::ranges::find(linears, t.linear) == linears.end()) continue;
    try {
      require(*t.weight, t.name);
    } catch (const Error& e) {
      ErrorParts parts = e.parts();
      parts.what = str(t.name, ": ", parts.what);
      refuse_at(origins, row, key, std::move(parts));
    }
  }
}

/// What a way of training cannot begin with, or go together with. `row`: the key of the row, or "".
void check_training(const ExperimentConfig& config, const quant::Method& method, nn::Model& model,
                    std::span<const quant::Target> targets, const std::string& row,
                    const Origins& origins) {
  using quant::Training;
  const auto refuse = [&](const char* key, std::string what, std::string found, std::string hint) {
    refuse_at(origins, row, key,
              {.what = std::move(what), .found = std::move(found), .hint = std::move(hint)});
  };
  const std::string& from = config.qat.from;
  if (method.trains() && !method.distills && from == "scratch" && !config.distill.teacher.empty()) {
    refuse("qat.from", "fp32, its control, learns from distill.teacher, and this row would not",
           "scratch", "a row of a -kd method, or qat.from = \"fp32\"");
  }
  if (method.trains() && !method.trains_weights()) {
    if (from == "scratch")
      refuse("qat.from",
             str(method.name, " trains beside codes, which random weights have none of"), "scratch",
             "qat.from = \"fp32\", or a post-training method");
    if (config.qat.start > 0)
      refuse("qat.start", str(method.name, " trains beside codes from the first step on"),
             str(config.qat.start), "qat.start = 0");
  }
  if (method.training == Training::adapters) {
    const auto require = [&](const Param& weight, const std::string& name) {
      quant::require_rank(config.qlora, weight, name);
    };
    check_rank(require, model, targets, "qlora.rank", row, origins);
  }
  if (method.training != Training::gaussian) return;
  if (quant::start_of(method, from))
    refuse("qat.from",
           str(method.name, " rotates weights before it rounds, and the codes of ", from,
               " are of weights that were not"),
           from, "qat.from = \"fp32\" or \"scratch\"");
  if (config.quant.options.prune.on())
    refuse("prune.method", str(method.name, " rotates weights, and zeros do not stay"),
           config.quant.options.prune.method, "a row that does not prune");
  for (const quant::Target& t : targets) {
    if (quant::has_zero_points(t.spec))
      refuse(
          "quant.grid",
          str(method.name, " fits a normal distribution about 0, and ", t.name, " has zero points"),
          std::string(quant::name_of(t.spec.grid)), "a symmetric grid");
  }
}

/// The model that a row's stages leave; what does not fit it is refused at the row's line.
std::unique_ptr<nn::Model> shapes_of(const ExperimentConfig& config, const RowConfig& row,
                                     const std::string& grid, nn::Model& shapes,
                                     const Origins& origins) {
  try {
    return shapes_after(config, row, shapes);
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    parts.what = str(parts.where, ": ", parts.what);
    origins.fail(grid.substr(0, grid.find('.')) + ".pipeline", std::move(parts));
  }
}

}  // namespace

void check_rows(const ExperimentConfig& config, int vocab_size, const Origins& origins) {
  check_methods(config, quant::method_names(), origins);
  const Uses uses = uses_of(config);
  if (config.train.steps == 0 && config.qat.steps == 0 && uses.forks()) {
    origins.fail("qat.steps",
                 {.what = "QAT and its control would take a share of train.steps, which is 0",
                  .found = "0",
                  .expected = "their steps, for example qat.steps=200",
                  .hint = "or methods that do not train alone, with quant.control=false"});
  }
  const auto shapes = make_model(config, vocab_size, nn::Model::Values::shapes_only);
  std::size_t listed = 0;  // in config.row, of which planned_rows leaves fp32 out
  for (const RowConfig& row : planned_rows(config)) {
    while (listed < config.row.size() && config.row[listed].method == kBaseRow) ++listed;
    const std::string grid = config.row.empty() ? "quant.grid" : str("row[", listed++, "].grid");
    const auto left =
        row.pipeline.empty() ? nullptr : shapes_of(config, row, grid, *shapes, origins);
    if (row.bits == 0) continue;
    nn::Model& model = left ? *left : *shapes;
    const std::vector<quant::Target> targets = resolve_row(config, row, grid, model, origins);
    const quant::Method& method = quant::method(row.method);
    const quant::Spec spec = row_spec(row);
    const auto own_key = [&](const char* name) {
      return str(grid.starts_with("row") ? grid.substr(0, grid.find('.')) : "quant", '.', name);
    };
    const std::vector<const quant::Method*> all = methods_of(row);
    const auto trains_scales = [](const quant::Method* m) {
      return m->trains() && m->training != quant::Training::adapters;
    };
    const auto with_scales = std::ranges::find_if(all, trains_scales);
    if (with_scales != all.end() && quant::has_scales_of_scales(spec.scale)) {
      origins.fail(own_key("scale"), {.what = str((*with_scales)->name,
                                                  " trains with the scales that it stores, and ",
                                                  row.scale, " ones are chosen by the codes"),
                                      .found = row.scale,
                                      .expected = "f32, f16, bf16 or e8m0"});
    }
    if (&method == &quant::kSpqr && spec.granularity == quant::Granularity::tensor) {
      origins.fail(own_key("granularity"),
                   {.what = "the outliers of spqr are those of a group or a row",
                    .found = "tensor",
                    .expected = "group or channel"});
    }
    const ExperimentConfig own = row_config(config, row);
    const std::string own_row = grid.starts_with("row") ? grid.substr(0, grid.find('.')) : "";
    if (std::ranges::find(all, &quant::kLqer) != all.end()) {
      const auto require = [&](const Param& weight, const std::string& name) {
        quant::require_side_rank(own.quant.options.lqer.rank, "lqer.rank", weight, name);
      };
      check_rank(require, model, targets, "lqer.rank", own_row, origins);
    }
    check_training(own, method, model, targets, own_row, origins);
    check_pruning(own, row, targets, model, grid, own_row, origins);
    if (method.training != quant::Training::lsq || own.qat.lsq_init != quant::LsqInit::paper ||
        own.qat.from != "fp32") {
      continue;
    }
    for (const quant::Target& t : targets) {
      if (!quant::has_zero_points(t.spec)) continue;
      origins.fail(
          "qat.lsq_init",
          {.what = str("the paper's first step knows no zero points, which ", t.name, " has"),
           .found = "paper",
           .expected = "mse or absmax",
           .hint = "qat.lsq_init = \"mse\""});
    }
  }
}

void check_processor(const ExperimentConfig& config, bool has_bf16, const Origins& origins) {
  if (config.train.matmul != kernels::Precision::bf16) return;
  if (config.train.products == "portable") {
    origins.fail("train.products", {.fault = Fault::usage,
                                    .what = "bfloat16 products differ between instruction sets",
                                    .found = "portable, with train.matmul = \"bf16\"",
                                    .expected = "openblas, or train.matmul = \"fp32\""});
  }
  if (has_bf16) return;
  origins.fail("train.matmul", {.fault = Fault::usage,
                                .what = "this processor multiplies no bfloat16 numbers",
                                .found = "bf16",
                                .expected = "AVX512-BF16 or AMX",
                                .hint = "train.matmul = \"fp32\""});
}

}  // namespace notch::experiments
