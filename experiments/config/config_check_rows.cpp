// Values of single rows that cannot work together, and what a row shares with its experiment.
#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "experiments/config/config_check.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"
#include "experiments/config/row_names.h"
#include "quant/methods/methods.h"
#include "quant/numbers/format.h"
#include "quant/numbers/presets.h"

namespace notch::experiments {
namespace {

bool is_reference(std::string_view method) { return method == kBaseRow || method == kHalfMethod; }

/// What tells a row from others of its width.
const std::string& shown(const RowConfig& row) {
  return row.label.empty() ? row.method : row.label;
}

/// "[calib], [gptq], …": the sections that single rows may set.
std::string sections_of_rows(const std::vector<Item>& items) {
  std::string all;
  for (const Item& item : items) {
    if (item.of_rows) all += str(all.empty() ? "[" : ", [", item.name, ']');
  }
  return all;
}

void check_row_settings(const ExperimentConfig& config, const RowConfig& row,
                        const std::string& key, const Origins& origins) {
  if (!row.set.empty() && row.label.empty()) {
    origins.fail(key + ".set", {.what = "a row with its own settings needs a label",
                                .hint = str("for example label = \"", row.method, "-2\"")});
  }
  if (row.label.find_first_not_of(kNameCharacters) != std::string::npos) {
    origins.fail(key + ".label", {.what = "not usable in a file's name", .found = row.label});
  }
  // What a table has of its own is known by its name: fp32-continue-lr=0.001, control-gptq-int4.
  const auto is_of = [&](std::string_view own) {
    return row.label == own || row.label.starts_with(str(own, '-'));
  };
  if (row.label == kBaseRow || is_of(kControlRow) || is_of(kOfControl)) {
    origins.fail(key + ".label", {.what = "reserved for rows that the table adds itself",
                                  .found = row.label,
                                  .hint = str("for example \"my-", row.label, '"')});
  }
  check_settings(config, row, key + ".set", origins);
}

/// Whether a stage leaves so many heads, channels or ranks that the row's groups divide them.
bool keeps_groups(const PipelineStage& s) {
  return s.resizes() && s.kind != PipelineStage::Kind::layers;
}

/// Nothing of a row applies to the model as it is, or in half precision, also where stages made it.
void check_reference(const RowConfig& row, const std::string& key, const Origins& origins) {
  const std::vector<PipelineStage> stages = parse_pipeline(row.pipeline);
  const auto refuse = [&](bool set, const char* field) {
    if (!set) return;
    origins.fail(key + "." + field, {.what = stages.empty() ? row.method + " is not quantized"
                                                            : "no stage of this pipeline quantizes",
                                     .hint = str("remove ", field, " from this row")});
  };
  refuse(row.bits != 0, "bits");
  if (std::ranges::none_of(stages, keeps_groups)) {
    refuse(row.group_size != 0, "group_size");
    refuse(row.granularity != "inherit", "granularity");
  }
  refuse(row.grid != "inherit", "grid");
  refuse(row.scale != "inherit", "scale");
  refuse(row.activations != 0, "activations");
  if (!stages.empty()) return;      // its own settings are those of its stages
  if (row.method == kHalfMethod) {  // may be pruned
    for (const std::string& setting : row.set)
      refuse(!setting.starts_with("prune.") && !setting.starts_with("calib."), "set");
    return;
  }
  refuse(!row.label.empty(), "label");
  refuse(!row.set.empty(), "set");
}

}  // namespace

std::string divisors(int n) {
  constexpr int kMost = 1 << 24;
  check(n > 0 && n <= kMost, "divisors", "of ", n, ", not of 1 to ", kMost);
  std::string list;
  for (int d = 1; d <= n; ++d) {
    if (n % d == 0) list += (list.empty() ? "" : ", ") + std::to_string(d);
  }
  return list;
}

std::string formats_with_groups(std::int64_t inputs) {
  check(inputs > 0, "formats", "a layer of ", inputs, " inputs");
  std::string names;
  for (const quant::Preset& p : quant::presets()) {
    if (inputs % p.spec.group_size == 0) names += str(names.empty() ? "" : ", ", p.name);
  }
  return names.empty() ? str("no format's groups divide ", inputs, ": give bits instead of one")
                       : "formats whose groups do: " + names;
}

void check_groups(const ExperimentConfig& config, std::string_view granularity, int group_size,
                  const std::string& key, const Origins& origins) {
  const bool groups = granularity == "group";
  if (groups != (group_size > 0)) {
    origins.fail(key, {.what = groups ? "the groups have no size"
                                      : "a group size needs granularity = \"group\"",
                       .found = str("group_size = ", group_size,
                                    " with granularity = ", toml::quote(granularity)),
                       .hint = groups ? "set group_size, for example 32"
                                      : "set group_size = 0, or granularity = \"group\""});
  }
  // Most inputs of a block's matrices; the targets themselves are asked where the shapes are known.
  if (groups && config.model.n_embd % group_size != 0) {
    origins.fail(key,
                 {.what = "the groups do not divide the inputs of the layers",
                  .found = str("group_size = ", group_size, " with n_embd = ", config.model.n_embd),
                  .expected = "n_embd a multiple of group_size",
                  .hint = config.quant.format == "none"
                              ? "group_size can be " + divisors(config.model.n_embd)
                              : formats_with_groups(config.model.n_embd)});
  }
}

void check_qat(const ExperimentConfig& config, const std::string& key, const Origins& origins) {
  const QatConfig& q = config.qat;
  if (q.steps == 0 && q.fraction * config.train.steps > kMaxCount) {
    origins.fail(
        key.empty() ? "qat.fraction" : key,
        {.what = "more updates than can be counted",
         .found = str("fraction = ", q.fraction, " with train.steps = ", config.train.steps),
         .expected = str("at most ", kMaxCount, " updates")});
  }
  const bool trained = q.from == kAuto || q.from == "fp32" || q.from == "scratch";
  if (q.from == "scratch" && !config.model.from.empty()) {
    origins.fail(key.empty() ? "qat.from" : key,
                 {.what = "how model.from was trained is not known and cannot be repeated",
                  .found = "\"scratch\"",
                  .expected = "\"fp32\" or a post-training method"});
  }
  if (q.start > 0 && !trained) {
    origins.fail(key.empty() ? "qat.start" : key,
                 {.what = "training before rounding would undo the post-training rounding",
                  .found = str("start = ", q.start, " with from = ", toml::quote(q.from)),
                  .expected = "start = 0, or from = \"fp32\" or \"scratch\""});
  }
  if (q.inputs != quant::InputLearning::method &&
      config.activations.spec.range != quant::ActivationRange::fixed) {
    origins.fail(
        key.empty() ? "qat.inputs" : key,
        {.what = "a dynamic range is every token's own and is not learned",
         .found = str("inputs = ", toml::quote(word_of(q.inputs)), " with activations.range = ",
                      toml::quote(word_of(config.activations.spec.range))),
         .expected = "activations.range = \"static\""});
  }
}

void check_width(int bits, std::string_view grid, const std::string& key, const Origins& origins) {
  const quant::Format& format = quant::format_of(quant::parse_grid(grid, key));
  if (format.has_bits(bits)) return;
  origins.fail(
      key,
      {.what = str("the ", grid, " grid has no such width"),
       .found = str(bits),
       .expected = format.bits_text(),
       .hint = str("grids of ", bits, bits == 1 ? " bit: " : " bits: ",
                   quant::grids_with([&](const quant::Format& f) { return f.has_bits(bits); }))});
}

void check_activation_bits(int bits, const std::string& key, const Origins& origins) {
  if (bits != 1) return;
  origins.fail(key, {.what = "out of range", .found = "1", .expected = "2 to 8, or 0 for fp32"});
}

void check_settings(const ExperimentConfig& config, const RowConfig& row, const std::string& key,
                    const Origins& origins) {
  const std::vector<Item> items = items_of({});
  for (const std::string& setting : row.set) {
    const std::string_view name = std::string_view(setting).substr(0, setting.find('='));
    const std::string_view section = name.substr(0, name.find('.'));
    const bool of_method = std::ranges::any_of(
        items, [&](const Item& item) { return item.of_rows && item.name == section; });
    const bool steps = name == "qat.steps" || name == "qat.fraction" || name == "qat.batch_size";
    if (!of_method || steps || name == "distill.teacher") {
      origins.fail(key, {.what = steps       ? "all rows of a table train equally long"
                                 : of_method ? "a table has one teacher"
                                             : "only keys of some sections can be set",
                         .found = setting,
                         .expected = of_method ? "" : "keys of " + sections_of_rows(items)});
    }
  }
  try {
    check_qat(row_config(config, row), key, origins);
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    if (parts.where != "command line") throw;
    origins.fail(key, parts);
  }
}

void check_listed_rows(const ExperimentConfig& config, const Origins& origins) {
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    const RowConfig& row = config.row[i];
    const std::string key = str("row[", i, "]");
    if (row.method.empty()) {
      origins.fail(key + ".method",
                   {.what = "the row has no method", .hint = "for example method = \"rtn\""});
    }
    if (is_reference(row.method)) check_reference(row, key, origins);
    if (!is_reference(row.method)) {
      if (row.bits == 0) {
        origins.fail(key + ".bits",
                     {.what = row.method + " needs a width", .found = "0", .expected = "1 to 8"});
      }
      check_width(row.bits, row.grid == "inherit" ? grid_of_width(config, row.bits) : row.grid,
                  key + ".bits", origins);
    }
    check_activation_bits(row.activations, key + ".activations", origins);
    const bool inherits = row.granularity == "inherit";
    if (!inherits || row.group_size > 0) {
      check_groups(config, row.granularity, row.group_size, key + ".group_size", origins);
    }
    check_row_settings(config, row, key, origins);
    const auto same_name = [&](const RowConfig& other) {
      return shown(other) == shown(row) && other.bits == row.bits && other.grid == row.grid &&
             other.granularity == row.granularity && other.group_size == row.group_size &&
             other.scale == row.scale && other.activations == row.activations;
    };
    if (std::find_if(config.row.begin(), config.row.begin() + static_cast<std::ptrdiff_t>(i),
                     same_name) != config.row.begin() + static_cast<std::ptrdiff_t>(i)) {
      origins.fail(
          key, {.what = "this row is listed twice",
                .hint = row.set.empty() ? std::string{} : "rows that differ in `set` need labels"});
    }
  }
}

void check_methods(const ExperimentConfig& config, const std::vector<std::string>& known,
                   const Origins& origins) {
  const auto check_one = [&](const std::string& method, const std::string& key) {
    if (std::find(known.begin(), known.end(), method) != known.end()) return;
    const std::string hint = method.find(',') == std::string::npos
                                 ? quant::method_hint(method)
                                 : "a list has a string for each: [\"rtn\", \"gptq\"]";
    origins.fail(key, {.what = "unknown method",
                       .found = toml::quote(method),
                       .expected = joined(known),
                       .hint = hint});
  };
  for (const std::string& method : config.quant.methods) check_one(method, "quant.methods");
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    if (!is_reference(config.row[i].method))
      check_one(config.row[i].method, str("row[", i, "].method"));
  }
}

}  // namespace notch::experiments
