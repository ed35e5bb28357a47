// A text where an experiment is expected: the usual experiment on it.
#include "autograd/base/error.h"
#include "experiments/config/config.h"
#include "experiments/config/config_items.h"

namespace notch::experiments {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 60;

/// The file's name without its ending, as a directory can be called.
std::string name_of(const fs::path& file) {
  std::string name;
  for (const char c : file.stem().string()) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += letter || c == '.' || c == '_' || c == '-' ? c : '-';
  }
  name.erase(0, name.find_first_not_of(".-"));
  name.resize(std::min(name.size(), kLongestName));
  return name.empty() ? "text" : name;
}

/// Whether the file reads as TOML and names a key of experiments.
bool reads_as_configuration(const fs::path& file) {
  try {
    const toml::Table table = toml::parse(toml::read_source(file));
    for (const Item& item : items_of({})) {
      if (toml::find(table, item.section.empty() ? item.name : item.section)) return true;
    }
  } catch (const Error&) {
  }
  return false;
}

}  // namespace

bool is_text(const fs::path& file) {
  if (file.extension() == ".toml" || fs::is_directory(file)) return false;
  // A pipe can be read once only.
  return !fs::is_regular_file(file) || !reads_as_configuration(file);
}

ExperimentConfig text_experiment(const fs::path& file) {
  // quick.toml need not lie beside the program: its values again, with a context of any text and as
  // many tokens per step (tests/experiments/text_experiment_test.cpp compares them).
  check(!file.empty(), "text experiment", "no text is named");
  ExperimentConfig config;
  config.name = name_of(file);
  config.data.kind = "text";
  config.data.path = file == "-" ? "-" : fs::absolute(file).lexically_normal().string();
  config.data.test_fraction = 0.1;
  config.model = {.n_layer = 3, .n_head = 4, .n_embd = 64, .block_size = 64, .bias = true};
  config.train.batch_size = 16;
  config.train.lr = 2e-3;
  config.train.min_lr = 2e-4;
  config.train.eval_every = 500;
  config.train.eval_windows = 64;
  config.train.log_every = 50;
  config.calib.windows = 64;
  return config;
}

}  // namespace notch::experiments
