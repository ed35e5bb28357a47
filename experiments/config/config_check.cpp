// Values that are each in range and still cannot work together. Everything is checked before a run
// allocates or writes anything.
#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"
#include "quant/methods/methods.h"
#include "quant/numbers/format.h"

namespace notch::experiments {

namespace {

bool is_reference(std::string_view method) { return method == "fp32" || method == "fp16"; }

constexpr std::string_view kNameCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

void check_name(const ExperimentConfig& config, const Origins& origins) {
  const std::string& name = config.name;
  if (name.find_first_not_of(kNameCharacters) == std::string::npos && name.substr(0, 1) != "." &&
      name.size() <= 100)
    return;
  origins.fail("name",
               {.what = "not usable as a directory's name",
                .found = toml::quote(name),
                .expected = "at most 100 letters, digits, '.', '_' or '-', not starting with '.'"});
}

void check_seeds(const ExperimentConfig& config, const Origins& origins) {
  if (config.seeds.empty()) {
    origins.fail("seeds", {.what = "the list is empty",
                           .hint = "give at least one seed, as in seeds = [1337]"});
  }
  std::vector<std::int64_t> sorted = config.seeds;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
    origins.fail("seeds", {.what = str("seed ", *twice, " is listed twice"),
                           .hint = "two runs with one seed are the same run"});
  }
}

/// "1, 2, 4, 8": the divisors of n.
std::string divisors(int n) {
  std::string list;
  for (int d = 1; d <= n; ++d) {
    if (n % d == 0) list += (list.empty() ? "" : ", ") + std::to_string(d);
  }
  return list;
}

void check_data(const ExperimentConfig& config, const Origins& origins) {
  const DataConfig& d = config.data;
  if (d.val_fraction + d.test_fraction >= 1) {
    origins.fail("data.test_fraction", {.what = "nothing is left to train on",
                                        .found = str("val_fraction = ", d.val_fraction,
                                                     " with test_fraction = ", d.test_fraction),
                                        .expected = "val_fraction + test_fraction < 1"});
  }
  if (d.kind == "text" && d.path.empty()) {
    origins.fail("data.path",
                 {.what = "kind = \"text\" needs a file",
                  .hint = "set data.path, or kind = \"verbs\" for the built-in sentences"});
  }
}

void check_llama(const ModelConfig& m, const Origins& origins) {
  if (m.n_embd / m.n_head % 2 != 0) {
    origins.fail("model.n_head",
                 {.what = "a head has an odd number of channels, and rotary positions turn pairs",
                  .found = str("n_head = ", m.n_head, " with n_embd = ", m.n_embd),
                  .hint = "n_head can be " + divisors(m.n_embd / 2)});
  }
  if (m.n_kv_head > 0 && m.n_head % m.n_kv_head != 0) {
    origins.fail("model.n_kv_head",
                 {.what = "the heads of keys do not divide the heads",
                  .found = str("n_kv_head = ", m.n_kv_head, " with n_head = ", m.n_head),
                  .hint = "n_kv_head can be " + divisors(m.n_head)});
  }
}

void check_model(const ExperimentConfig& config, const Origins& origins) {
  const ModelConfig& m = config.model;
  if (m.n_embd % m.n_head != 0) {
    origins.fail("model.n_head", {.what = "the heads do not divide the channels",
                                  .found = str("n_head = ", m.n_head, " with n_embd = ", m.n_embd),
                                  .expected = "n_embd a multiple of n_head",
                                  .hint = "n_head can be " + divisors(m.n_embd)});
  }
  if (m.architecture == "llama") check_llama(m, origins);
}

void check_train(const ExperimentConfig& config, const Origins& origins) {
  const TrainConfig& t = config.train;
  if (t.steps == 0 && config.model.from.empty()) {
    origins.fail("train.steps", {.what = "a model that nobody trained has nothing to compare",
                                 .found = "0",
                                 .expected = "at least 1, or a trained model in model.from"});
  }
  if (t.steps > 0 && t.warmup >= t.steps) {
    origins.fail("train.warmup", {.what = "the warm-up does not end before the training",
                                  .found = str("warmup = ", t.warmup, " with steps = ", t.steps),
                                  .expected = "warmup < steps, or -1 for a tenth of them"});
  }
  if (t.min_lr < 0 && t.min_lr != -1) {
    origins.fail("train.min_lr", {.what = "a negative learning rate",
                                  .found = str(t.min_lr),
                                  .expected = "at least 0, or -1 for a tenth of lr"});
  }
  if (t.min_lr > t.lr) {
    origins.fail("train.min_lr", {.what = "the last learning rate is above the peak",
                                  .found = str("min_lr = ", t.min_lr, " with lr = ", t.lr),
                                  .expected = "min_lr <= lr"});
  }
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
  // The inputs of a block's matrices are n_embd or 4 n_embd channels.
  if (groups && config.model.n_embd % group_size != 0) {
    origins.fail(key,
                 {.what = "the groups do not divide the inputs of the layers",
                  .found = str("group_size = ", group_size, " with n_embd = ", config.model.n_embd),
                  .expected = "n_embd a multiple of group_size",
                  .hint = "group_size can be " + divisors(config.model.n_embd)});
  }
}

template <class T>
void check_distinct(const std::vector<T>& list, const std::string& key, const Origins& origins) {
  for (std::size_t i = 1; i < list.size(); ++i) {
    const auto here = list.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(list.begin(), here, list[i]) == here) continue;
    origins.fail(key, {.what = str(list[i], " is listed twice")});
  }
}

