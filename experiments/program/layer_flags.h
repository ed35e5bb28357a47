// Flags of notch quantize that are for layers by name.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/config_schema.h"
#include "experiments/program/args.h"
#include "nn/model.h"

namespace notch::experiments {

/// "a,b" as a and b; what is empty is left out.
std::vector<std::string> comma_separated(const std::string& text);

/// --tensor 'pattern=bits,…' and then --skip 'pattern,…': what is skipped stays in fp32.
std::vector<LayerRule> layer_rules(const Args& args);

/// Refuses a rule of --tensor or --skip, or of quant.layers, whose every layer later ones take.
void require_live_rules(const Args& args, const std::vector<LayerRule>& rules, nn::Model& model);

}  // namespace notch::experiments
