#include "experiments/bench/training_bench.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/kernels/bf16_matmul.h"
#include "experiments/bench/gemm_floor.h"
#include "experiments/machine/heap_allocations.h"
#include "experiments/machine/machine.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"
#include "experiments/run/teacher.h"
#include "experiments/train/training_phase.h"
#include "quant/methods/calibration.h"
#include "quant/methods/post_training.h"
#include "quant/methods/rtn.h"

namespace notch::experiments {
namespace {

double median(std::vector<double> values) {
  check(!values.empty(), "bench", "no round was measured");
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

/// Peak memory as if the process did nothing else: the growth since construction on top of what a
/// process without models has.
class PeakMemory {
 public:
  PeakMemory() : before_(status("VmRSS:")), program_(resident_at_first()) {
    std::ofstream("/proc/self/clear_refs") << "5";  // Linux: the peak starts anew
  }
  double bytes() const { return status("VmHWM:") - before_ + program_; }

 private:
  /// Before any model was there.
  static double resident_at_first() {
    static const double bytes = status("VmRSS:");
    return bytes;
  }
  static double status(std::string_view key) { return proc_bytes("/proc/self/status", key); }
  double before_, program_;
};

/// One recipe in training.
class Arm {
 public:
  /// `row` is null for fp32.
  Arm(const BenchSubject& subject, const RowConfig* row)
      : model_(make_model(subject.config, subject.vocab_size)) {
    const ExperimentConfig config = row ? row_config(subject.config, *row) : subject.config;
    model_->init(kBenchSeed);
    std::vector<nn::Addition*> additions;
    bool frozen = false;
    if (row) {
      const quant::Method& method = quant::method(row->method);
      if (method.distills) teacher_ = nn::clone(*model_);
      frozen = !method.trains_weights();
      std::vector<quant::Target> targets = quant::resolve(row_plan(config, *row), *model_);
      quant::calibrate(*model_, targets,
                       Calibration(config, *model_, subject.tokens, kBenchSeed).batches());
      std::optional<quant::Quantized> start;
      if (frozen) {
        start = quant::post_training(*model_, quant::kRtn, targets, {}, {});
        model_ = quant::packed_twin(*model_, *start);
        targets = quant::resolve(row_plan(config, *row), *model_);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i].input = start->tensors[i].input;
      }
      training_.emplace(*model_, method, targets, training_options(config, method, kBenchSeed),
                        start ? &*start : nullptr);
      additions = training_->additions();
      result_.name = row_name(config, *row);
    } else {
      result_.name = "fp32";
    }
    const TrainParts parts = taught({.model = *model_,
                                     .tokens = subject.tokens,
                                     .additions = std::move(additions),
                                     .frozen = frozen,
                                     .profile = &profile_},
                                    config.distill, teacher_.get());
    TrainSettings settings = base_settings(config, kBenchSeed);
    settings.schedule = {.lr = config.train.lr,
                         .min_lr = config.train.lr,
                         .steps = std::numeric_limits<int>::max(),
                         .decay = optim::Decay::constant};
    phase_ = std::make_unique<TrainingPhase>(settings, parts);
    // The first step plans the memory, the second has everything in its place.
    step();
    first_ms_ = step();
    result_.peak_bytes = memory_.bytes();
    best_ = std::numeric_limits<double>::infinity();
    allocations_ = 0;
    steps_ = 0;
  }

  double first_ms() const { return first_ms_; }

  void round(int steps) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < steps; ++i) best = std::min(best, step());
    result_.ms.push_back(best);
  }

  BenchedRecipe result() const {
    BenchedRecipe result = result_;
    if (heap_allocations >= 0) {
      result.allocations = static_cast<double>(allocations_) / static_cast<double>(steps_);
    }
    return result;
  }

 private:
  double step() {
    profile_.clear();
    const std::int64_t before = heap_allocations;
    const double start = seconds_now();
    phase_->step();
    const double ms = 1e3 * (seconds_now() - start);
    allocations_ += heap_allocations - before;
    ++steps_;
    if (ms < best_) {
      best_ = ms;
      result_.split = step_split(profile_);
    }
    return ms;
  }

  PeakMemory memory_;  // first: it sees everything below
  std::unique_ptr<nn::Model> model_, teacher_;
  std::optional<quant::QuantizedTraining> training_;
  Profile profile_;
  std::unique_ptr<TrainingPhase> phase_;
  BenchedRecipe result_;
  double first_ms_ = 0, best_ = std::numeric_limits<double>::infinity();
  std::int64_t allocations_ = 0, steps_ = 0;
};

/// The arms of `recipes`, in their order; a recipe with several widths is several.
std::vector<std::unique_ptr<Arm>> make_arms(const BenchSubject& subject,
                                            const std::vector<std::string>& recipes) {
  std::vector<std::unique_ptr<Arm>> arms;
  for (const std::string& name : recipes) {
    if (name == "fp32") {
      arms.push_back(std::make_unique<Arm>(subject, nullptr));
      continue;
    }
    if (!quant::method(name).trains()) {
      throw Error({.fault = Fault::usage,
                   .where = "--recipe",
                   .what = "does not train",
                   .found = name,
                   .expected = "fp32 or a recipe that trains through rounding (qat-…)"});
    }
    for (const RowConfig& row : rows_of_method(subject.config, name)) {
      arms.push_back(std::make_unique<Arm>(subject, &row));
    }
  }
  return arms;
}

