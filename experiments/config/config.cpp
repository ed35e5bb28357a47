// Loading: file, overrides, names and paths, in that order; and what follows from a configuration.
#include "experiments/config/config.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/shell_word.h"
#include "data/corpus.h"
#include "experiments/config/config_effects.h"
#include "experiments/config/config_items.h"
#include "experiments/config/row_names.h"
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
std::string value_text(std::string_view value, ItemKind kind) {
  switch (kind) {
    case ItemKind::string:
      return as_string(value);
    case ItemKind::list:
    case ItemKind::string_list:
      return value.substr(0, 1) == "[" ? std::string(value)
                                       : split_as_list(value, kind == ItemKind::string_list);
    case ItemKind::boolean:
    case ItemKind::integer:
    case ItemKind::number:
      // What is no number becomes a string, so that the error says what the field wants.
      return value.empty() || !toml::read_scalar(value).error.empty() ? as_string(value)
                                                                      : std::string(value);
    default:
      return std::string(value);
  }
}

/// A value with the quotes that its strings need: [{method=fp32}] as [{method="fp32"}].
std::string with_quotes(std::string_view value) {
  constexpr std::string_view kMarks = "[]{},= ";
  std::string out;
  for (std::size_t at = 0; at < value.size();) {
    const char c = value[at];
    std::size_t end = at + 1;
    if (c == '"' || c == '\'') {
      end = std::min(value.find(c, end), value.size() - 1) + 1;
    } else if (kMarks.find(c) == kMarks.npos) {
      end = std::min(value.find_first_of(kMarks, at), value.size());
    }
    const std::string_view word = value.substr(at, end - at);
    const std::size_t next = std::min(value.find_first_not_of(' ', end), value.size());
    const bool as_it_is = c == '"' || c == '\'' || kMarks.find(c) != kMarks.npos ||
                          value.substr(next).starts_with('=') ||
                          toml::read_scalar(word).error.empty();
    out += as_it_is ? std::string(word) : toml::quote(word);
    at = end;
  }
  return out;
}

/// The table of an override. A shell takes the quotes of a list that it finds outside of quotes.
toml::Table parse_override(const toml::Source& source, std::string_view key, std::string_view value,
                           ItemKind kind) {
  try {
    return toml::parse(source);
  } catch (const Error& e) {
    const std::string quoted = with_quotes(value);
    const auto reads = [&] {
      try {
        toml::parse({.name = source.name, .text = str(key, '=', quoted)});
        return true;
      } catch (const Error&) {
        return false;
      }
    };
    if ((!value.starts_with('[') && !value.starts_with('{')) || !reads()) throw;
    ErrorParts parts = e.parts();
    parts.hint = str("quote the whole argument: ", shell_word(str(key, '=', quoted)));
    if (kind == ItemKind::string_list) {
      std::string plain(value.substr(1, value.size() - 2));
      std::erase_if(plain, [](char c) { return c == '"' || c == '\'' || c == ' '; });
      parts.hint += str(", or write ", key, '=', plain);
    }
    throw Error(std::move(parts));
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
    if (item.kind != ItemKind::section) {
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
    return item.kind != ItemKind::section && item.key() == key;
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

/// Whether what a row trains can begin with codes and the grids they are on.
bool begins_with_codes(const ExperimentConfig& own, const RowConfig& row) {
  const quant::Method* method = quant::find_method(row.method);
  return row.pipeline.empty() && method && method->trains() && method->trains_weights() &&
         method->training != quant::Training::gaussian && own.qat.start == 0 &&
         own.quant.options.prune.rounds == 1;
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
  read_into(loaded, parse_override(*source, key, value, item->kind), source);
  const std::vector<Item> after = items_of(loaded.config);
  loaded.overrides.push_back(
      {.key = key, .before = item->value, .after = find_item(after, key)->value});
}

LoadedConfig load_config(const fs::path& file, const std::vector<std::string>& overrides,
                         Rows rows) {
  check(!file.empty(), "load_config", "no file is named");
  LoadedConfig loaded;
  if (fs::is_directory(file)) fail_directory(file);
  ExperimentFile opened = open_experiment(file);
  if (opened.is_text) {
    loaded = {.config = text_experiment(file), .from_text = true};
    if (opened.data != file) loaded.config.data.path = opened.data;
  } else {
    loaded = parse_config(std::move(opened.source.text), std::move(opened.source.name));
  }
  const fs::path here = fs::current_path();
  const fs::path beside =
      loaded.from_text || opened.is_open ? here : fs::absolute(file).parent_path();
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
  if (rows == Rows::planned) {
    settle_control(loaded);
    settle_unused(loaded, before);
  }
  locate_text(config.data.path, here, !fs::path(config.data.path).has_parent_path());
  if (loaded.from_text) require_same_text(loaded, before);
  if (config.name.empty()) config.name = file == data::kStdin ? "stdin" : file.stem().string();
  if (config.out.empty()) config.out = (beside / "runs" / config.name).string();
  make_absolute(config.out, here);
  validate(config, loaded.origins);
  return loaded;
}

std::vector<std::string_view> first_weights() {
  std::vector<std::string_view> words = {kAuto, "fp32"};
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
    if (row.method == kBaseRow) continue;
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
  ExperimentConfig& own = loaded.config;
  if (own.qat.from == kAuto) own.qat.from = begins_with_codes(own, row) ? "gptq" : "fp32";
  return std::move(own);
}

double peak_lr_scale(const ExperimentConfig& config) {
  if (config.qat.lr_scale > 0) return config.qat.lr_scale;
  constexpr double kScale = 0.25, kLayers = 3, kChannels = 64;
  const ModelConfig& m = config.model;
  const double weights = m.n_layer / kLayers * std::pow(m.n_embd / kChannels, 2);
  return std::min(kScale, kScale / std::cbrt(weights));
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
