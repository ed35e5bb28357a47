#include "experiments/program/shared_flags.h"

#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "quant/methods/methods.h"
#include "quant/serve/kv_cache.h"

namespace notch::experiments {

Positional model_positional() {
  return {.name = "MODEL_DIR", .help = "a model, as `notch run` writes them"};
}

Positional experiment_positional(bool required) {
  return {.name = "EXP.toml|TEXT",
          .help = "the configuration, or a text to train on",
          .required = required};
}

Flag output_flag() {
  return {.name = "output",
          .letter = 'o',
          .value = "md|csv|json",
          .help = "print the table in this format on stdout",
          .words = {"md", "csv", "json"}};
}

Flag wide_flag() {
  return {.name = "wide", .help = "show every row and column, and who beats whom"};
}

Flag out_flag() {
  return {.name = "out", .value = "DIR", .help = "the directory to write", .path = PathUse::filled};
}

Flag threads_flag() {
  return {.name = "threads",
          .letter = 't',
          .value = "N",
          .help = "threads; the results do not depend on it",
          .fallback = "all cores"};
}

Flag no_verify_flag() {
  return {.name = "no-verify",
          .help = "take the model as it is, even if its files are not those that were written"};
}

Flag ctx_flag(std::string_view help, std::string_view fallback) {
  return {.name = "ctx", .value = "N", .help = help, .fallback = fallback};
}

Flag kv_cache_flag() {
  return {.name = "kv-cache",
          .value = "TYPE",
          .help = "keys and values as fp32, fp16 or int8",
          .fallback = "fp32",
          .words = words_of<quant::KvKind>()};
}

std::vector<Flag> value_flags() {
  return {{.name = "bits", .letter = 'b', .value = "LIST", .help = "quant.bits: 4 or 8,4"},
          {.name = "group",
           .letter = 'g',
           .value = "N",
           .help = "quant.group_size: a scale for every N weights of a row"},
          {.name = "methods", .value = "LIST", .help = quant::method_list()}};
}

std::vector<std::string> overrides_of(const Args& args) {
  std::vector<std::string> overrides = args.overrides;
  constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
      {"bits", "quant.bits"}, {"group", "quant.group_size"}, {"methods", "quant.methods"}};
  for (const auto& pair : kKeys) {
    const std::string_view flag = pair.first, key = pair.second;
    const auto value = args.value(flag);
    if (!value) continue;
    // Whichever won, the other would be ignored.
    const bool both = std::ranges::any_of(args.overrides, [&](std::string_view o) {
      return o.substr(0, o.find_first_of(" =")) == key;
    });
    if (both) {
      throw Error({.where = "notch " + args.verb,
                   .what = str("sets ", key, ", which is given too"),
                   .field = str("--", flag),
                   .hint = "give one of them"});
    }
    overrides.push_back(str(key, '=', *value));
  }
  return overrides;
}

}  // namespace notch::experiments
