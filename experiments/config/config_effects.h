// Keys that were set and change nothing: which key has an effect when, in one table.
//
//   from              without effect because
//   the command line  of anything                    refused
//   a file            of the command line            noted, the key is left at its default
//   a file            no row of the table asks       noted likewise: a file may keep the sections of
//                     for the method                 methods that it does not run now
//   a file            of another value in the file   refused
//
// A value that equals its default says nothing and is never refused, so that `notch config` prints a
// file that loads. experiments/config/config_schema.h has the keys themselves.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/config/pipeline.h"
#include "quant/methods/methods.h"
#include "quant/methods/prune.h"

namespace notch::experiments {

/// What the settings of an experiment, or of one row, are used for.
struct Uses {
  struct Row {
    RowConfig row{};
    ExperimentConfig config{};  ///< the row's
    const quant::Method* method = nullptr;

    std::vector<PipelineStage> stages{};  ///< of one with a pipeline

    /// Through rounding.
    bool trains() const {
      return has([](const quant::Method& m) { return m.trains(); });
    }
    bool forks() const {
      return stages.empty() ? trains() && config.qat.from != "scratch"
                            : std::ranges::any_of(stages, &PipelineStage::trains) &&
                                  std::ranges::none_of(stages, &PipelineStage::begins_again);
    }
    bool learns_steps() const {
      return has([](const quant::Method& m) { return m.training == quant::Training::lsq; });
    }
    bool has_teacher() const {
      return method->distills || std::ranges::any_of(stages, &PipelineStage::has_teacher);
    }
    /// What gives a trained row its first codes, before its stages where it has some; null where it begins
    /// with weights, or from scratch.
    const quant::Method* start() const {
      if (stages.empty()) return quant::start_of(*method, config.qat.from);
      const auto first = std::ranges::find_if(stages, [](const PipelineStage& s) { return s.method; });
      return first == stages.end() ? nullptr : first->method->base;
    }
    /// Whether the method, or the one it begins with, holds what `which` asks for.
    template <class Which>
    bool has(Which which) const {
      return which(*method) || (start() && which(*start())) ||
             std::ranges::any_of(stages, [&](const PipelineStage& s) {
               return s.method && which(*s.method);
             });
    }
    bool rounds_with(std::string_view section) const {
      return has([&](const quant::Method& m) { return m.round && m.reads(section); });
    }
    bool has_static_inputs() const {
      return row.activations > 0 && config.activations.spec.range == quant::ActivationRange::fixed;
    }
    const quant::PruneOptions& prune() const { return config.quant.options.prune; }
    /// That of the row's settings, not of its stages; null: none.
    const quant::Pruner* pruner() const { return quant::find_pruner(prune().method); }
    bool calibrates() const {
      const auto reads = [](const quant::PruneOptions& options) {
        const quant::Pruner* pruner = quant::find_pruner(options.method);
        return pruner && pruner->needs_inputs;
      };
      const auto stage_reads = [&](const PipelineStage& s) {
        return s.reads_text() || reads(s.prune);
      };
      return has_static_inputs() || reads(prune()) || std::ranges::any_of(stages, stage_reads) ||
             has([](const quant::Method& m) { return m.needs.reads_text(); });
    }
  };
  const ExperimentConfig& config;
  bool control = false;
  std::vector<Row> rows{};    ///< the quantized ones
  std::vector<Row> halves{};  ///< those in half precision, which may be pruned, also in stages

  /// Whether anything is trained after fp32.
  bool forks() const {
    return control || std::ranges::any_of(rows, &Row::forks) ||
           std::ranges::any_of(halves, &Row::forks);
  }
};
Uses uses_of(const ExperimentConfig& config);

/// One line of the table: what has to hold of values and, where those hold, of the rows.
struct Effect {
  using Condition = bool (*)(const Uses& uses);
  std::string key{};    ///< "train.momentum"; elements of lists as "quant.layers[].activations"
  std::string needs{};  ///< all conditions, for the message
  Condition value = nullptr;
  Condition rows = nullptr;
  std::string section{};  ///< of methods: a row has to be rounded by one of them

  bool holds(const Uses& uses) const {
    const auto rounds = [&](const Uses::Row& r) { return r.rounds_with(section); };
    return (!value || value(uses)) && (!rows || rows(uses)) &&
           (section.empty() || std::ranges::any_of(uses.rows, rounds));
  }
};
/// "gptq or gptaq": the methods that round with the options of a section; "" for none.
std::string rounding_methods(std::string_view section);

/// The lines of the table, and one for every other key of rounding methods.
const std::vector<Effect>& effects();
/// The keys that always have an effect.
const std::vector<std::string_view>& always_effective();

/// The keys that move no number of a table: names and places, what training tells, scores and keeps
/// on its way, and what is for speed alone. A run goes on, and is finished, whatever they are.
const std::vector<std::string_view>& without_numbers();
/// The configuration with those at their defaults.
ExperimentConfig numbers_of(ExperimentConfig config);
/// The configuration with every key at its default that changes nothing in it.
ExperimentConfig effective(ExperimentConfig config);

/// A key that differs from its default and changes nothing.
struct Unused {
  std::string key{};     ///< "quant.at[1].set[0]"
  std::string origin{};  ///< the key whose line set it: "quant.at[1].set"
  const Effect* effect = nullptr;
  bool contradicts = false;  ///< it is another value that rules it out, and not the rows alone
};
std::vector<Unused> unused_keys(const ExperimentConfig& config);

/// Without a step to train with the control, where nobody asked for it and no row trains, is left out.
void settle_control(LoadedConfig& loaded);

/// Refuses unused keys of `loaded`, or sets them to their defaults and lists them in loaded.unused.
/// `file` is the configuration before the command line's values.
void settle_unused(LoadedConfig& loaded, const ExperimentConfig& file);

}  // namespace notch::experiments
