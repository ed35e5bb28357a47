#include "experiments/bench/gptq_bench.h"

#include <algorithm>
#include <array>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "experiments/machine/roofs.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gptq_factor.h"
#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"

namespace notch::experiments {
namespace {

constexpr std::int64_t kChunk = 2048;  // tokens that are accumulated at a time

struct Seconds {
  double hessian = 0, factor = 0, gptq = 0;
};

/// The layer on normal inputs.
Seconds time_layer(const quant::Target& target, std::int64_t tokens,
                   const quant::GptqOptions& options) {
  const Tensor& w = target.weight->value;
  const std::int64_t rows = w.rows(), cols = w.cols();
  std::vector<real> x(static_cast<std::size_t>(std::min(kChunk, tokens) * cols));
  Rng rng(kBenchSeed);
  for (real& v : x) v = static_cast<real>(rng.normal());
  const std::span<const real> all(x);
  std::array<double, 4> at{};
  at[0] = seconds_now();
  quant::Hessian hessian(cols);
  for (std::int64_t first = 0; first < tokens; first += kChunk) {
    const std::int64_t n = std::min(kChunk, tokens - first);
    hessian.accumulate(all.first(static_cast<std::size_t>(n * cols)));
  }
  const std::vector<double> H = hessian.matrix();
  at[1] = seconds_now();
  const quant::ColumnOrder order = quant::order_columns(H, cols, options.act_order, target.name);
  quant::pack_factor(quant::damped_cholesky(H, order, options.damp, target.name));
  at[2] = seconds_now();
  quant::gptq(w.flat(), rows, cols, target.spec, H, options, target.name);
  at[3] = seconds_now();
  return {at[1] - at[0], at[2] - at[1], at[3] - at[2]};
}

/// The matrices of a row of the table, and the whole model.
void add_row(Table& table, const BenchSubject& subject, const RowConfig& row, int rounds,
             std::span<const std::string> layers) {
  const ExperimentConfig config = row_config(subject.config, row);
  const quant::Method& method = quant::method(row.method);
  const auto model = make_model(config, subject.vocab_size);
  model->init(kBenchSeed);
  const quant::Plan plan = row_plan(config, row);
  const std::vector<quant::Target> targets = quant::resolve(plan, *model);
  quant::require_grids(method, plan, targets);
  const quant::PostTrainingOptions& options = config.quant.options;
  const std::int64_t tokens =
      static_cast<std::int64_t>(config.calib.windows) * config.model.block_size;
  std::vector<const quant::Target*> timed;
  std::vector<nn::Linear*> wanted_layers = model->stages().at(0).linears();
  wanted_layers.push_back(&model->head());
  for (const quant::Target& t : targets) {
    if (std::ranges::find(wanted_layers, t.linear) != wanted_layers.end()) timed.push_back(&t);
  }
  for (const std::string& layer : layers) {
    const auto named = [&](const quant::Target* t) { return t->name.ends_with(layer); };
    if (std::ranges::any_of(timed, named)) continue;
    throw Error({.where = "--layer",
                 .what = "no such layer",
                 .found = layer,
                 .expected = "the end of a name in the first block, or the head's",
                 .hint = "--layer attn.c_proj,mlp.c_fc"});
  }
  for (const quant::Target* target : timed) {
    const quant::Target& t = *target;
    const auto wanted = [&](const std::string& layer) { return t.name.ends_with(layer); };
    if (!layers.empty() && std::ranges::none_of(layers, wanted)) continue;
    Seconds best = time_layer(t, tokens, options.gptq);
    for (int round = 1; round < rounds; ++round) {
      const Seconds now = time_layer(t, tokens, options.gptq);
      best = {std::min(best.hessian, now.hessian), std::min(best.factor, now.factor),
              std::min(best.gptq, now.gptq)};
    }
    table.add_row({text(subject.name), text(t.name), text(quant::name_of(t.spec)),
                   number(static_cast<double>(t.weight->value.rows())),
                   number(static_cast<double>(t.weight->value.cols())), number(best.hessian),
                   number(best.factor), number(best.gptq), number(best.hessian + best.gptq)});
  }
  if (!layers.empty()) return;
  const Calibration calibration(config, *model, subject.tokens, kBenchSeed);
  const double start = seconds_now();
  quant::post_training(*model, method, targets, calibration.batches(), options);
  table.add_row({text(subject.name), text("whole model"), text(quant::name_of(plan.weights)),
                 missing(), missing(), missing(), missing(), missing(),
                 number(seconds_now() - start)});
}

}  // namespace

Table bench_gptq(const BenchSubject& subject, int rounds, std::span<const std::string> layers) {
  check(rounds > 0, "notch bench", rounds, " rounds measure nothing");
  use_products(subject.config);
  Table table({{.key = "shape", .text = true},
               {.key = "layer", .text = true},
               {.key = "spec", .text = true},
               {.key = "rows", .decimals = 0},
               {.key = "columns", .decimals = 0},
               {.key = "hessian_s", .title = "Hessian s", .decimals = 3},
               {.key = "factor_s", .title = "of it factorization", .decimals = 3},
               {.key = "gptq_s", .title = "GPTQ s", .decimals = 3},
               {.key = "total_s", .title = "total s", .decimals = 3}});
  ExperimentConfig config = subject.config;
  config.activations.bits = {0};
  for (const RowConfig& row : rows_of_method(config, "gptq"))
    add_row(table, subject, row, rounds, layers);
  return table;
}

}  // namespace notch::experiments
