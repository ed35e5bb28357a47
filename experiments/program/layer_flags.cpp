#include "experiments/program/layer_flags.h"

#include <algorithm>
#include <optional>

#include "autograd/base/error.h"
#include "experiments/config/layer_rules.h"

namespace notch::experiments {

std::vector<std::string> comma_separated(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::vector<LayerRule> layer_rules(const Args& args) {
  std::vector<LayerRule> rules;
  for (const std::string& rule : comma_separated(args.value("tensor").value_or(""))) {
    const std::size_t equals = rule.find('=');
    const std::string bits = equals == std::string::npos ? "" : rule.substr(equals + 1);
    if (bits.size() != 1 || bits[0] < '1' || bits[0] > '8') {
      throw Error({.where = "notch quantize",
                   .what = str("\"", rule, "\" is not PATTERN=BITS with 1 to 8 bits"),
                   .field = "--tensor",
                   .hint = "for example --tensor 'h.*.mlp.c_proj=8'"});
    }
    rules.push_back({.pattern = rule.substr(0, equals), .bits = bits[0] - '0'});
  }
  for (const std::string& pattern : comma_separated(args.value("skip").value_or(""))) {
    rules.push_back({.pattern = pattern, .bits = 0});
  }
  return rules;
}

void require_live_rules(const Args& args, const std::vector<LayerRule>& rules, nn::Model& model) {
  const std::optional<DeadRule> dead = dead_rule(rules, model);
  if (!dead) return;
  const std::size_t tensors = comma_separated(args.value("tensor").value_or("")).size();
  const bool by_flags = args.has("tensor") || args.has("skip");
  const auto flag = [&](std::size_t rule) {
    return !by_flags ? "quant.layers" : rule < tensors ? "--tensor" : "--skip";
  };
  const auto shown = [&](std::size_t i) {
    const LayerRule& rule = rules[i];
    return str(rule.pattern, rule.bits > 0 ? str('=', rule.bits) : "");
  };
  throw Error({.where = "notch quantize",
               .what = "has no effect: later rules take every layer that it names",
               .field = flag(dead->rule),
               .found = shown(dead->rule),
               .hint = str("leave it out, or ", flag(dead->by), " ", shown(dead->by))});
}

}  // namespace notch::experiments
