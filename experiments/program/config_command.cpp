// notch config: the reference of all keys, or the values an experiment resolves to.
#include <iostream>

#include "experiments/config/config.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/program/session.h"
#include "experiments/program/shared_flags.h"
#include "experiments/run/setup.h"

namespace notch::experiments {
namespace {

int config_command(const Args& args) {
  const std::vector<std::string> overrides = overrides_of(args);
  LoadedConfig loaded;
  if (args.positionals.empty()) {
    for (const std::string& change : overrides) apply_override(loaded, change);
    validate(loaded.config, loaded.origins);
  } else {
    loaded = load_config(args.positionals[0], overrides);
    if (loaded.from_text) load_data(loaded.config, token_cache());  // refused as `run` refuses it
  }
  // What `run` would refuse before it trains; no text is needed to see it. A run's own configuration
  // may have outlived the directory it began with.
  const std::string& from = loaded.config.model.from;
  if (from.empty() || fs::exists(from))
    check_rows(loaded.config, vocabulary_before_text(loaded.config), loaded.origins);
  for (const std::string& line : notes(loaded)) note(args, line);
  std::cout << (args.positionals.empty() ? annotated_toml(loaded.config) : to_toml(loaded.config));
  return 0;
}

}  // namespace

Command config_verb() {
  return {
      {.name = "config",
       .summary = "all keys with their meaning, or the values an experiment resolves to",
       .examples = {"notch config > my.toml", "notch config experiments/quick.toml train.lr=3e-4",
                    "notch config book.txt --bits 4 --group 32 > book.toml"},
       .positionals = {experiment_positional(false)},
       .flags = value_flags(),
       .overrides = true},
      config_command};
}

}  // namespace notch::experiments
