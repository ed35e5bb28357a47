#include "experiments/run/compare.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "autograd/base/clock.h"
#include "experiments/run/fit.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/merge_products.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/row_files.h"
#include "experiments/run/row_maker.h"
#include "experiments/run/teacher.h"
#include "quant/methods/calibration.h"
#include "quant/methods/outliers.h"
#include "quant/methods/post_training.h"
#include "quant/methods/trained.h"
#include "quant/train/quantized_training.h"
#include "quant/train/warm_start.h"

namespace notch::experiments {
namespace {

class SeedRun {
 public:
  SeedRun(const RunContext& run, std::int64_t seed)
      : run_(run),
        seed_(seed),
        stream_(static_cast<std::uint64_t>(seed)),
        rows_(run, seed),
        texts_(run.data.source.tokens.train, stream_),
        teacher_(load_teacher(run.config)) {}

  std::optional<RowResult> base() {
    RowResult row{.name = std::string(kBaseRow), .method = std::string(kBaseRow)};
    const bool done = rows_.make(row, [&](RowResult& r, const fs::path& dir) {
      const auto model = first_model(run_.config, run_.data.source.tokenizer.vocab_size(), stream_);
      const TrainSettings settings = base_settings(run_.config, stream_);
      const TrainParts parts = taught({.model = *model}, run_.config.distill, teacher_.get());
      if (settings.schedule.steps > 0 && !fit(settings, parts, r)) return false;
      quant::add_outliers(*model, run_.config.model.outliers, stream_);
      nn::save_model(*model, dir);
      return true;
    });
    return done ? std::optional(rows_.results().rows.back()) : std::nullopt;
  }

  std::optional<SeedResults> all() {
    if (!base()) return std::nullopt;
    fork_ = quant::load_any(rows_.model(kBaseRow)).model;
    rows_.compare_with(*fork_);
    const std::vector<std::string> rows = rows_of(run_.config, run_.shard, seed_);
    const std::set<std::string> wanted(rows.begin(), rows.end());
    if (!keep_study(rows_.folder(), rows_.results(), run_.config, run_.data, *fork_, run_.progress))
      return std::nullopt;
    for (const Control& planned : controls(run_.config, stream_)) {
      if (wanted.contains(planned.name) && !control(planned)) return std::nullopt;
    }
    for (const RowConfig& planned : planned_rows(run_.config)) {
      if (!wanted.contains(planned_result(run_.config, planned).name)) continue;
      if (!quantized_rows(row_config(run_.config, planned), planned)) return std::nullopt;
    }
    return std::move(rows_.results());
  }

 private:
  bool control(const Control& planned) {
    const bool done = rows_.make(planned_result(planned), [&](RowResult& r, const fs::path& dir) {
      const auto model = nn::clone(*fork_);
      if (!fit(planned.settings, {.model = *model}, r)) return false;
      nn::save_model(*model, dir);
      return true;
    });
    if (done) controls_[planned.name] = quant::load_any(rows_.model(planned.name)).model;
    return done;
  }

  bool quantized_rows(const ExperimentConfig& config, const RowConfig& planned) {
    const RowResult row = planned_result(run_.config, planned);
    const bool in_stages = !planned.pipeline.empty();
    if (!in_stages && planned.method == kHalfMethod) {
      return rows_.make(row, [&](RowResult& r, const fs::path& dir) {
        return half_row(config, planned, r, dir);
      });
    }
    if (!in_stages && row.trained) {
      return rows_.make(row, [&](RowResult& r, const fs::path& dir) {
        return train_row(config, quant::method(planned.method), row_plan(run_.config, planned), r,
                         dir);
      });
    }
    const auto post = [&](const nn::Model& from) {
      return [&](RowResult& r, const fs::path& dir) {
        return in_stages ? pipeline_row(config, planned, from, r, dir)
                         : round_row(config, quant::method(planned.method),
                                     row_plan(run_.config, planned), from, r, dir);
      };
    };
    if (!rows_.make(row, post(*fork_))) return false;
    return std::ranges::all_of(of_controls(run_.config, row), [&](const RowResult& of_control) {
      return rows_.make(of_control, post(*controls_.at(of_control.control)));
    });
  }

  /// In half precision, whole or pruned.
  bool half_row(const ExperimentConfig& config, const RowConfig& planned, RowResult& row,
                const fs::path& dir) {
    const auto model = nn::clone(*fork_);
    Json about = Json::object();
    quant::Quantized pruned;
    if (config.quant.options.prune.on())
      pruned =
          rounded(config, nullptr, layers_plan(config, planned), *model, row, about, fork_.get());
    save_row(*model, pruned, row, dir, std::move(about));
    return true;
  }

