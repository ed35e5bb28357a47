#include "experiments/run/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "autograd/base/clock.h"
#include "autograd/kernels/sha256.h"
#include "experiments/machine/machine.h"
#include "experiments/run/fit.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/merge_products.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/sample_text.h"
#include "experiments/run/signals.h"
#include "experiments/run/teacher.h"
#include "nn/checkpoint.h"
#include "nn/integrity.h"
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
        folder_(run.dir.path() / ("seed-" + std::to_string(seed))),
        scored_on_(scored_hash(run.config, run.data)),
        teacher_(load_teacher(run.config)) {
    results_.seed = seed;
    fs::create_directories(folder_ / "rows");
    remove_stale_temporaries(run.dir.path() / "models", RunDir::is_model);
    remove_stale_temporaries(folder_ / "rows", [](std::string_view name) {
      return name.ends_with(".json") || name.ends_with(".sensitivity");
    });
    std::error_code none;
    for (fs::directory_iterator at(folder_ / "ckpt", none), end; !none && at != end;
         at.increment(none)) {
      nn::remove_stale_checkpoints(at->path());
    }
  }

  std::optional<RowResult> base() {
    RowResult row{.name = std::string(kBaseRow), .method = std::string(kBaseRow)};
    const bool done = make(row, [&](RowResult& r, const fs::path& dir) {
      const auto model = first_model(run_.config, run_.data.source.tokenizer.vocab_size(), stream_);
      const TrainSettings settings = base_settings(run_.config, stream_);
      const TrainParts parts =
          taught({.model = *model}, run_.config.distill, teacher_.get());
      if (settings.schedule.steps > 0 && !fit(settings, parts, r)) return false;
      quant::add_outliers(*model, run_.config.model.outliers, stream_);
      nn::save_model(*model, dir);
      return true;
    });
    if (!done) return std::nullopt;
    return results_.rows.back();
  }

  std::optional<SeedResults> all() {
    if (!base()) return std::nullopt;
    fork_ = quant::load_any(path(kBaseRow)).model;
    const std::vector<std::string> rows = rows_of(run_.config, run_.shard, seed_);
    const std::set<std::string> wanted(rows.begin(), rows.end());
    if (!keep_study(folder_, results_, run_.config, run_.data, *fork_, run_.progress))
      return std::nullopt;
    for (const Control& planned : controls(run_.config, stream_)) {
      if (wanted.contains(planned.name) && !control(planned)) return std::nullopt;
    }
    for (const RowConfig& planned : planned_rows(run_.config)) {
      if (!wanted.contains(planned_result(run_.config, planned).name)) continue;
      if (!quantized_rows(row_config(run_.config, planned), planned)) return std::nullopt;
    }
    return std::move(results_);
  }

 private:
  fs::path path(std::string_view row) const { return model_path(run_, row, seed_); }

  bool control(const Control& planned) {
    const bool done = make(planned_result(planned), [&](RowResult& r, const fs::path& dir) {
      const auto model = nn::clone(*fork_);
      if (!fit(planned.settings, {.model = *model}, r)) return false;
      nn::save_model(*model, dir);
      return true;
    });
    if (done) controls_[planned.name] = quant::load_any(path(planned.name)).model;
    return done;
  }

  bool quantized_rows(const ExperimentConfig& config, const RowConfig& planned) {
    const RowResult row = planned_result(run_.config, planned);
    if (planned.method == "fp16") {
      return make(row, [&](RowResult& r, const fs::path& dir) {
        return half_row(config, planned, r, dir);
      });
    }
    const quant::Method& method = quant::method(planned.method);
    const quant::Plan plan = row_plan(run_.config, planned);
    if (row.trained) {
      return make(row, [&](RowResult& r, const fs::path& dir) {
        return train_row(config, method, plan, r, dir);
      });
    }
    const auto post = [&](const nn::Model& from) {
      return [&](RowResult& r, const fs::path& dir) {
        return round_row(config, method, plan, from, r, dir);
      };
    };
    if (!make(row, post(*fork_))) return false;
    return std::ranges::all_of(of_controls(run_.config, row), [&](const RowResult& of_control) {
      return make(of_control, post(*controls_.at(of_control.control)));
    });
  }

  /// In half precision, whole or pruned.
  bool half_row(const ExperimentConfig& config, const RowConfig& planned, RowResult& row,
                const fs::path& dir) {
    if (!config.quant.options.prune.on()) {
      nn::save_model(*fork_, dir, Json::object(), nn::DType::f16);
      return true;
    }
    RowConfig whole = planned;
    whole.bits = 8;  // of the plan only its layers count
    const auto model = nn::clone(*fork_);
    Json about = Json::object();
    const quant::Plan plan = row_plan(config, whole);
    const quant::Quantized pruned = rounded(config, nullptr, plan, *model, row, about);
    note_pruned(pruned, row);
    about.set("method", row.method);
    if (!row.label.empty()) about.set("label", row.label);
    quant::save_quantized(*model, pruned, dir, about, quant::Coding::packed, nn::DType::f16);
    return true;
  }

  bool round_row(const ExperimentConfig& config, const quant::Method& method,
                 const quant::Plan& plan, const nn::Model& from, RowResult& row,
                 const fs::path& dir) {
    const auto model = nn::clone(from);
    Json about = Json::object();
    const quant::Quantized quantized = rounded(config, &method, plan, *model, row, about);
    if (!method.row_figures.empty()) log_layers(method, quantized, row);
    save_row(*model, quantized, row, dir, std::move(about));
    return true;
  }

  /// Rounds `model` after training, or with no method prunes it alone; the time is the row's, the
  /// calibration text is noted in `about`.
  quant::Quantized rounded(const ExperimentConfig& config, const quant::Method* method,
                           const quant::Plan& plan, nn::Model& model, RowResult& row, Json& about) {
    const double began = seconds_now();
    std::vector<quant::Target> targets = quant::resolve(plan, model);
    // Made only where it is used: text that the model writes itself takes longer than rounding.
    std::optional<Calibration> calibration;
    if (quant::needs_text(method, targets, config.quant.options)) {
      calibration.emplace(config, model, run_.data.source.tokens.train, stream_);
      Json facts = Json::object();
      facts.set("source", config.calib.source)
          .set("tokens", calibration->tokens())
          .set("sha256", calibration->sha256());
      if (config.calib.source == "self") facts.set("temperature", config.calib.temperature);
      about.set("calibration", facts);
    }
    const std::span<const nn::Tokens> text =
        calibration ? calibration->batches() : std::span<const nn::Tokens>{};
    if (method && !row.trained && mixes(config, *method)) {
      const fs::path kept = folder_ / "rows" / (row.name + ".sensitivity");
      const MixedPlan own = mixed_plan(config, *method, plan, model, text,
                                       run_.data.source.tokens.train, stream_, kept);
      about.set("mixed", to_json(own.mixed, config.quant.options.mixed));
      run_.progress.note(str(row.name, ": ", describe(own.mixed)));
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
    run_.dir.metrics().tell_layers(str("seed-", seed_, "/", row.name), quantized.layers);
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
      begin.grids = rounded(config, first, plan, model, row, about);
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
    std::vector<quant::Target> targets = quant::resolve(plan, *model);
    const quant::PruneOptions& prune = config.quant.options.prune;
    const bool grows = prune.on() && prune.rounds > 1;
    std::vector<quant::NamedMask> masks;
    if (grids) {
      masks = grids->masks;
    } else if (grows) {
      masks = quant::whole_masks(*model, targets);
    } else if (prune.on()) {
      masks = rounded(config, nullptr, plan, *model, row, about).masks;
    }
    if (grids) {
      for (std::size_t i = 0; i < targets.size(); ++i) targets[i].input = grids->tensors[i].input;
    } else if (std::ranges::any_of(targets, quant::needs_calibration)) {
      const Calibration calibration(config, *fork_, run_.data.source.tokens.train, stream_);
      quant::calibrate(*model, targets, calibration.batches());
    }
    quant::QuantizedTraining training(*model, method, targets,
                                      training_options(config, method, stream_),
                                      grids ? &*grids : nullptr);
    if (!masks.empty())
      training.hold(masks, grows && method.trains_weights() ? std::optional(prune) : std::nullopt);
    training.watch();
    nn::Model* teacher = !method.distills ? nullptr : teacher_ ? teacher_.get() : fork_.get();
    const TrainParts parts = taught({.model = *model,
                                     .additions = training.additions(),
                                     .frozen = !method.trains_weights()},
                                    config.distill, teacher);
    if (!fit(settings, parts, row)) return false;
    quant::Quantized quantized = training.convert();
    if (method.training == quant::Training::adapters && config.qlora.merge) {
      MergedProducts merged = merge_products(
          config, run_.data, *model, *fork_, quantized, [&](nn::Model& dense) {
            return rounded(config, quant::start_of(method, config.qat.from), plan, dense, row, about);
          });
      row.figures.emplace(quant::kMergeFigure.key, merged.cost);
      quantized = std::move(merged.quantized);
    }
    save_row(*model, quantized, row, dir, std::move(about));
    return true;
  }

  void save_row(const nn::Model& model, const quant::Quantized& quantized, RowResult& row,
                const fs::path& dir, Json about) {
    row.moved = quant::require_activity(quantized, row.name);
    row.layers = std::ssize(quantized.layers);
    note_pruned(quantized, row);
    about.set("method", row.method);
    if (!row.label.empty()) about.set("label", row.label);
    quant::save_quantized(model, quantized, dir, about);
    run_.progress.note(str(row.name, ": ", row.layers, " matrices quantized, rounding moved ",
                           static_cast<int>(1000 * row.moved + 0.5) / 10.0, " % of their weights"));
  }

  bool fit(const TrainSettings& settings, const TrainParts& parts, RowResult& row) {
    return experiments::fit(run_, seed_, settings, parts, row);
  }

  /// Makes an artefact, reads it back, scores it and writes its row file; or finds that done.
  /// `build` fills the model directory and the row, and says whether it came to its end.
  template <class Build>
  bool make(RowResult row, const Build& build) {
    const fs::path file = folder_ / "rows" / (row.name + ".json");
    if (fs::exists(file) && fs::exists(path(row.name) / nn::kWeightsFile)) {
      if (std::optional<RowResult> found = finished(file, row.name)) {
        follow_plan(*found, row);
        if (found->scored_on != scored_on_) {
          found->build = then_build(found->build, build_text());
          score(*found);
          write_file(file, row_text(*found));
        }
        if (run_.time) run_.time->found(row.name, found->seconds);
        results_.rows.push_back(std::move(*found));
        return true;
      }
    }
    if (stop_requested()) return false;
    const double began = seconds_now();
    if (run_.time) run_.progress.run(run_.time->begin(row.name));
    row.build = build_text();
    fs::create_directories(path(row.name).parent_path());
    try {
      DirectoryWriter dir(path(row.name));
      run_.data.source.tokenizer.save(dir.temporary());
      if (!build(row, dir.temporary())) return false;
      dir.commit();
      score(row);
    } catch (const Error& e) {
      ErrorParts parts = e.parts();
      if (parts.where != row.name) parts.where = str(row.name, ": ", parts.where);
      throw Error(std::move(parts));
    }
    write_file(file, row_text(row));
    // The artefact has replaced them. fp32's stay: a longer training would start from their
    // moments.
    if (row.name != kBaseRow) {
      fs::remove_all(run_.dir.checkpoints(seed_) / row.name);
      fs::remove_all(run_.dir.checkpoints(seed_) / before_rounding(row.name));
    }
    if (run_.time) run_.time->end(row.name, seconds_now() - began);
    results_.rows.push_back(std::move(row));
    return true;
  }

  /// The row of a file whose model is the one that was scored; nothing, with a note, of any other.
  std::optional<RowResult> finished(const fs::path& file, const std::string& name) const {
    std::string trouble = "the artefact is not the one that was scored";
    try {
      RowResult row = row_from_text(read_file(file), file.string());
      if (row.name != name || row.eval.window_tokens.empty()) {
        trouble = file.string() + " is not of this row";
      } else if (row.sha256 ==
                     sha256_file(path(name) / nn::kWeightsFile, kernels::sha256_blocks()) &&
                 nn::is_intact(path(name))) {
        return row;
      }
    } catch (const Error& e) {
      if (e.fault() != Fault::input) throw;
      trouble = e.what();
    }
    run_.progress.note(str(name, ": ", trouble, "; made again"));
    return std::nullopt;
  }

  void score(RowResult& row) {
    nn::require_intact(path(row.name));
    quant::LoadedModel loaded = quant::load_any(path(row.name));
    const fs::path weights = path(row.name) / nn::kWeightsFile;
    row.sha256 = sha256_file(weights, kernels::sha256_blocks());
    row.scored_on = scored_on_;
    row.file_bytes = static_cast<std::int64_t>(fs::file_size(weights));
    row.size = quant::predict_size(
        *loaded.model, {.tensors = std::move(loaded.tensors), .masks = std::move(loaded.masks)},
        row.method == "fp16" ? 16 : 32);
    if (row.size.file_bytes() != row.file_bytes) {
      throw Error({.fault = Fault::mismatch,
                   .where = weights.string(),
                   .what = "the file has other bytes than predicted",
                   .found = str(row.file_bytes),
                   .expected = str(row.size.file_bytes())});
    }
    const ScoredText text = scored_text(run_.config, run_.data);
    row.eval = evaluate(*loaded.model, text.tokens, text.bytes_per_token, fork_.get());
    row.accuracy.reset();
    if (!run_.data.task.empty()) {
      row.accuracy = task_accuracy(*loaded.model, run_.data.source.tokenizer, run_.data.task);
    }
    row.sample = sample_text(*loaded.model, run_.data.source.tokenizer, text.tokens, stream_);
    run_.progress.note(str(row.name, ": ", text.name, " loss ", round4(row.eval.loss), ", ",
                           row.file_bytes, " bytes"));
  }

  static double round4(double x) { return std::round(1e4 * x) / 1e4; }

  RunContext run_;
  std::int64_t seed_;
  std::uint64_t stream_;
  fs::path folder_;
  std::string scored_on_;
  SeedResults results_;
  std::unique_ptr<nn::Model> fork_, teacher_;
  std::map<std::string, std::unique_ptr<nn::Model>> controls_;
};

}  // namespace

std::filesystem::path model_path(const RunContext& run, std::string_view row, std::int64_t seed) {
  return run.dir.model(str(row, "-seed", seed));
}

std::optional<RowResult> train_base(const RunContext& run, std::int64_t seed) {
  RunContext alone = run;
  alone.time = nullptr;  // no rows follow
  return SeedRun(alone, seed).base();
}

std::optional<SeedResults> compare(const RunContext& run, std::int64_t seed) {
  return SeedRun(run, seed).all();
}

}  // namespace notch::experiments
