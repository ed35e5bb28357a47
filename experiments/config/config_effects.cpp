#include "experiments/config/config_effects.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "experiments/config/config_items.h"
#include "quant/methods/rtn.h"
#include "quant/methods/spqr.h"

namespace notch::experiments {
namespace {
using Row = Uses::Row;

template <class Which>
bool any(const Uses& uses, Which which) {
  return std::ranges::any_of(uses.rows, which);
}
/// Those in half precision as well.
template <class Which>
bool any_at_all(const Uses& uses, Which which) {
  return any(uses, which) || std::ranges::any_of(uses.halves, which);
}

bool trains_base(const Uses& u) { return u.config.train.steps > 0; }
bool by_rows(const Uses& u) { return u.config.row.empty(); }
bool verbs(const Uses& u) { return u.config.data.kind == "verbs"; }
bool adamw(const Uses& u) { return u.config.train.optimizer == "adamw"; }
bool quantizes(const Uses& u) { return !u.rows.empty(); }
bool trains(const Uses& u) { return any(u, &Row::trains); }
/// Whether a row's weights go through ranges that follow them, or that it learns.
bool trains_ranges(const Uses& u) {
  return any(u, [](const Row& r) {
    return r.has([](const quant::Method& m) {
      return m.training == quant::Training::ste || m.training == quant::Training::lsq;
    });
  });
}
bool adapts(const Uses& u) {
  return any(u, [](const Row& r) {
    return r.has([](const quant::Method& m) { return m.training == quant::Training::adapters; });
  });
}
bool forks(const Uses& u) { return u.forks(); }
/// Whether weights are trained after fp32: scales and products alone have a rate of their own, and none of
/// them decays.
bool forks_weights(const Row& r) {
  if (!r.forks()) return false;
  if (r.stages.empty()) return r.method->trains_weights();
  return std::ranges::any_of(r.stages, [](const PipelineStage& s) {
    return s.trains() && (!s.method || s.method->trains_weights());
  });
}
bool forks_weights(const Uses& u) {
  return u.control || any_at_all(u, [](const Row& r) { return forks_weights(r); });
}
bool calibrates(const Uses& u) { return any_at_all(u, &Row::calibrates); }
bool rounds(const Uses& u) {
  return any(u, [](const Row& r) { return !r.trains(); });
}
bool mixes(const Uses& u) {
  return any(u, [](const Row& r) {
    return !r.trains() && !r.config.quant.options.mixed.widths.empty();
  });
}
/// Whether fp32 learns from another model.
bool teaches_base(const Uses& u) {
  return trains_base(u) && !u.config.distill.teacher.empty();
}
bool distills(const Uses& u) { return teaches_base(u) || any_at_all(u, &Row::has_teacher); }
bool has_inputs(const Uses& u) {
  return any(u, [](const Row& r) { return r.row.activations > 0; });
}
bool has_static_inputs(const Uses& u) { return any(u, &Row::has_static_inputs); }
/// Whether ranges of activations, too, are what it trains.
bool trains_inputs(const Row& r) {
  return r.has([](const quant::Method& m) {
    return m.trains() && m.training != quant::Training::adapters;
  });
}
bool trains_scales(const quant::Method& m) { return m.training == quant::Training::scales; }
bool trains_static_inputs(const Uses& u) {
  return any(u, [](const Row& r) { return trains_inputs(r) && r.has_static_inputs(); });
}

/// Before "inherit" is resolved: whether rows take the grid or the groups of [quant].
bool inherits_grid(const Uses& u) {
  const auto own_of_width = [&](int bits) {
    return std::ranges::any_of(u.config.quant.at, [&](const WidthSettings& at) {
      return at.bits == bits && at.grid != "inherit";
    });
  };
  if (by_rows(u)) {
    return any(u, [&](const Row& r) { return !own_of_width(r.row.bits); });
  }
  return std::ranges::any_of(u.config.row, [&](const RowConfig& row) {
    return row.bits > 0 && row.grid == "inherit" && !own_of_width(row.bits);
  });
}
bool inherits_granularity(const Uses& u) {
  if (by_rows(u)) return quantizes(u);
  return std::ranges::any_of(u.config.row, [](const RowConfig& row) {
    return row.bits > 0 && row.granularity == "inherit";
  });
}

bool inherits_scale(const Uses& u) {
  if (by_rows(u) || u.config.quant.embedding == "int8") return quantizes(u);
  return std::ranges::any_of(u.config.row, [](const RowConfig& row) {
    return row.bits > 0 && row.scale == "inherit";
  });
}

constexpr const char* kNoRows = "no [[row]]: explicit rows replace quant.bits x quant.methods";
constexpr const char* kForked = "quant.control = true, or a row that trains after fp32";
constexpr const char* kTrainedBase = "train.steps above 0";
constexpr const char* kGpt2 = "model.architecture = \"gpt2\"";
constexpr const char* kLlama = "model.architecture = \"llama\"";
constexpr const char* kRounded = "a row that is rounded after training";
constexpr const char* kMixed = "mixed.widths, and a row that is rounded after training";
constexpr const char* kForkedWeights =
    "quant.control = true, or a row that trains weights after fp32";
constexpr const char* kTrained = "a row of a method that trains";
constexpr const char* kRoundsWeights = "a row of a qat-ste or qat-lsq method";
constexpr const char* kAdapted = "a row of qlora";
constexpr const char* kCalibrated =
    "a row of a method with statistics, or with static ranges of activations";
constexpr const char* kDistilled =
    "a row of a -kd method or with a stage \"distill\", or fp32 with a distill.teacher";
constexpr const char* kTaught =
    "distill.alpha above 0, and a row of a -kd method, a stage \"distill\" or fp32 with a distill.teacher";
constexpr const char* kInputs = "a row with activations.bits above 0";

/// Whether the experiment or one of its rows has a value.
template <class Which>
bool set_somewhere(const Uses& u, Which which) {
  return which(u.config) || any_at_all(u, [&](const Row& r) { return which(r.config); });
}
/// A warm start goes on with the grids that it starts from.
bool looks_for_grids(const QatConfig& qat) { return qat.from == "fp32" || qat.from == "scratch"; }
bool gpt2(const Uses& u) { return u.config.model.architecture == "gpt2"; }
bool llama(const Uses& u) { return u.config.model.architecture == "llama"; }
bool taught(const Uses& u) {
  return set_somewhere(u, [](const auto& c) { return c.distill.alpha > 0; });
}
bool learns_from_teacher(const Uses& u) {
  return (teaches_base(u) && u.config.distill.alpha > 0) ||
         any_at_all(
             u, [](const Row& r) { return r.has_teacher() && r.config.distill.alpha > 0; });
}
bool mixed(const Uses& u) {
  return set_somewhere(u, [](const auto& c) { return !c.quant.options.mixed.widths.empty(); });
}
/// Whether a row that can be pruned is what `which` asks for, of it and of how it is pruned.
template <class Which>
bool any_pruned(const Uses& u, Which which) {
  return any_at_all(u, [&](const Row& r) { return r.pruner() && which(r, *r.pruner()); });
}
bool static_ranges(const Uses& u) {
  return set_somewhere(
      u, [](const auto& c) { return c.activations.spec.range == quant::ActivationRange::fixed; });
}

std::vector<Effect> make_effects() {
  return {
      {"data.path", "data.kind = \"text\"", [](const Uses& u) { return !verbs(u); }},
      {"data.bpe_vocab", "data.tokenizer = \"bpe\", and no model.from",
       [](const Uses& u) {
         return u.config.data.tokenizer == "bpe" && u.config.model.from.empty();
       }},
      {"data.score", "data.test_fraction above 0",
       [](const Uses& u) { return u.config.data.test_fraction > 0; }},
      {"data.sentences", "data.kind = \"verbs\"", verbs},
      // A text has no task, as 0 asks for.
      {"data.task_examples", "data.kind = \"verbs\"",
       [](const Uses& u) { return verbs(u) || u.config.data.task_examples == 0; }},
      {"data.seed", "data.kind = \"verbs\"", verbs},
      {"model.bias", kGpt2, gpt2},
      {"model.dropout", kGpt2, gpt2},
      {"model.gelu", kGpt2, gpt2},
      {"model.n_kv_head", kLlama, llama},
      {"model.rope_theta", kLlama, llama},
      {"model.rms_norm_eps", kLlama, llama},
      {"train.min_lr", "train.schedule = \"cosine\" or \"linear\", and train.steps above 0",
       [](const Uses& u) {
         return trains_base(u) && u.config.train.schedule != optim::Decay::constant;
       }},
      {"train.warmup", kTrainedBase, trains_base},
      {"train.schedule", kTrainedBase, trains_base},
      {"train.ema", kTrainedBase, trains_base},
      {"train.weight_decay", kTrainedBase, trains_base},
      {"train.beta1", "train.optimizer = \"adamw\"", adamw},
      {"train.beta2", "train.optimizer = \"adamw\"", adamw},
      {"train.eps", "train.optimizer = \"adamw\"", adamw},
      {"train.backward",
       "activations.grid = \"integer\", and a row of a method that trains, not qlora, with "
       "activations",
       [](const Uses& u) {
         return set_somewhere(u, [](const auto& c) { return c.activations.spec.is_integer(); });
       },
       [](const Uses& u) {
         return any(u, [](const Row& r) { return trains_inputs(r) && r.row.activations > 0; });
       }},
      {"train.momentum", "train.optimizer = \"sgd\"", [](const Uses& u) { return !adamw(u); }},
      {"quant.format", "a quantized row", nullptr, quantizes},
      {"quant.bits", kNoRows, by_rows},
      {"quant.methods", kNoRows, by_rows},
      {"quant.grid", "a row that inherits its grid", inherits_grid},
      {"quant.granularity", "a row that inherits its granularity", inherits_granularity},
      {"quant.group_size", "quant.granularity = \"group\", and a row that inherits it",
       [](const Uses& u) {
         return u.config.quant.granularity == "group" && inherits_granularity(u);
       }},
      {"quant.scale", "a row that inherits it, or a table in int8", inherits_scale},
      {"quant.embedding", "a quantized row", nullptr, quantizes},
      {"quant.layers", "a quantized row", nullptr, quantizes},
      {"quant.layers[].activations", kInputs, nullptr, has_inputs},
      {"quant.at[].grid", "a row of this width that inherits its grid", nullptr, quantizes},
      {"quant.at[].set", "a row of this width that uses the setting", nullptr, quantizes},
      {"row[].set", "a method, and values, that use the setting",
       [](const Uses&) { return false; }},
      {"quant.percentile", "a row of rtn-percentile", nullptr,
       [](const Uses& u) {
         return any(u, [](const Row& r) { return r.method == &quant::kRtnPercentile; });
       }},
      {"activations.bits", kNoRows, by_rows},
      {"activations.grid", kInputs, nullptr, has_inputs},
      {"activations.range", kInputs, nullptr, has_inputs},
      {"activations.symmetric", kInputs, nullptr, has_inputs},
      {"activations.asymmetric",
       "activations.symmetric = true, activations.grid = \"integer\", and a row with activations",
       [](const Uses& u) {
         return u.config.activations.spec.symmetric && u.config.activations.spec.is_integer();
       },
       has_inputs},
      {"activations.observer", "activations.range = \"static\", and a row with activations",
       static_ranges, has_static_inputs},
      {"activations.percentile",
       "range = \"static\", observer = \"percentile\", and a row with activations",
       [](const Uses& u) {
         return static_ranges(u) &&
                u.config.activations.spec.observer == quant::ObserverRule::percentile;
       },
       has_static_inputs},
      {"calib.windows", kCalibrated, nullptr, calibrates},
      {"calib.source", kCalibrated, nullptr, calibrates},
      {"calib.temperature", "calib.source = \"self\", and a row that is calibrated",
       [](const Uses& u) { return u.config.calib.source == "self"; }, calibrates},
      {"gptq.true_sequential", kCalibrated, nullptr, calibrates},
      {"gptq.act_order", "a row of gptq or its descendants but spqr", nullptr,
       [](const Uses& u) {
         return any(u, [](const Row& r) {
           return r.has([](const quant::Method& m) {
             return m.round && m.reads("gptq") && &m != &quant::kSpqr;
           });
         });
       }},
      {"gptq.static_groups", "gptq.act_order = false, and a row of gptq in groups",
       [](const Uses& u) {
         return set_somewhere(u, [](const auto& c) { return !c.quant.options.gptq.act_order; });
       },
       [](const Uses& u) {
         return any(u, [](const Row& r) {
           return r.rounds_with("gptq") && r.row.granularity == "group" &&
                  !r.config.quant.options.gptq.act_order;
         });
       }},
      {"gptq.deviations", "gptq.clip = \"deviations\", and a row of gptq",
       [](const Uses& u) {
         return set_somewhere(
             u, [](const auto& c) { return c.quant.options.gptq.clip == quant::Clip::deviations; });
       },
       nullptr, "gptq"},
      {"gptq.asymmetric", "a row of gptaq, or of a method that trains from gptaq", nullptr,
       [](const Uses& u) {
         return any(u, [](const Row& r) {
           return r.has([](const quant::Method& m) { return m.needs.drift; });
         });
       }},
      {"mixed.widths", kRounded, nullptr, rounds},
      {"mixed.rule", kMixed, mixed, mixes},
      {"mixed.windows", kMixed, mixed, mixes},
      {"prune.method", "a row that is quantized, or in half precision", nullptr,
       [](const Uses& u) { return quantizes(u) || !u.halves.empty(); }},
      {"prune.pattern", "a prune.method that chooses, in a row", nullptr,
       [](const Uses& u) {
         return any_pruned(u, [](const Row&, const quant::Pruner& p) { return p.chooses; });
       }},
      {"prune.sparsity", "a prune.method that chooses, pattern = \"unstructured\", in a row",
       nullptr,
       [](const Uses& u) {
         return any_pruned(u, [](const Row& r, const quant::Pruner& p) {
           return p.chooses && r.prune().pattern == quant::Pattern::unstructured;
         });
       }},
      {"prune.rounds",
       str("a prune.method that prunes in rounds (",
           quant::pruner_list([](const quant::Pruner& p) { return p.in_rounds; }),
           "), in a row that trains from fp32"),
       nullptr,
       [](const Uses& u) {
         return any_pruned(u, [](const Row& r, const quant::Pruner& p) {
           return r.trains() && !r.start() && p.in_rounds;
         });
       }},
      {"qat.steps", kForked, nullptr, forks},
      {"qat.fraction", "qat.steps = 0, and the control or a row that trains after fp32",
       [](const Uses& u) { return u.config.qat.steps == 0; }, forks},
      {"qat.batch_size", kForked, nullptr, forks},
      {"qat.lr_scale", "the control, or a row that trains weights and has no distill.lr_scale",
       nullptr,
       [](const Uses& u) {
         return u.control || any_at_all(u, [](const Row& r) {
                  return forks_weights(r) && !(r.has_teacher() && r.config.distill.lr_scale > 0);
                });
       }},
      {"qat.min_lr_scale", "qat.schedule = \"cosine\" or \"linear\", and rows that train",
       [](const Uses& u) {
         return set_somewhere(
             u, [](const auto& c) { return c.qat.schedule != optim::Decay::constant; });
       },
       forks},
      {"qat.schedule", kForked, nullptr, forks},
      {"qat.ste",
       "a row of a qat-ste or qat-lsq method, or ranges of activations that others train with",
       nullptr, [](const Uses& u) { return trains_ranges(u) || trains_static_inputs(u); }},
      {"qat.lsq_init", "qat.from = \"fp32\" or \"scratch\", and a row of a qat-lsq method",
       [](const Uses& u) {
         return set_somewhere(u, [](const auto& c) { return looks_for_grids(c.qat); });
       },
       [](const Uses& u) {
         return any(u, [](const Row& r) {
           return r.learns_steps() && looks_for_grids(r.config.qat);
         });
       }},
      {"qat.step_lr",
       "a row of a qat-lsq method or of efficient-qat, or learned ranges of activations", nullptr,
       [](const Uses& u) {
         return any(u, [](const Row& r) {
           using enum quant::InputLearning;
           const quant::InputLearning inputs = r.config.qat.inputs;
           return r.learns_steps() || r.has(trains_scales) ||
                  (trains_inputs(r) && r.has_static_inputs() && (inputs == lsq || inputs == pact));
         });
       }},
      {"qat.weight_decay", kForkedWeights, nullptr, forks_weights},
      {"qat.from", kTrained, nullptr, trains},
      {"qat.start", kTrained, nullptr, trains},
      {"qat.freeze", kRoundsWeights, nullptr, trains_ranges},
      {"qat.dampen", kRoundsWeights, nullptr, trains_ranges},
      {"qat.cage", kRoundsWeights, nullptr, trains_ranges},
      {"qat.ema", "the control, or a row that trains", nullptr,
       [](const Uses& u) { return u.forks() || trains(u); }},
      {"qat.inputs", "a row of a method that trains, not qlora, with static ranges of activations",
       nullptr, trains_static_inputs},
      {"qat.pact_decay", "qat.inputs = \"pact\", and a row that learns such ranges",
       [](const Uses& u) {
         return set_somewhere(
             u, [](const auto& c) { return c.qat.inputs == quant::InputLearning::pact; });
       },
       trains_static_inputs},
      {"qlora.rank", kAdapted, nullptr, adapts},
      {"qlora.alpha", kAdapted, nullptr, adapts},
      {"qlora.lr_scale", kAdapted, nullptr, adapts},
      {"qlora.merge", kAdapted, nullptr, adapts},
      {"distill.temperature", kTaught, taught, learns_from_teacher},
      {"distill.teacher", "train.steps above 0, or a row of a -kd method", nullptr,
       [](const Uses& u) { return trains_base(u) || distills(u); }},
      {"distill.hidden", kDistilled, nullptr, distills},
      {"distill.alpha", kDistilled, nullptr, distills},
      {"distill.reverse", kTaught, taught, learns_from_teacher},
      {"distill.lr_scale", "a row that learns from fp32 alone and trains after it", nullptr,
       [](const Uses& u) {
         return any_at_all(u, [](const Row& r) { return r.has_teacher() && r.forks(); });
       }},
  };
}

}  // namespace

std::string rounding_methods(std::string_view section) {
  std::string names;
  for (const quant::Method* m : quant::methods()) {
    if (m->round && m->reads(section))
      names += str(names.empty() ? "" : " or ", m->name);
  }
  return names;
}

const std::vector<Effect>& effects() {
  static const std::vector<Effect> all = [] {
    std::vector<Effect> made = make_effects();
    for (const Item& item : items_of({})) {
      const std::string names = rounding_methods(item.section);
      if (names.empty() || std::ranges::find(made, item.key(), &Effect::key) != made.end())
        continue;
      made.push_back({.key = item.key(),
                      .needs = str("a row of ", names, ", or of a method that trains and begins there"),
                      .section = item.section});
    }
    return made;
  }();
  return all;
}

}  // namespace notch::experiments