  /// Stage after stage, from `first`.
  bool pipeline_row(const ExperimentConfig& config, const RowConfig& planned,
                    const nn::Model& first, RowResult& row, const fs::path& dir) {
    Json about = Json::object();
    about.set("pipeline", Json());  // its place; what stages found is known in the end
    const RowTools tools{
        .round = [&](const ExperimentConfig& own, const quant::Method* method,
                     const quant::Plan& plan,
                     nn::Model& model) { return rounded(own, method, plan, model, row, about); },
        .train =
            [&](const quant::Method& method, const quant::Plan& plan, const TrainSettings& settings,
                nn::Model& model, const quant::Quantized* grids,
                std::span<const quant::NamedMask> masks) {
              return through_rounding(config, method, plan, settings, model, grids, masks, row);
            }};
    const std::optional<PipelineModel> made =
        run_pipeline(run_, seed_, config, planned, first, teacher(), tools, row);
    if (!made) return false;
    about.set("pipeline", pipeline_json(config, planned, made->done));
    save_row(*made->model, made->quantized, row, dir, std::move(about));
    return true;
  }

  bool round_row(const ExperimentConfig& config, const quant::Method& method,
                 const quant::Plan& plan, const nn::Model& from, RowResult& row,
                 const fs::path& dir) {
    const auto model = nn::clone(from);
    Json about = Json::object();
    const quant::Quantized quantized = rounded(config, &method, plan, *model, row, about, &from);
    if (!method.row_figures.empty()) log_layers(method, quantized, row);
    save_row(*model, quantized, row, dir, std::move(about));
    return true;
  }

  /// Rounds `model`, a copy of `writer` unless that is null, or with no method prunes it alone. Notes
  /// calibration text in `about`; the time but for making it is the row's.
  quant::Quantized rounded(const ExperimentConfig& config, const quant::Method* method,
                           const quant::Plan& plan, nn::Model& model, RowResult& row, Json& about,
                           const nn::Model* writer = nullptr) {
    std::vector<quant::Target> targets = quant::resolve(plan, model);
    // Made only where it is used: text that the model writes itself takes longer than rounding.
    std::shared_ptr<const Calibration> calibration;
    if (quant::needs_text(method, targets, config.quant.options)) {
      calibration = writer ? texts_.of(config, *writer) : texts_.alone(config, model);
      Json facts = Json::object();
      facts.set("source", config.calib.source).set("tokens", calibration->tokens());
      facts.set("sha256", calibration->sha256());
      if (config.calib.source == "self") facts.set("temperature", config.calib.temperature);
      about.set("calibration", facts);
    }
    const auto text = calibration ? calibration->batches() : std::span<const nn::Tokens>{};
    const double began = seconds_now();
    if (method && !row.trained && mixes(config, *method)) {
      const fs::path kept = rows_.folder() / kRowsFolder / (row.name + kSensitivityExtension);
      const MixedPlan own = mixed_plan(config, *method, plan, model, text,
                                       run_.data.source.tokens.train, stream_, kept);
      about.set("mixed", to_json(own.mixed, config.quant.options.mixed));
      run_.progress.note(str(row.name, ": ", describe(own)));
      targets = quant::resolve(own.plan, model);
    }
    quant::Quantized quantized =
        method ? quant::post_training(model, *method, targets, text, config.quant.options)
               : quant::prune(model, targets, text, config.quant.options);
    row.seconds += seconds_now() - began;
    return quantized;
  }

  /// What rounding did to every layer, in metrics.jsonl, and the sum of it in the row.
  void log_layers(const quant::Method& method, const quant::Quantized& quantized, RowResult& row) {
    run_.dir.metrics().tell_layers(training_name(seed_, row.name), quantized.layers);
    for (const quant::RowFigure& f : method.row_figures) {
      row.figures.emplace(f.key, f.of(quantized.layers));
    }
  }

  /// Where training through rounding begins.
  struct Start {
    std::unique_ptr<nn::Model> model{};  ///< null when a stop was requested on the way there
    /// The grids it goes on with; nothing after full precision: it looks for its own.
    std::optional<quant::Quantized> grids{};
  };
  Start start(const ExperimentConfig& config, const quant::Method& method, const quant::Plan& plan,
              const TrainSettings& settings, RowResult& row, Json& about) {
    Start begin{.model = nn::clone(*fork_)};
    nn::Model& model = *begin.model;
    if (config.qat.from == "scratch") {
      model.init(stream_);
    } else if (const quant::Method* first = quant::start_of(method, config.qat.from)) {
      begin.grids = rounded(config, first, plan, model, row, about, fork_.get());
      about.set("start", first->name);
    }
    if (!method.trains_weights()) {
      begin.model = quant::packed_twin(model, *begin.grids);
      return begin;
    }
    if (begin.grids) {
      quant::return_to_cells(model.params(), fork_->params(), *begin.grids);
      quant::zero_pruned(model.params(), begin.grids->masks);
    }
    if (settings.first_step == 0) return begin;
    TrainSettings before = settings;
    before.phase = before_rounding(settings.phase);
    before.end_step = std::exchange(before.first_step, 0);
    before.ema = 0;
    if (!fit(before, {.model = model}, row)) begin.model.reset();
    return begin;
  }
  static std::string before_rounding(const std::string& phase) { return phase + "-before"; }

