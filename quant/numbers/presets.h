// Presets: Specs with a name of their own, because a block type of GGUF holds them exactly.
//
// What training sees is then what llama.cpp multiplies with. A new one is a row of the table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/numbers/spec.h"

namespace notch::quant {

struct Preset {
  std::string_view name{};  ///< of the block type, in small letters
  Spec spec{};
};

/// All presets, from the fewest bytes to the most.
std::span<const Preset> presets();
std::vector<std::string_view> preset_names();
/// Every preset with its spec, for help texts.
const std::string& preset_help();
/// nullptr for a name that is not in the table.
const Preset* find_preset(std::string_view name);

}  // namespace notch::quant
