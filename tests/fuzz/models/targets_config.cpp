// Configurations and overrides.
#include "experiments/config/config.h"
#include "tests/fuzz/targets.h"

namespace notch::test::fuzz {
namespace {

using namespace notch::experiments;

/// What a configuration is, however it came to be, its own text says.
void check_config(const LoadedConfig& loaded) {
  const std::string text = to_toml(loaded.config);
  require(to_toml(parse_config(text, "written").config) == text,
          "a configuration of its own: ", text);
  if (taken([&] { validate(loaded.config, loaded.origins); })) planned_rows(loaded.config);
}

int fuzz_config(const std::uint8_t* data, std::size_t size) {
  LoadedConfig loaded;
  if (taken([&] { loaded = parse_config(std::string(text_of(data, size)), "x.toml"); })) {
    check_config(loaded);
  }
  return 0;
}

std::vector<std::string> config_seeds() {
  ExperimentConfig rows;
  rows.quant.bits = {8, 4};
  return {annotated_toml(), to_toml(rows),
          "seeds = [1, 2]\n[model]\nn_layer = 2\nn_head = 2\nn_embd = 32\n[train]\nsteps = 5\n"
          "[quant]\nbits = [4]\nmethods = [\"gptq\", \"qat-lsq\"]\ngroup_size = 16\n"
          "[[quant.layers]]\npattern = \"h.*\"\nbits = 8\n"};
}

int fuzz_overrides(const std::uint8_t* data, std::size_t size) {
  LoadedConfig loaded;
  std::string_view text = text_of(data, size);
  bool changed = false;
  for (int i = 0; i < 20 && !text.empty(); ++i) {
    const std::string_view line = text.substr(0, text.find('\n'));
    LoadedConfig next = loaded;
    if (taken([&] { apply_override(next, line); })) {
      loaded = next;
      changed = true;
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  if (changed) check_config(loaded);
  return 0;
}

std::vector<std::string> override_seeds() {
  return {"quant.bits=4,3\ntrain.steps=1000\nmodel.n_layer=2\nname=a b\n",
          "quant.methods=[\"rtn\", \"gptq\"]\nactivations.bits=0,8\nqat.from=gptq\n"
          "train.lr=1e-3\nquant.at.4={grid = \"asymmetric\"}\nseeds=1,2,3\n"};
}

const bool config_added = add_targets({{"config", fuzz_config, config_seeds, none},
                                       {"overrides", fuzz_overrides, override_seeds, none}});

}  // namespace
}  // namespace notch::test::fuzz
