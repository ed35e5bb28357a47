// Keys without effect: found by the table of experiments/config/config_effects.cpp, set back to their defaults,
// or refused; and the keys that the table does not ask about.
#include <algorithm>

#include "autograd/base/error.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/config/row_names.h"

namespace notch::experiments {
namespace {

using Row = Uses::Row;

const Effect* effect_of(std::string_view key) {
  const auto at = std::ranges::find(effects(), key, &Effect::key);
  return at == effects().end() ? nullptr : &*at;
}

/// The key of a setting "qat.start=0.5".
std::string_view setting_key(std::string_view setting) {
  const std::string_view key = setting.substr(0, setting.find('='));
  return key.substr(0, key.find(' '));
}

/// Whether a setting of the rows of a width changes one of them.
bool used(const Uses& uses, std::string_view key, int bits) {
  const Effect* effect = effect_of(key);
  if (effect == nullptr) return true;
  const auto in = [&](const std::vector<Row>& rows, std::vector<Row> Uses::*as) {
    return std::ranges::any_of(rows, [&](const Row& r) {
      Uses alone{.config = r.config};
      (alone.*as).push_back(r);
      return r.row.bits == bits && effect->holds(alone);
    });
  };
  return in(uses.rows, &Uses::rows) || in(uses.halves, &Uses::halves);
}

/// Whether a width's grid reaches a row.
bool grid_used(const ExperimentConfig& config, int bits, const Uses& uses) {
  if (config.row.empty()) {
    return std::ranges::any_of(uses.rows, [&](const Row& r) { return r.row.bits == bits; });
  }
  return std::ranges::any_of(
      config.row, [&](const RowConfig& row) { return row.bits == bits && row.grid == "inherit"; });
}

void add_elements(const ExperimentConfig& config, const Uses& uses, std::vector<Unused>& out) {
  for (std::size_t i = 0; i < config.quant.layers.size(); ++i) {
    const Effect* effect = effect_of("quant.layers[].activations");
    const std::string key = str("quant.layers[", i, "].activations");
    if (config.quant.layers[i].activations >= 0 && !effect->holds(uses))
      out.push_back({key, key, effect});
  }
  for (std::size_t i = 0; i < config.quant.at.size(); ++i) {
    const WidthSettings& at = config.quant.at[i];
    const std::string key = str("quant.at[", i, "]");
    if (at.grid != "inherit" && !grid_used(config, at.bits, uses))
      out.push_back({key + ".grid", key + ".grid", effect_of("quant.at[].grid")});
    for (std::size_t s = 0; s < at.set.size(); ++s) {
      if (used(uses, setting_key(at.set[s]), at.bits)) continue;
      out.push_back({str(key, ".set[", s, "]"), key + ".set", effect_of("quant.at[].set")});
    }
  }
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    // What the settings do is seen in the row alone.
    ExperimentConfig alone = config;
    alone.row = {config.row[i]};
    const Uses row = uses_of(alone);
    for (std::size_t s = 0; s < config.row[i].set.size(); ++s) {
      if (used(row, setting_key(config.row[i].set[s]), config.row[i].bits)) continue;
      const std::string key = str("row[", i, "].set");
      out.push_back({str(key, "[", s, "]"), key, effect_of("row[].set"), true});
    }
  }
}

/// Sets an unused key to its default.
void reset(LoadedConfig& loaded, const std::string& key, const std::vector<Item>& defaults) {
  const auto item = std::ranges::find_if(
      defaults, [&](const Item& d) { return d.kind != ItemKind::section && d.key() == key; });
  if (item == defaults.end()) return;
  const auto source = std::make_shared<const toml::Source>(
      toml::Source{.name = "default", .text = key + " = " + item->value});
  read_into(loaded, toml::parse(*source), source);
  loaded.origins.forget(key);
}

void reset_elements(ExperimentConfig& config, const std::vector<Unused>& unused) {
  const auto is_unused = [&](const std::string& key) {
    return std::ranges::find(unused, key, &Unused::key) != unused.end();
  };
  const auto drop = [&](std::vector<std::string>& settings, const std::string& of) {
    std::vector<std::string> kept;
    for (std::size_t s = 0; s < settings.size(); ++s) {
      if (!is_unused(str(of, ".set[", s, "]"))) kept.push_back(settings[s]);
    }
    settings = std::move(kept);
  };
  for (std::size_t i = 0; i < config.quant.layers.size(); ++i) {
    if (is_unused(str("quant.layers[", i, "].activations")))
      config.quant.layers[i].activations = LayerRule{}.activations;
  }
  for (std::size_t i = 0; i < config.quant.at.size(); ++i) {
    WidthSettings& at = config.quant.at[i];
    if (is_unused(str("quant.at[", i, "].grid"))) at.grid = WidthSettings{}.grid;
    drop(at.set, str("quant.at[", i, "]"));
  }
  for (std::size_t i = 0; i < config.row.size(); ++i) drop(config.row[i].set, str("row[", i, "]"));
}

void reset_all(LoadedConfig& loaded, const std::vector<Unused>& unused) {
  const std::vector<Item> defaults = items_of({});
  for (const Unused& u : unused) reset(loaded, u.key, defaults);
  reset_elements(loaded.config, unused);
}

}  // namespace

