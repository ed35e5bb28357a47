// Flags and positionals that several verbs take.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/program/args.h"

namespace notch::experiments {

Positional model_positional();
/// Of verbs that make an experiment.
Positional experiment_positional(bool required = true);

/// For verbs that print a table: -o md|csv|json.
Flag output_flag();
/// For verbs that print a run's table: --wide.
Flag wide_flag();
/// For verbs that write a directory: --out DIR.
Flag out_flag();
/// For verbs that compute: --threads N.
Flag threads_flag();
/// For verbs that open a model: --no-verify.
Flag no_verify_flag();
/// For verbs that cut a text in windows: --ctx N, which is `help` and without it `fallback`. command_tools.h has
/// its value, window_length.
Flag ctx_flag(std::string_view help = "tokens of a window of the text",
              std::string_view fallback = "the model's context, at most 4096");
/// For verbs that write text with a model: --kv-cache.
Flag kv_cache_flag();

/// Flags that stand for values of the configuration, for every verb that makes an experiment.
std::vector<Flag> value_flags();
/// The values of the command line, those of value_flags() among them.
std::vector<std::string> overrides_of(const Args& args);

}  // namespace notch::experiments
