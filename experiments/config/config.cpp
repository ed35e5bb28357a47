// Loading: file, overrides, names and paths, in that order; and what follows from a configuration.
#include "experiments/config/config.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/shell_word.h"
#include "data/corpus.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/config/toml_scalar.h"

namespace notch::experiments {

namespace {

namespace fs = std::filesystem;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// A word as the user typed it becomes a string, unless it is quoted already.
std::string as_string(std::string_view word) {
  const bool quoted = word.size() > 1 && (word.front() == '"' || word.front() == '\'') &&
                      word.front() == word.back();
  return quoted ? std::string(word) : toml::quote(word);
}

std::string split_as_list(std::string_view words, bool strings) {
  std::string out;
  for (std::size_t begin = 0; begin <= words.size();) {
    const std::size_t end = std::min(words.find(',', begin), words.size());
    const std::string_view word = trimmed(words.substr(begin, end - begin));
    if (!word.empty())
      out += (out.empty() ? "" : ", ") + (strings ? as_string(word) : std::string(word));
    begin = end + 1;
  }
  return "[" + out + "]";
}

/// The value of an override as TOML text for a field of this kind.
std::string value_text(std::string_view value, Kind kind) {
  switch (kind) {
    case Kind::string:
      return as_string(value);
    case Kind::list:
    case Kind::string_list:
      return value.substr(0, 1) == "[" ? std::string(value)
                                       : split_as_list(value, kind == Kind::string_list);
    case Kind::boolean:
    case Kind::integer:
    case Kind::number:
      // What is no number becomes a string, so that the error says what the field wants.
      return value.empty() || !toml::read_scalar(value).error.empty() ? as_string(value)
                                                                      : std::string(value);
    default:
      return std::string(value);
  }
}

[[noreturn]] void fail_override(std::string_view argument, std::string_view key, std::string what,
                                std::string hint) {
  const toml::Source source{
      .name = "command line", .text = std::string(argument), .command_line = true};
  toml::fail(source, {.line = 1, .column = 1, .width = static_cast<int>(key.size())},
             {.what = std::move(what), .field = std::string(key), .hint = std::move(hint)});
}

[[noreturn]] void fail_unknown_override(std::string_view argument, const std::string& key,
                                        const std::vector<Item>& items) {
  const std::size_t dot = key.find('.');
  std::string hint;
  std::vector<std::string> keys;
  for (const Item& item : items) {
    if (item.kind != Kind::section) {
      keys.push_back(item.key());
    } else if (item.name == key) {
      hint = key + " is a section: name a key in it, as in " + key + ".name=value";
    }
  }
  if (hint.empty())
    hint = suggest_key(dot == std::string::npos ? "" : key.substr(0, dot), key.substr(dot + 1));
  if (hint.empty()) {
    const std::string near = did_you_mean(key, keys);
    hint = near.empty() ? "`notch config` lists all keys" : "did you mean " + near + "?";
  }
  fail_override(argument, key, "unknown key", std::move(hint));
}

const Item* find_item(const std::vector<Item>& items, std::string_view key) {
  const auto at = std::find_if(items.begin(), items.end(), [&](const Item& item) {
    return item.kind != Kind::section && item.key() == key;
  });
  return at == items.end() ? nullptr : &*at;
}

/// An empty path stays empty.
void make_absolute(std::string& path, const fs::path& base) {
  if (!path.empty()) path = (base / path).lexically_normal().string();
}

/// Where `shelf`, a text that is not below `base` may lie in $NOTCH_DATA instead. From here on the
/// configuration says which file is read.
void locate_text(std::string& path, const fs::path& base, bool shelf) {
  if (path.empty() || path == data::kStdin) return;
  shelf = shelf && fs::path(path).is_relative();
  make_absolute(path, base);
  std::error_code error;
  if (!shelf || fs::exists(path, error)) return;
  if (const auto shelved = data::shelved_text(path)) path = fs::absolute(*shelved).string();
}

[[noreturn]] void fail_directory(const fs::path& dir) {
  std::error_code error;
  const fs::path resolved = dir / kResolvedConfig;
  const bool run = fs::exists(resolved, error);
  throw Error({.fault = Fault::io,
               .where = dir.string(),
               .what = "a directory, not an experiment",
               .expected = "a configuration or a text",
               .hint = run ? str("this is a run: `notch run ", shell_word(resolved.string()),
                                 " --resume` goes on with it, with --out NEW it is repeated")
                           : "name a file in it"});
}

/// The text that was named is the one that is read.
void require_same_text(const LoadedConfig& loaded, const ExperimentConfig& before) {
  const bool other = loaded.config.data.path != before.data.path;
  if (!other && loaded.config.data.kind == before.data.kind) return;
  loaded.origins.fail(other ? "data.path" : "data.kind",
                      {.what = "contradicts the text that is named as the experiment",
                       .found = other ? loaded.config.data.path : loaded.config.data.kind,
                       .expected = other ? before.data.path : before.data.kind,
                       .hint = "name the text once: notch run TEXT"});
}

}  // namespace

void apply_override(LoadedConfig& loaded, std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) {
    fail_override(argument, argument, "no value",
                  "write dotted.key=value, for example train.lr=0.003");
  }
  const std::string key(trimmed(argument.substr(0, equals)));
  const std::vector<Item> before = items_of(loaded.config);
  const Item* item = find_item(before, key);
  if (!item) fail_unknown_override(argument, key, before);
  const std::string value = value_text(trimmed(argument.substr(equals + 1)), item->kind);
  const auto source = std::make_shared<const toml::Source>(
      toml::Source{.name = "command line", .text = key + "=" + value, .command_line = true});
  read_into(loaded, toml::parse(*source), source);
  const std::vector<Item> after = items_of(loaded.config);
  loaded.overrides.push_back(
      {.key = key, .before = item->value, .after = find_item(after, key)->value});
}

