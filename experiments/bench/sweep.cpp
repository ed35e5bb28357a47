#include "experiments/bench/sweep.h"

#include <algorithm>
#include <set>

#include "autograd/base/error.h"
#include "experiments/bench/memory_report.h"
#include "experiments/bench/training_bench.h"
#include "experiments/run/setup.h"
#include "experiments/show/palette.h"

namespace notch::experiments {
namespace {

/// Whether a cell fits; if not, why is kept.
bool fits(Sweep& sweep, const SweepOptions& options, std::int64_t context, std::int64_t batch,
          const std::string& what, double bytes) {
  if (bytes <= options.memory) return true;
  sweep.left_out.push_back(str(what, " of context ", context, " and batch ", batch, " needs ",
                               bytes_text(bytes), ", may have ", bytes_text(options.memory)));
  return false;
}

/// Seconds that the roofs allow.
double predicted(const Roofline& bench, const RooflineDot& dot) {
  return dot.seconds * bench.share(dot);
}

void add_cell(Sweep& sweep, InferenceSubject& subject, const SweepOptions& o, std::int64_t context,
              std::int64_t batch) {
  const nn::Sizes& sizes = subject.model.model->sizes();
  std::vector<InferenceSubject> one;
  one.push_back(std::move(subject));
  const Roofline bench = bench_inference(
      one,
      {.batches = {batch}, .prompt = context, .decode = kSweepDecoded, .rounds = 1, .kv = o.kv});
  subject = std::move(one.front());
  nn::KvShape held = nn::kv_shape(sizes, batch);
  held.capacity = context + kSweepDecoded;
  const MemoryNeed need = memory_need(memory_shape(*subject.model.model, subject.name),
                                      {.kv = o.kv}, held.capacity, batch);
  sweep.cells.push_back({.name = subject.name,
                         .context = context,
                         .batch = batch,
                         .prompt_seconds = bench.dots[0].seconds,
                         .prompt_predicted = predicted(bench, bench.dots[0]),
                         .decode_seconds = bench.dots[1].seconds,
                         .decode_predicted = predicted(bench, bench.dots[1]),
                         .kv_bytes = static_cast<double>(quant::make_kv_cache(o.kv, held)->bytes()),
                         .kv_predicted = static_cast<double>(need.kv_cache)});
}

void require_tokens(std::int64_t context, std::int64_t batch) {
  constexpr std::int64_t kMost = 1 << 30;
  check(context > 0 && batch > 0 && context <= kMost && batch <= kMost, "sweep", "a cell of ",
        context, " tokens in ", batch, " sequences");
}

/// Usage error for a cell without tokens: costs are told by the token.
void require_cells(const Sweep& sweep) {
  for (const SweepCell& c : sweep.cells) require_tokens(c.context, c.batch);
  for (const TrainingCell& c : sweep.training) require_tokens(c.context, c.batch);
}

void require_cells(const SweepOptions& options) {
  for (const std::int64_t context : options.contexts)
    for (const std::int64_t batch : options.batches) require_tokens(context, batch);
}

/// The batches of a sweep that a figure has room for.
std::vector<std::int64_t> shown_batches(const Sweep& sweep) {
  std::set<std::int64_t> all;
  for (const SweepCell& c : sweep.cells) all.insert(c.batch);
  if (all.size() <= 1) return {all.begin(), all.end()};
  return {*all.begin(), *all.rbegin()};
}

}  // namespace

void sweep_inference(Sweep& sweep, std::vector<InferenceSubject>& subjects,
                     const SweepOptions& options) {
  require_cells(options);
  for (InferenceSubject& subject : subjects) {
    check(subject.model.model != nullptr, "sweep", subject.name, " has no model");
    const nn::Model& model = *subject.model.model;
    const MemoryShape shape = memory_shape(model, subject.name);
    for (const std::int64_t context : options.contexts) {
      if (context + kSweepDecoded > model.sizes().block_size) {
        sweep.left_out.push_back(str(subject.name, " has a context of ", model.sizes().block_size,
                                     " tokens, ", context, " and ", kSweepDecoded,
                                     " more do not fit"));
        continue;
      }
      for (const std::int64_t batch : options.batches) {
        const MemoryNeed need =
            memory_need(shape, {.kv = options.kv}, context + kSweepDecoded, batch);
        if (fits(sweep, options, context, batch, str("a prompt of ", subject.name),
                 static_cast<double>(need.kv_cache + need.activations)))
          add_cell(sweep, subject, options, context, batch);
      }
    }
  }
}

void sweep_training(Sweep& sweep, const std::string& shape, const SweepOptions& options) {
  require_cells(options);
  for (const std::int64_t context : options.contexts) {
    for (const std::int64_t batch : options.batches) {
      const BenchSubject subject =
          bench_shape(shape, {str("model.block_size=", context), str("train.batch_size=", batch)});
      const auto model =
          make_model(subject.config, subject.vocab_size, nn::Model::Values::shapes_only);
      const double need = static_cast<double>(
          training_need(memory_shape(*model, shape), model->params().count(), batch * context));
      if (!fits(sweep, options, context, batch, "training", need)) continue;
      const TrainingBench bench =
          bench_training(subject, {.recipes = {"fp32"}, .rounds = 1, .steps = 1});
      sweep.training.push_back({context, batch, bench.recipes.at(0).peak_bytes, need});
    }
  }
}

Table sweep_table(const Sweep& sweep) {
  require_cells(sweep);
  Table table({{.key = "model", .text = true},
               {.key = "context", .decimals = 0},
               {.key = "batch", .decimals = 0},
               {.key = "prompt_ms", .title = "prompt ms", .decimals = 1},
               {.key = "prompt_predicted_ms", .title = "predicted", .decimals = 1},
               {.key = "prompt_us_per_token", .title = "µs/token", .decimals = 1},
               {.key = "decode_ms", .title = "decode ms", .decimals = 2},
               {.key = "decode_predicted_ms", .title = "predicted", .decimals = 2},
               {.key = "kv_bytes", .title = "KV bytes", .bytes = true},
               {.key = "kv_predicted_bytes", .title = "predicted", .bytes = true}});
  for (const SweepCell& c : sweep.cells) {
    table.add_row({text(c.name), number(static_cast<double>(c.context)),
                   number(static_cast<double>(c.batch)), number(1e3 * c.prompt_seconds),
                   number(1e3 * c.prompt_predicted),
                   number(1e6 * c.prompt_seconds / static_cast<double>(c.context * c.batch)),
                   number(1e3 * c.decode_seconds), number(1e3 * c.decode_predicted),
                   number(c.kv_bytes), number(c.kv_predicted)});
  }
  return table;
}

Table training_memory_table(const Sweep& sweep) {
  Table table({{.key = "context", .decimals = 0},
               {.key = "batch", .decimals = 0},
               {.key = "training_bytes", .title = "training", .bytes = true},
               {.key = "training_predicted_bytes", .title = "predicted", .bytes = true},
               {.key = "ratio", .title = "of the prediction", .decimals = 2}});
  for (const TrainingCell& c : sweep.training) {
    const bool known = c.bytes > 0 && c.predicted > 0;
    table.add_row({number(static_cast<double>(c.context)), number(static_cast<double>(c.batch)),
                   known ? number(c.bytes) : missing(), number(c.predicted),
                   known ? number(c.bytes / c.predicted) : missing()});
  }
  return table;
}

Table sweep_records(const Sweep& sweep) {
  Table table({{.key = "model", .text = true},
               {.key = "what", .text = true},
               {.key = "context", .decimals = 0},
               {.key = "batch", .decimals = 0},
               {.key = "measured"},
               {.key = "predicted"}});
  const auto add = [&](const std::string& model, const char* what, std::int64_t context,
                       std::int64_t batch, double measured, double predicted) {
    table.add_row({text(model), text(what), number(static_cast<double>(context)),
                   number(static_cast<double>(batch)), number(measured), number(predicted)});
  };
  for (const SweepCell& c : sweep.cells) {
    add(c.name, "prompt_s", c.context, c.batch, c.prompt_seconds, c.prompt_predicted);
    add(c.name, "decode_s", c.context, c.batch, c.decode_seconds, c.decode_predicted);
    add(c.name, "kv_bytes", c.context, c.batch, c.kv_bytes, c.kv_predicted);
  }
  for (const TrainingCell& c : sweep.training)
    add("fp32", "training_bytes", c.context, c.batch, c.bytes, c.predicted);
  return table;
}

Plot sweep_plot(const Sweep& sweep) {
  require_cells(sweep);
  Plot plot{.title = "Cost of a token by context: marks measured, lines predicted",
            .x_label = "context",
            .y_label = "ms per token",
            .may_be_log = true};
  std::vector<std::string> names;
  for (const SweepCell& c : sweep.cells)
    if (std::ranges::find(names, c.name) == names.end()) names.push_back(c.name);
  std::size_t color = 0;
  for (const std::string& name : names) {
    for (const std::int64_t batch : shown_batches(sweep)) {
      const std::string paint(series_color(color++));
      for (const bool prompt : {false, true}) {
        PlotSeries marks{.name = str(name, ", batch ", batch, prompt ? ", prompt" : ", decode"),
                         .color = paint,
                         .mark = prompt ? Mark::square : Mark::circle};
        PlotSeries line{.color = paint, .line = true};
        for (const SweepCell& c : sweep.cells) {
          if (c.name != name || c.batch != batch) continue;
          const double tokens = static_cast<double>(prompt ? c.context * c.batch : c.batch);
          const auto x = static_cast<double>(c.context);
          const double measured = prompt ? c.prompt_seconds : c.decode_seconds;
          const double roof = prompt ? c.prompt_predicted : c.decode_predicted;
          marks.points.push_back({.x = x, .y = 1e3 * measured / tokens});
          line.points.push_back({.x = x, .y = 1e3 * roof / tokens});
        }
        plot.series.push_back(std::move(marks));
        plot.series.push_back(std::move(line));
      }
    }
  }
  return plot;
}

}  // namespace notch::experiments