const std::vector<std::string_view>& always_effective() {
  static const std::vector<std::string_view> keys = {
      "name", "seeds", "out", "threads", "row", "data.kind", "data.tokenizer", "data.val_fraction",
      "data.test_fraction", "model.from", "model.architecture", "model.n_layer", "model.n_head",
      "model.n_embd", "model.n_inner", "model.block_size", "model.tie_embeddings", "model.outliers",
      "train.steps", "train.batch_size", "train.grad_accum", "train.lr", "train.optimizer",
      "train.clip", "train.order", "train.eval_every", "train.eval_windows",
      "train.checkpoint_every", "train.keep_last", "train.log_every", "train.matmul",
      "train.products", "quant.control",
      // A width that no row has is an element of which nothing else is used.
      "quant.at", "quant.at[].bits", "quant.layers[].pattern", "quant.layers[].bits",
      "row[].method", "row[].bits", "row[].grid", "row[].granularity", "row[].group_size",
      "row[].scale", "row[].activations", "row[].label", "row[].pipeline"};
  return keys;
}

const std::vector<std::string_view>& without_numbers() {
  static const std::vector<std::string_view> keys = {"name", "out", "threads", "train.eval_every",
                                                     "train.eval_windows", "train.checkpoint_every",
                                                     "train.keep_last", "train.log_every",
                                                     // GPTQ's result does not depend on it.
                                                     "gptq.block"};
  return keys;
}

Uses uses_of(const ExperimentConfig& config) {
  Uses uses{.config = config, .control = config.quant.control};
  static constexpr quant::Method kHalf{.name = kHalfMethod};
  for (const RowConfig& row : planned_rows(config)) {
    const bool half = row.bits == 0;
    (half ? uses.halves : uses.rows)
        .push_back({.row = row,
                    .config = row_config(config, row),
                    .method = half ? &kHalf : &quant::method(row.method),
                    .stages = parse_pipeline(row.pipeline)});
  }
  return uses;
}

ExperimentConfig numbers_of(ExperimentConfig config) {
  LoadedConfig loaded{.config = std::move(config)};
  const std::vector<Item> defaults = items_of({});
  for (const std::string_view key : without_numbers()) reset(loaded, std::string(key), defaults);
  return std::move(loaded.config);
}

ExperimentConfig effective(ExperimentConfig config) {
  LoadedConfig loaded{.config = std::move(config)};
  const std::vector<Unused> unused = unused_keys(loaded.config);
  reset_all(loaded, unused);
  return std::move(loaded.config);
}

std::vector<Unused> unused_keys(const ExperimentConfig& config) {
  const Uses uses = uses_of(config);
  const std::vector<Item> items = items_of(config), defaults = items_of({});
  std::vector<Unused> out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].kind == ItemKind::section || items[i].value == defaults[i].value) continue;
    const Effect* effect = effect_of(items[i].key());
    if (!effect || effect->holds(uses)) continue;
    out.push_back({items[i].key(), items[i].key(), effect, effect->value && !effect->value(uses)});
  }
  add_elements(config, uses, out);
  return out;
}

void settle_control(LoadedConfig& loaded) {
  ExperimentConfig& config = loaded.config;
  if (config.train.steps > 0 || config.qat.steps > 0 || loaded.origins.has("quant.control")) return;
  ExperimentConfig without = config;
  without.quant.control = false;
  try {
    config.quant.control = uses_of(without).forks();
  } catch (const Error&) {  // an unknown method or setting: whoever checks those says it better
  }
}

void settle_unused(LoadedConfig& loaded, const ExperimentConfig& file) {
  std::vector<Unused> unused, in_file;
  try {
    unused = unused_keys(loaded.config);
  } catch (const Error&) {
    return;  // an unknown method or setting: whoever checks those says it better
  }
  try {
    in_file = unused_keys(file);
  } catch (const Error&) {
  }
  for (const Unused& u : unused) {
    // What nobody set, the usual experiment on a text did: its run's configuration is to load too.
    if (!loaded.origins.has(u.origin)) continue;
    const bool contradicts_file =
        u.contradicts && std::ranges::find(in_file, u.key, &Unused::key) != in_file.end();
    if (!loaded.origins.is_override(u.origin) && !contradicts_file) continue;
    loaded.origins.fail(u.origin, {.what = "has no effect here",
                                   .expected = std::string(u.effect->needs),
                                   .hint = "leave it out, or set what it needs"});
  }
  for (const Unused& u : unused) {
    if (loaded.origins.has(u.origin)) loaded.unused.push_back(u.key);
  }
  reset_all(loaded, unused);
}

}  // namespace notch::experiments
