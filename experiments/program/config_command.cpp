// notch config: the reference of all keys, or the values an experiment resolves to.
#include <iostream>

#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/config/config.h"
#include "experiments/program/session.h"

namespace notch::experiments {

int config_command(const Args& args) {
  const std::vector<std::string> overrides = overrides_of(args);
  LoadedConfig loaded;
  if (args.positionals.empty()) {
    for (const std::string& change : overrides) apply_override(loaded, change);
    validate(loaded.config, loaded.origins);
  } else {
    loaded = load_config(args.positionals[0], overrides);
  }
  for (const std::string& line : notes(loaded)) note(args, line);
  std::cout << (args.positionals.empty() ? annotated_toml(loaded.config) : to_toml(loaded.config));
  return 0;
}

}  // namespace notch::experiments