/// Keeps each row's fastest run.
void keep_minima(std::vector<GemmFloor::Row>& best, const std::vector<GemmFloor::Row>& now) {
  if (best.empty()) best = now;
  for (std::size_t i = 0; i < now.size(); ++i) best[i].ms = std::min(best[i].ms, now[i].ms);
}

double sum_of(const std::vector<GemmFloor::Row>& rows) {
  double sum = 0;
  for (const GemmFloor::Row& row : rows) sum += row.ms;
  return sum;
}

void set_floors(StepSplit& split, const std::vector<GemmFloor::Row>& floors) {
  for (const GemmFloor::Row& row : floors) {
    const auto op = std::ranges::find_if(split.ops, [&](const OpTime& o) {
      return multiplies(o.op, row.op) && o.layer == row.layer && !o.quantizer();
    });
    if (op != split.ops.end()) op->floor = row.ms;
  }
}

/// Of recipe `i`: as many as of the products.
const std::vector<double>& rounds_of(const TrainingBench& bench, std::size_t i) {
  check(i < bench.recipes.size(), "bench", "recipe ", i, " of ", bench.recipes.size());
  const BenchedRecipe& recipe = bench.recipes[i];
  check(recipe.ms.size() == bench.floor_ms.size(), "bench", recipe.ms.size(), " rounds of ",
        recipe.name, ", ", bench.floor_ms.size(), " of its products");
  return recipe.ms;
}

struct Shape {
  std::string_view name{};
  int n_layer = 0, n_head = 0, n_embd = 0, block_size = 0, batch_size = 0, vocab_size = 0;
};
constexpr Shape kShapes[] = {{"N", 4, 4, 128, 64, 12, 65},
                             {"T", 4, 4, 128, 128, 16, 256},
                             {"S", 6, 6, 384, 256, 8, 256},
                             {"M", 12, 12, 768, 256, 4, 50257}};

}  // namespace

bool multiplies(std::string_view op, std::string_view row) {
  if (op == row) return true;
  if (row == "linear" && op.find("linear") != op.npos) return true;
  return op == "served_product" && (row == "linear" || row == "head_loss");
}

bool is_bench_shape(std::string_view name) {
  return std::ranges::find(kShapes, name, &Shape::name) != std::end(kShapes);
}

BenchSubject bench_shape(std::string_view name, const std::vector<std::string>& overrides) {
  const auto shape = std::ranges::find(kShapes, name, &Shape::name);
  if (shape == std::end(kShapes)) {
    throw Error({.fault = Fault::usage,
                 .where = "--shape",
                 .what = "no such shape",
                 .found = std::string(name),
                 .expected = "N, T, S, M or an EXP.toml"});
  }
  LoadedConfig loaded;
  ExperimentConfig& config = loaded.config;
  config.name = name;
  config.model = {.n_layer = shape->n_layer,
                  .n_head = shape->n_head,
                  .n_embd = shape->n_embd,
                  .block_size = shape->block_size,
                  .bias = true};
  config.train.batch_size = shape->batch_size;
  config.quant.bits = {4};
  for (const std::string& change : overrides) apply_override(loaded, change);
  validate(config, loaded.origins);
  check_processor(config, kernels::bf16_available(), loaded.origins);
  BenchSubject subject{.name = std::string(name),
                       .config = config,
                       .vocab_size = shape->vocab_size,
                       .origins = loaded.origins};
  subject.tokens.resize(std::size_t{1} << 18);
  Rng rng(1);
  for (std::int32_t& token : subject.tokens) {
    token = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(shape->vocab_size)));
  }
  return subject;
}

double BenchedRecipe::median_ms() const { return median(ms); }
double BenchedRecipe::min_ms() const {
  check(!ms.empty(), "bench", "no round of ", name, " was measured");
  return std::ranges::min(ms);
}

double TrainingBench::ratio(std::size_t i) const {
  const std::vector<double>&own = rounds_of(*this, i), &first = rounds_of(*this, 0);
  std::vector<double> ratios;
  for (std::size_t r = 0; r < floor_ms.size(); ++r) {
    ratios.push_back(own[r] / first[r]);
  }
  return median(ratios);
}

double TrainingBench::floor_share(std::size_t i) const {
  const std::vector<double>& own = rounds_of(*this, i);
  std::vector<double> shares;
  for (std::size_t r = 0; r < floor_ms.size(); ++r) {
    shares.push_back(floor_ms[r] / own[r]);
  }
  return median(shares);
}

