// Values of an experiment that are each in range and still cannot work together; those of single rows
// are in config_check_rows.cpp. Everything is checked before a run allocates or writes anything.
#include "experiments/config/config_check.h"

#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/names.h"
#include "experiments/config/pipeline.h"
#include "quant/numbers/format.h"

namespace notch::experiments {

namespace {

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

void check_data(const ExperimentConfig& config, const Origins& origins) {
  const DataConfig& d = config.data;
  if (d.val_fraction + d.test_fraction >= 1) {
    origins.fail("data.test_fraction", {.what = "nothing is left to train on",
                                        .found = str("val_fraction = ", d.val_fraction,
                                                     " with test_fraction = ", d.test_fraction),
                                        .expected = "val_fraction + test_fraction < 1"});
  }
  if (d.kind == "text" && d.path.empty()) {
    origins.fail(origins.has("data.path") || !origins.has("data.kind") ? "data.path" : "data.kind",
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
  if (!m.from.empty()) return;  // its directory has been checked, and may have lost heads
  check(m.n_layer >= 0 && m.n_head >= 1 && m.n_embd >= 1 && m.block_size >= 1, "model",
        "no sizes of a model: n_layer ", m.n_layer, ", n_head ", m.n_head, ", n_embd ", m.n_embd,
        ", block_size ", m.block_size);
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

template <class T>
void check_distinct(const std::vector<T>& list, const std::string& key, const Origins& origins) {
  for (std::size_t i = 1; i < list.size(); ++i) {
    const auto here = list.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(list.begin(), here, list[i]) == here) continue;
    origins.fail(key, {.what = str(list[i], " is listed twice")});
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

}  // namespace

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
  require("quant.granularity", q.granularity, std::string(word_of(spec.granularity)));
  require("quant.group_size", str(q.group_size), str(spec.group_size));
  require("quant.scale", q.scale, std::string(word_of(spec.scale)));
  for (const RowConfig& row : planned_rows(config)) {
    const std::string key = config.row.empty() ? "quant.bits" : "row";
    require(key, str(row.bits), str(spec.bits));
    require(config.row.empty() ? "quant.at" : key, row.grid, q.grid);
    require(key, row.granularity, q.granularity);
    require(key, str(row.group_size), str(q.group_size));
  }
}

namespace {

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

void check_paths(const ExperimentConfig& config, const Origins& origins) {
  const std::pair<const char*, const std::string&> paths[] = {
      {"data.path", config.data.path},
      {"model.from", config.model.from},
      {"distill.teacher", config.distill.teacher}};
  for (const auto& [key, path] : paths) {
    if (is_utf8(path)) continue;
    origins.fail(key, {.what = "is not UTF-8, so that a run's configuration cannot name it",
                       .found = path,
                       .hint = "rename the file or the folder, or give a link to it"});
  }
}

}  // namespace

void validate(const ExperimentConfig& config, const Origins& origins) {
  check_paths(config, origins);
  check_name(config, origins);
  check_seeds(config, origins);
  check_pipelines(config, origins);
  check_model(config, origins);
  check_train(config, origins);
  check_quant(config, origins);
  check_activations(config, origins);
  check_qat(config, "", origins);
  check_listed_rows(config, origins);
  check_pipeline_settings(config, origins);
  check_data(config, origins);
}

}  // namespace notch::experiments