  bool train_row(const ExperimentConfig& config, const quant::Method& method,
                 const quant::Plan& plan, RowResult& row, const fs::path& dir) {
    const TrainSettings settings = rounding_settings(config, stream_, method, row.name);
    Json about = Json::object();
    const auto [model, grids] = start(config, method, plan, settings, row, about);
    if (!model) return false;
    std::vector<quant::NamedMask> masks;
    if (grids) {
      masks = grids->masks;
    } else if (grows(config)) {
      masks = quant::whole_masks(*model, quant::resolve(plan, *model));
    } else if (config.quant.options.prune.on()) {
      masks = rounded(config, nullptr, plan, *model, row, about).masks;
    }
    nn::Model& trained = *model;
    const auto merge = [&](quant::Quantized& quantized) {
      if (method.training != quant::Training::adapters || !config.qlora.merge) return;
      MergedProducts merged =
          merge_products(config, run_.data, trained, *fork_, quantized, [&](nn::Model& dense) {
            return rounded(config, quant::start_of(method, config.qat.from), plan, dense, row,
                           about);
          });
      row.figures.emplace(quant::kMergeFigure.key, merged.cost);
      quantized = std::move(merged.quantized);
    };
    const std::optional<quant::Quantized> quantized = through_rounding(
        config, method, plan, settings, trained, grids ? &*grids : nullptr, masks, row, merge);
    if (!quantized) return false;
    save_row(trained, *quantized, row, dir, std::move(about));
    return true;
  }

  /// Whether masks become larger while the row trains.
  static bool grows(const ExperimentConfig& config) {
    return config.quant.options.prune.on() && config.quant.options.prune.rounds > 1;
  }
  nn::Model* teacher() const { return teacher_ ? teacher_.get() : fork_.get(); }

  /// Trains under masks to the integers, on the grids of others where it goes on from there; nothing
  /// when a stop was requested. `after` sees them while the model still is the one that was trained.
  std::optional<quant::Quantized> through_rounding(
      const ExperimentConfig& config, const quant::Method& method, const quant::Plan& plan,
      const TrainSettings& settings, nn::Model& model, const quant::Quantized* grids,
      std::span<const quant::NamedMask> masks, RowResult& row,
      const std::function<void(quant::Quantized&)>& after = [](quant::Quantized&) {}) {
    std::vector<quant::Target> targets = quant::resolve(plan, model);
    if (grids) {
      for (std::size_t i = 0; i < targets.size(); ++i) targets[i].input = grids->tensors[i].input;
    } else if (std::ranges::any_of(targets, quant::needs_calibration)) {
      quant::calibrate(model, targets, texts_.of(config, *fork_)->batches());
    }
    quant::QuantizedTraining training(model, method, targets,
                                      training_options(config, method, stream_), grids);
    if (!masks.empty()) {
      training.hold(targets, masks,
                    grows(config) && method.trains_weights()
                        ? std::optional(config.quant.options.prune)
                        : std::nullopt);
    }
    training.watch();
    const TrainParts parts = taught(
        {.model = model, .additions = training.additions(), .frozen = !method.trains_weights()},
        config.distill, method.distills ? teacher() : nullptr);
    if (!fit(settings, parts, row)) return std::nullopt;
    quant::Quantized quantized = training.convert();
    after(quantized);
    return quantized;
  }

  void save_row(const nn::Model& model, const quant::Quantized& quantized, RowResult& row,
                const fs::path& dir, Json about) {
    const std::string said = write_model(model, quantized, row, dir, std::move(about));
    if (!said.empty()) run_.progress.note(said);
  }

  bool fit(const TrainSettings& settings, const TrainParts& parts, RowResult& row) {
    return experiments::fit(run_, seed_, settings, parts, row);
  }

  RunContext run_;
  std::int64_t seed_;
  std::uint64_t stream_;
  RowMaker rows_;
  CalibrationTexts texts_;
  std::unique_ptr<nn::Model> fork_, teacher_;
  std::map<std::string, std::unique_ptr<nn::Model>> controls_;
};

}  // namespace

std::optional<RowResult> train_base(const RunContext& run, std::int64_t seed) {
  RunContext alone = run;
  alone.time = nullptr;  // no rows follow
  return SeedRun(alone, seed).base();
}

std::optional<SeedResults> compare(const RunContext& run, std::int64_t seed) {
  return SeedRun(run, seed).all();
}

}  // namespace notch::experiments