/// `key`: the line that set the values, if it is not theirs.
void check_qat(const ExperimentConfig& config, const std::string& key, const Origins& origins) {
  const QatConfig& q = config.qat;
  const bool trained = q.from == "fp32" || q.from == "scratch";
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

/// Not every grid has every width: one bit is the sign, three levels are two bits.
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

/// 1 bit lies inside the range of the field and is no width.
void check_activation_bits(int bits, const std::string& key, const Origins& origins) {
  if (bits != 1) return;
  origins.fail(key, {.what = "out of range", .found = "1", .expected = "2 to 8, or 0 for fp32"});
}

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

/// Settings of some rows alone: of the methods' sections, and nothing that the control shares.
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

void check_row_settings(const ExperimentConfig& config, const RowConfig& row,
                        const std::string& key, const Origins& origins) {
  if (!row.set.empty() && row.label.empty()) {
    origins.fail(key + ".set", {.what = "a row with its own settings needs a label",
                                .hint = str("for example label = \"", row.method, "-2\"")});
  }
  if (row.label.find_first_not_of(kNameCharacters) != std::string::npos) {
    origins.fail(key + ".label", {.what = "not usable in a file's name", .found = row.label});
  }
  check_settings(config, row, key + ".set", origins);
}

/// Nothing of a row applies to the model as it is, or in half precision.
void check_reference(const RowConfig& row, const std::string& key, const Origins& origins) {
  const auto refuse = [&](bool set, const char* field) {
    if (!set) return;
    origins.fail(key + "." + field, {.what = row.method + " is not quantized",
                                     .hint = str("remove ", field, " from this row")});
  };
  refuse(row.bits != 0, "bits");
  refuse(row.group_size != 0, "group_size");
  refuse(row.granularity != "inherit", "granularity");
  refuse(row.grid != "inherit", "grid");
  refuse(row.scale != "inherit", "scale");
  refuse(row.activations != 0, "activations");
  if (row.method == "fp16") {  // may be pruned
    for (const std::string& setting : row.set)
      refuse(!setting.starts_with("prune.") && !setting.starts_with("calib."), "set");
    return;
  }
  refuse(!row.label.empty(), "label");
  refuse(!row.set.empty(), "set");
}

void check_rows(const ExperimentConfig& config, const Origins& origins) {
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    const RowConfig& row = config.row[i];
    const std::string key = str("row[", i, "]");
    if (row.method.empty()) {
      origins.fail(key + ".method",
                   {.what = "the row has no method", .hint = "for example method = \"rtn\""});
    }
    if (is_reference(row.method) && row.pipeline.empty()) check_reference(row, key, origins);
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

void check_activations(const ExperimentConfig& config, const Origins& origins) {
  const std::string key = "activations.bits";
  check_distinct(config.activations.bits, key, origins);
  for (const int bits : config.activations.bits) check_activation_bits(bits, key, origins);
  if (config.activations.bits.empty()) {
    origins.fail(key, {.what = "the list is empty",
                       .hint = "give at least one width, as in bits = [0, 8]; 0 = fp32"});
  }
}

/// A format is all of its Spec or none of it.
void check_format(const ExperimentConfig& config, const Origins& origins) {
  const QuantConfig& q = config.quant;
  const quant::Preset* format = quant::find_preset(q.format);
  if (!format) return;
  const quant::Spec& spec = format->spec;
  const auto require = [&](const std::string& key, const std::string& found,
                           const std::string& expected) {
    if (found == expected) return;
    origins.fail(key, {.what = str("contradicts quant.format = \"", format->name, "\", which is ",
                                   quant::name_of(spec)),
                       .found = found,
                       .expected = expected,
                       .hint = "leave it out, or the format"});
  };
  require("quant.grid", q.grid, std::string(quant::name_of(spec.grid)));
  require("quant.granularity", q.granularity, std::string(quant::name_of(spec.granularity)));
  require("quant.group_size", str(q.group_size), str(spec.group_size));
  require("quant.scale", q.scale, std::string(quant::name_of(spec.scale)));
  for (const RowConfig& row : planned_rows(config)) {
    const std::string key = config.row.empty() ? "quant.bits" : "row";
    require(key, str(row.bits), str(spec.bits));
    require(config.row.empty() ? "quant.at" : key, row.grid, q.grid);
    require(key, row.granularity, q.granularity);
    require(key, str(row.group_size), str(q.group_size));
  }
}

void check_quant(const ExperimentConfig& config, const Origins& origins) {
  const QuantConfig& q = config.quant;
  check_format(config, origins);
  check_groups(config, q.granularity, q.group_size, "quant.group_size", origins);
  check_distinct(q.bits, "quant.bits", origins);
  check_distinct(q.methods, "quant.methods", origins);
  for (std::size_t i = 0; i < q.at.size(); ++i) {
    const std::string key = str("quant.at[", i, "]");
    if (q.at[i].bits == 0) origins.fail(key, {.what = "the settings have no width"});
    check_settings(config, {.bits = q.at[i].bits, .set = q.at[i].set}, key, origins);
  }
  if (config.row.empty()) {
    const std::string alone = "; row = [{method = \"fp32\"}] asks for no quantized row";
    if (q.bits.empty()) {
      origins.fail("quant.bits", {.what = "the list is empty",
                                  .hint = "give at least one width, as in bits = [8, 4]" + alone});
    }
    if (q.methods.empty()) {
      origins.fail("quant.methods",
                   {.what = "the list is empty",
                    .hint = "give at least one, as in methods = [\"gptq\"]" + alone});
    }
    for (const int bits : q.bits) {
      check_width(bits, grid_of_width(config, bits), "quant.bits", origins);
    }
  }
  for (std::size_t i = 0; i < q.layers.size(); ++i) {
    const std::string key = str("quant.layers[", i, "]");
    if (q.layers[i].pattern.empty()) {
      origins.fail(key + ".pattern", {.what = "the rule has no pattern",
                                      .hint = "for example {pattern = \"h.0.*\", bits = 8}"});
    }
    // A grid for few bits gives way to narrow in a rule with more.
    if (q.layers[i].bits == 1) check_width(1, q.grid, key + ".bits", origins);
    check_activation_bits(q.layers[i].activations, key + ".activations", origins);
  }
}

}  // namespace

void validate(const ExperimentConfig& config, const Origins& origins) {
  check_name(config, origins);
  check_seeds(config, origins);
  check_pipelines(config, origins);
  check_model(config, origins);
  check_train(config, origins);
  check_quant(config, origins);
  check_activations(config, origins);
  check_qat(config, "", origins);
  check_rows(config, origins);
  check_pipeline_settings(config, origins);
  check_data(config, origins);
}

void check_methods(const ExperimentConfig& config, const std::vector<std::string>& known,
                   const Origins& origins) {
  const auto check_one = [&](const std::string& method, const std::string& key) {
    if (std::find(known.begin(), known.end(), method) != known.end()) return;
    std::string all;
    for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
    const std::string hint = quant::method_hint(method);
    origins.fail(
        key,
        {.what = "unknown method", .found = toml::quote(method), .expected = all, .hint = hint});
  };
  for (const std::string& method : config.quant.methods) check_one(method, "quant.methods");
  for (std::size_t i = 0; i < config.row.size(); ++i) {
    if (!is_reference(config.row[i].method))
      check_one(config.row[i].method, str("row[", i, "].method"));
  }
}

}  // namespace notch::experiments
