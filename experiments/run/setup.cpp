#include "experiments/run/setup.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/arithmetic.h"
#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "autograd/base/thread_pool.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/row_names.h"
#include "experiments/show/table.h"
#include "nn/generate.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/model_dir.h"
#include "quant/numbers/format.h"
#include "quant/numbers/names.h"

namespace notch::experiments {
namespace {

// Streams of a seed that must not coincide: each use of randomness has its own. 3 is the task's (load_data.cpp).
constexpr std::uint64_t kForkStream = 1, kCalibrationStream = 2, kAdapterStream = 4,
                        kRedrawStream = 5;

}  // namespace

std::unique_ptr<nn::Model> make_model(const ExperimentConfig& config, int vocab_size,
                                      nn::Model::Values values) {
  const ModelConfig& m = config.model;
  if (!m.from.empty()) {
    auto model = nn::shortened(
        nn::make_model(nn::read_config_json(m.from), m.from, nn::Model::Values::shapes_only),
        m.block_size);
    model->set_dropout(m.dropout);
    if (values == nn::Model::Values::allocate) model->params().allocate_values();
    return model;
  }
  if (m.architecture == "llama") {
    constexpr int kMultiple = 32;  // groups of 32 fit
    const int inner = (m.n_embd * 8 / 3 + kMultiple - 1) / kMultiple * kMultiple;
    return std::make_unique<nn::Llama>(
        nn::LlamaConfig{.vocab_size = vocab_size,
                        .block_size = m.block_size,
                        .n_layer = m.n_layer,
                        .n_head = m.n_head,
                        .n_kv_head = m.n_kv_head > 0 ? m.n_kv_head : m.n_head,
                        .n_embd = m.n_embd,
                        .n_inner = m.n_inner > 0 ? m.n_inner : inner,
                        .rope_theta = m.rope_theta,
                        .rms_norm_eps = m.rms_norm_eps,
                        .tie_embeddings = m.tie_embeddings},
        values);
  }
  return std::make_unique<nn::Gpt>(nn::GptConfig{.vocab_size = vocab_size,
                                                 .block_size = m.block_size,
                                                 .n_layer = m.n_layer,
                                                 .n_head = m.n_head,
                                                 .n_embd = m.n_embd,
                                                 .dropout = m.dropout,
                                                 .bias = m.bias,
                                                 .gelu = m.gelu,
                                                 .tie_embeddings = m.tie_embeddings,
                                                 .n_inner = m.n_inner},
                                   values);
}

std::unique_ptr<nn::Model> first_model(const ExperimentConfig& config, int vocab_size,
                                       std::uint64_t seed) {
  const ModelConfig& m = config.model;
  if (m.from.empty()) {
    std::unique_ptr<nn::Model> model = make_model(config, vocab_size);
    model->init(seed);
    return model;
  }
  ModelConfig own = model_of(m.from);
  const bool fits = m.block_size <= own.block_size;
  own.from = m.from;
  own.block_size = m.block_size;
  own.dropout = m.dropout;
  if (!fits || own != m) {
    throw Error({.fault = Fault::input,
                 .where = m.from,
                 .what = "is not the model that [model] of the configuration describes",
                 .field = "model.from",
                 .hint = "restore the model directory that the run began with, or leave the other "
                         "keys out"});
  }
  std::unique_ptr<nn::Model> model = nn::load_model(m.from);
  nn::require_tokens(*model, vocab_size, m.from);
  model = nn::shortened(std::move(model), m.block_size);
  model->set_dropout(m.dropout);
  return model;
}

TrainSettings base_settings(const ExperimentConfig& config, std::uint64_t seed) {
  const TrainConfig& t = config.train;
  return {.phase = std::string(kBaseRow),
          .schedule = {.lr = t.lr,
                       .min_lr = last_lr(t),
                       .warmup = warmup_steps(t),
                       .steps = t.steps,
                       .decay = t.schedule},
          .batch_size = t.batch_size,
          .grad_accum = t.grad_accum,
          .order = t.order,
          .seed = seed,
          .sgd = t.optimizer == "sgd",
          .beta1 = t.beta1,
          .beta2 = t.beta2,
          .eps = t.eps,
          .momentum = t.momentum,
          .weight_decay = t.weight_decay,
          .clip = t.clip,
          .ema = t.ema,
          .step_lr = config.qat.step_lr,
          .eval_every = t.eval_every,
          .checkpoint_every = t.checkpoint_every,
          .log_every = t.log_every,
          .keep_last = t.keep_last,
          .precision = t.matmul};
}

std::uint64_t redraw_seed(std::uint64_t seed) { return mix64(seed + kRedrawStream); }

quant::QatOptions qat_options(const ExperimentConfig& config) {
  quant::QatOptions options = config.qat;
  options.backward = config.train.backward;
  return options;
}

quant::TrainingOptions training_options(const ExperimentConfig& config, const quant::Method& method,
                                        std::uint64_t seed) {
  quant::TrainingOptions options{
      .qat = qat_options(config), .qlora = config.qlora, .seed = mix64(seed + kAdapterStream)};
  // These are of ranges that follow weights, or learn from them.
  if (method.training == quant::Training::gaussian)
    options.qat.freeze = options.qat.dampen = options.qat.cage = 0;
  return options;
}

TrainSettings fork_settings(const ExperimentConfig& config, std::uint64_t seed, std::string phase) {
  TrainSettings s = base_settings(config, mix64(seed + kForkStream));
  const QatConfig& q = config.qat;
  const double lr = config.train.lr * peak_lr_scale(config);
  s.phase = std::move(phase);
  s.rate_key = "qat.lr_scale";
  s.schedule = {.lr = lr,
                .min_lr = lr * q.min_lr_scale,
                .warmup = 0,
                .steps = qat_steps(config),
                .decay = q.schedule};
  if (q.batch_size > 0) s.batch_size = q.batch_size;
  constexpr std::int64_t kRemarks = 8;
  s.remark_every = (s.schedule.steps + kRemarks - 1) / kRemarks;
  s.ema = q.ema;
  s.weight_decay = q.weight_decay;
  return s;
}

double step_rate(const ExperimentConfig& config, const quant::Method& method) {
  return method.training == quant::Training::adapters ? config.train.lr * config.qlora.lr_scale
                                                      : config.qat.step_lr;
}

TrainSettings rounding_settings(const ExperimentConfig& config, std::uint64_t seed,
                                const quant::Method& method, std::string phase) {
  ExperimentConfig own = config;
  if (method.distills && config.distill.lr_scale > 0) own.qat.lr_scale = config.distill.lr_scale;
  TrainSettings s = config.qat.from == "scratch" ? base_settings(config, seed)
                                                 : fork_settings(own, seed, std::string{});
  s.phase = std::move(phase);
  s.ema = config.qat.ema;
  if (s.rate_key == "qat.lr_scale" && method.distills && config.distill.lr_scale > 0)
    s.rate_key = "distill.lr_scale";
  s.step_lr = step_rate(config, method);
  s.first_step = std::llround(config.qat.start * static_cast<double>(s.schedule.steps));
  return s;
}

quant::Spec row_spec(const RowConfig& row) {
  return {
      .bits = row.bits,
      .grid = quant::parse_grid(row.grid, "quant.grid"),
      .granularity = quant::parse_name<quant::Granularity>(row.granularity, "quant.granularity"),
      .group_size = row.group_size,
      .scale = quant::parse_name<quant::ScaleType>(row.scale, "quant.scale")};
}

quant::Plan row_plan(const ExperimentConfig& config, const RowConfig& row) {
  quant::Plan plan{.weights = row_spec(row)};
  if (config.quant.embedding == "same") {
    plan.table = plan.weights;
  } else if (config.quant.embedding == "int8") {
    if (config.quant.format != "none") {
      plan.table = quant::find_preset("q8_0")->spec;
    } else {
      // One scale per token, whatever the blocks use: a table's rows differ in size.
      plan.table = quant::with_bits(plan.weights, 8);
      plan.table->granularity = quant::Granularity::channel;
      plan.table->scale = quant::parse_name<quant::ScaleType>(config.quant.scale, "quant.scale");
      // Bilevel scales are for groups: eight steps between the tokens' would cost 8 bits their use.
      if (plan.table->scale == quant::ScaleType::bilevel) plan.table->scale = quant::ScaleType::f16;
      plan.table->group_size = 0;
    }
  }
  const ActivationsConfig& a = config.activations;
  if (row.activations > 0) {
    plan.activations = a.spec;
    plan.activations->bits = row.activations;
    // The default names GPT-2's layers behind the GELU; a Llama's gated products lie on both sides.
    const bool of_gpt = a.asymmetric == ActivationsConfig{}.asymmetric;
    if (config.model.architecture == "gpt2" || !of_gpt) plan.asymmetric = a.asymmetric;
  }
  for (const LayerRule& rule : config.quant.layers) {
    quant::PlanRule out{.pattern = rule.pattern};
    // A row of weights only stays one, whatever the rules say about inputs.
    if (rule.activations >= 0 && row.activations > 0) out.activation_bits = rule.activations;
    if (rule.bits > 0) {
      out.spec = quant::with_bits(plan.weights, rule.bits);
    }
    plan.rules.push_back(std::move(out));
  }
  return plan;
}

std::int64_t calibration_windows(const ExperimentConfig& config, std::size_t train_tokens) {
  const std::int64_t asked = config.calib.windows;
  check(asked >= 1 && config.model.block_size >= 1, "calib.windows", asked, " windows of ",
        config.model.block_size, " tokens");
  if (config.calib.source == "self") return asked;
  const std::int64_t all = (static_cast<std::int64_t>(train_tokens) - 1) / config.model.block_size;
  return std::min(asked, std::max<std::int64_t>(all, 1));
}

void check_calibration(const ExperimentConfig& config, std::size_t train_tokens, double memory,
                       const Origins& origins) {
  constexpr double kStates = 1 + 4;
  const ModelConfig& m = config.model;
  const double window = 4.0 * m.block_size * m.n_embd * kStates;
  const std::int64_t windows = calibration_windows(config, train_tokens);
  const double need = window * static_cast<double>(windows);
  if (memory == 0 || need <= memory) return;
  origins.fail("calib.windows",
               {.what = "the hidden states of so much calibration text do not fit the memory",
                .found = str(windows, " windows, ", bytes_text(need)),
                .expected = str("at most ", bytes_text(memory)),
                .hint = str("128 windows are usual; here ",
                            static_cast<std::int64_t>(memory / 2 / window), " take half of it")});
}

Calibration::Calibration(const ExperimentConfig& config, const nn::Model& model,
                         std::span<const std::int32_t> train, std::uint64_t seed) {
  const std::int64_t T = config.model.block_size;
  const std::int64_t windows = calibration_windows(config, train.size());
  const auto size = static_cast<std::size_t>(T);
  ids_.resize(static_cast<std::size_t>(windows) * size);
  const std::uint64_t stream = mix64(seed + kCalibrationStream);
  const auto window = [&](std::int64_t w) {
    return std::span(ids_).subspan(static_cast<std::size_t>(w) * size, size);
  };
  if (config.calib.source == "self") {
    parallel_for(windows, [&](std::int64_t w) {
      Rng rng(stream, static_cast<std::uint64_t>(w));
      const auto V = static_cast<std::uint64_t>(model.sizes().vocab_size);
      const std::int32_t first = static_cast<std::int32_t>(rng.below(V));
      window(w)[0] = first;
      const auto text =
          nn::generate(model, {&first, 1}, T - 1, {.temperature = config.calib.temperature}, rng);
      std::ranges::copy(text, window(w).begin() + 1);
    });
  } else {
    std::vector<std::int32_t> targets(size);
    const bool all = windows >= (std::ssize(train) - 1) / T;
    const data::BatchSpec one{.B = 1,
                              .T = T,
                              .order = all ? data::Order::sequential : data::Order::random,
                              .seed = stream};
    for (std::int64_t w = 0; w < windows; ++w) data::batch(train, one, w, 0, window(w), targets);
  }
  constexpr std::int64_t kPerBatch = 16;
  for (std::int64_t w = 0; w < windows; w += kPerBatch) {
    const std::int64_t B = std::min(kPerBatch, windows - w);
    batches_.push_back({std::span(ids_).subspan(static_cast<std::size_t>(w) * size,
                                                static_cast<std::size_t>(B) * size),
                        B, T});
  }
  sha256_ =
      notch::sha256({reinterpret_cast<const char*>(ids_.data()), ids_.size() * sizeof(ids_[0])});
}

std::shared_ptr<const Calibration> CalibrationTexts::of(const ExperimentConfig& config,
                                                        const nn::Model& writer) {
  const nn::Model* by = config.calib.source == "self" ? &writer : nullptr;
  for (const Made& m : made_) {
    if (m.writer == by && m.calib == config.calib) return m.text;
  }
  made_.push_back({config.calib, by, alone(config, writer)});
  return made_.back().text;
}

std::shared_ptr<const Calibration> CalibrationTexts::alone(const ExperimentConfig& config,
                                                           const nn::Model& writer) const {
  return std::make_shared<const Calibration>(config, writer, train_, seed_);
}

void use_products(const ExperimentConfig& config) {
  set_arithmetic(config.train.products == "portable" ? Arithmetic::portable : Arithmetic::native);
}

}  // namespace notch::experiments