LoadedConfig load_config(const fs::path& file, const std::vector<std::string>& overrides,
                         Rows rows) {
  check(!file.empty(), "load_config", "no file is named");
  LoadedConfig loaded;
  if (fs::is_directory(file)) fail_directory(file);
  if (is_text(file)) {
    loaded = {.config = text_experiment(file), .from_text = true};
  } else {
    toml::Source source = toml::read_source(file);
    loaded = parse_config(std::move(source.text), std::move(source.name));
  }
  const fs::path here = fs::current_path();
  const fs::path beside = loaded.from_text ? here : fs::absolute(file).parent_path();
  ExperimentConfig& config = loaded.config;
  locate_text(config.data.path, beside, true);
  make_absolute(config.out, beside);
  make_absolute(config.model.from, beside);
  make_absolute(config.distill.teacher, beside);
  if (file.filename() == kResolvedConfig) {
    config.out = fs::absolute(file).lexically_normal().parent_path().string();
  }
  const ExperimentConfig before = config;
  for (const std::string& argument : overrides) apply_override(loaded, argument);
  make_absolute(config.model.from, here);
  make_absolute(config.distill.teacher, here);
  // A run's own configuration has it all: its report needs no directory.
  if (file.filename() != kResolvedConfig || loaded.origins.is_override("model.from")) {
    take_model(loaded);
  }
  if (rows == Rows::planned) settle_unused(loaded, before);
  locate_text(config.data.path, here, !fs::path(config.data.path).has_parent_path());
  if (loaded.from_text) require_same_text(loaded, before);
  if (config.name.empty()) config.name = file.stem().string();
  if (config.out.empty()) config.out = (beside / "runs" / config.name).string();
  make_absolute(config.out, here);
  validate(config, loaded.origins);
  return loaded;
}

std::vector<std::string_view> first_weights() {
  std::vector<std::string_view> words = {"fp32"};
  for (const quant::Method* m : quant::methods()) {
    // What a method left to be done with inputs is not trained; nor are grids of one method alone.
    if (m->round && !m->changes_inputs() && !m->grid) words.push_back(m->name);
  }
  words.push_back("scratch");
  return words;
}

const std::string& grid_of_width(const ExperimentConfig& config, int bits) {
  const std::string* grid = &config.quant.grid;
  for (const WidthSettings& at : config.quant.at) {
    if (at.bits == bits && at.grid != "inherit") grid = &at.grid;
  }
  return *grid;
}

std::vector<RowConfig> planned_rows(const ExperimentConfig& config) {
  std::vector<RowConfig> rows;
  for (RowConfig row : config.row) {
    if (row.method == "fp32") continue;
    if (row.granularity == "inherit") {
      row.granularity = config.quant.granularity;
      row.group_size = config.quant.group_size;
    }
    if (row.grid == "inherit") row.grid = grid_of_width(config, row.bits);
    if (row.scale == "inherit") row.scale = config.quant.scale;
    rows.push_back(std::move(row));
  }
  if (!config.row.empty()) return rows;
  for (const int bits : config.quant.bits) {
    for (const int activations : config.activations.bits) {
      for (const std::string& method : config.quant.methods) {
        rows.push_back({.method = method,
                        .bits = bits,
                        .grid = grid_of_width(config, bits),
                        .granularity = config.quant.granularity,
                        .group_size = config.quant.group_size,
                        .scale = config.quant.scale,
                        .activations = activations});
      }
    }
  }
  return rows;
}

ExperimentConfig row_config(const ExperimentConfig& config, const RowConfig& row) {
  LoadedConfig loaded{.config = config};
  for (const WidthSettings& at : config.quant.at) {
    if (at.bits != row.bits) continue;
    for (const std::string& setting : at.set) apply_override(loaded, setting);
  }
  for (const std::string& setting : row.set) apply_override(loaded, setting);
  return std::move(loaded.config);
}

int warmup_steps(const TrainConfig& train) {
  return train.warmup >= 0 ? train.warmup : std::min(100, train.steps / 10);
}

double last_lr(const TrainConfig& train) {
  if (train.min_lr >= 0) return train.min_lr;
  return train.lr >= 1e-3 ? 1e-4 : train.lr / 10;
}

int qat_steps(const ExperimentConfig& config) {
  if (config.qat.steps > 0) return config.qat.steps;
  const double steps = config.qat.fraction * config.train.steps;
  check(steps <= kMaxCount, "qat.fraction", steps, " updates cannot be counted");
  return std::max(1, static_cast<int>(std::lround(steps)));
}

}  // namespace notch::experiments