TrainingBench bench_training(const BenchSubject& subject, const BenchOptions& options) {
  check(!options.recipes.empty() && options.rounds > 0, "notch bench", options.rounds,
        " rounds of ", options.recipes.size(), " recipes measure nothing");
  use_products(subject.config);
  const std::vector<std::unique_ptr<Arm>> arms = make_arms(subject, options.recipes);
  // Its own: an arm that trains beside codes has no matrices, nor their gradients.
  const std::unique_ptr<nn::Model> floats = make_model(subject.config, subject.vocab_size);
  nn::Model& model = *floats;
  model.init(kBenchSeed);
  model.params().allocate_gradients();
  TrainingBench bench{.name = subject.name,
                      .model = model.sizes(),
                      .batch_size = subject.config.train.batch_size,
                      .grad_accum = subject.config.train.grad_accum,
                      .parameters = model.params().count(),
                      .matrix_weights = model.matrix_weights()};
  const auto batches = static_cast<double>(bench.grad_accum);
  bench.flops = batches * step_flops(model, bench.batch_size);
  GemmFloor floor(model, bench.batch_size);
  floor.run();
  const int steps = options.steps > 0
                        ? options.steps
                        : static_cast<int>(std::clamp(500 / arms[0]->first_ms(), 1.0, 20.0));
  std::vector<GemmFloor::Row> floors;
  for (int round = 0; round < options.rounds; ++round) {
    for (const auto& arm : arms) arm->round(steps);
    std::vector<GemmFloor::Row> best;
    for (int i = 0; i < steps; ++i) keep_minima(best, floor.run());
    for (GemmFloor::Row& row : best) row.ms *= batches;
    bench.floor_ms.push_back(sum_of(best));
    keep_minima(floors, best);
  }
  for (const auto& arm : arms) {
    bench.recipes.push_back(arm->result());
    set_floors(bench.recipes.back().split, floors);
  }
  return bench;
}

std::vector<std::string> describe(const TrainingBench& b) {
  const nn::Sizes& c = b.model;
  return {str(b.name, ": ", c.n_layer, " layers x ", c.n_head, " heads x ", c.n_embd,
              " channels, context ", c.block_size, ", batch ",
              b.grad_accum > 1 ? str(b.grad_accum, " x ") : "", b.batch_size, ", vocabulary ",
              c.vocab_size, "; ", b.parameters, " parameters, ", b.tokens(), " tokens per step"),
          str("   FLOP per step = tokens x (6 x matrix parameters with the head + 12 x layers x "
              "channels x context) = ",
              b.tokens(), " x (6 x ", b.matrix_weights, " + 12 x ", c.n_layer, " x ", c.attention(),
              " x ", c.block_size, ") = ", b.flops / 1e9, " G, attention counted full")};
}

Table bench_table(const std::vector<TrainingBench>& benches) {
  Table table({{.key = "shape", .text = true},
               {.key = "recipe", .text = true},
               {.key = "tokens_per_s", .title = "tokens/s", .decimals = 0},
               {.key = "ms", .decimals = 2},
               {.key = "min_ms", .title = "min ms", .decimals = 2},
               {.key = "ratio", .title = "x first", .decimals = 3},
               {.key = "forward_ms", .title = "forward", .decimals = 2},
               {.key = "backward_ms", .title = "backward", .decimals = 2},
               {.key = "quantizer_ms", .title = "quantizer", .decimals = 2},
               {.key = "optimizer_ms", .title = "optimizer", .decimals = 2},
               {.key = "other_ms", .title = "other", .decimals = 2},
               {.key = "gflops", .title = "GFLOP/s", .decimals = 0},
               {.key = "floor_ms", .title = "GEMM floor ms", .decimals = 2},
               {.key = "floor_percent", .title = "floor %", .decimals = 1},
               {.key = "peak_mb", .title = "peak MB", .decimals = 0},
               {.key = "allocations", .title = "allocations", .decimals = 0}});
  for (const TrainingBench& b : benches) {
    for (std::size_t i = 0; i < b.recipes.size(); ++i) {
      const BenchedRecipe& r = b.recipes[i];
      const double seconds = r.median_ms() / 1e3;
      table.add_row({text(b.name), text(r.name), number(static_cast<double>(b.tokens()) / seconds),
                     number(r.median_ms()), number(r.min_ms()),
                     b.recipes.size() > 1 ? number(b.ratio(i)) : missing(), number(r.split.forward),
                     number(r.split.backward), number(r.split.quantizer), number(r.split.optimizer),
                     number(r.split.other), number(b.flops / seconds / 1e9),
                     number(median(b.floor_ms)), number(100 * b.floor_share(i)),
                     r.peak_bytes > 0 ? number(r.peak_bytes / 1e6) : missing(),
                     r.allocations < 0 ? missing() : number(r.allocations)});
    }
  }
  return table;
}

Table bench_split_table(const std::vector<TrainingBench>& benches) {
  std::vector<NamedSplit> splits;
  for (const TrainingBench& b : benches) {
    for (const BenchedRecipe& r : b.recipes) splits.push_back({b.name, r.name, r.split});
  }
  return split_table(splits);
}

}  // namespace notch::experiments
