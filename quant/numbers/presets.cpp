#include "quant/numbers/presets.h"

#include <algorithm>
#include <array>

#include "autograd/base/error.h"

namespace notch::quant {
namespace {

constexpr Preset row(std::string_view name, int bits, GridKind grid, std::int64_t group,
                     ScaleType scale = ScaleType::f16) {
  return {name,
          {.bits = bits,
           .grid = grid,
           .granularity = Granularity::group,
           .group_size = group,
           .scale = scale}};
}

constexpr std::array kPresets{
    row("tq2_0", 2, GridKind::ternary, 256),
    row("q2_k", 2, GridKind::seq, 256),
    row("q3_k", 3, GridKind::signed_max, 256),
    row("q4_k", 4, GridKind::asymmetric, 256),
    row("q4_0", 4, GridKind::signed_max, 32),
    row("q4_1", 4, GridKind::asymmetric, 32, ScaleType::f16_7),
    row("q5_k", 5, GridKind::asymmetric, 256),
    row("q5_0", 5, GridKind::signed_max, 32),
    row("q6_k", 6, GridKind::signed_max, 256),
    row("q8_0", 8, GridKind::narrow, 32),
};

}  // namespace

std::span<const Preset> presets() { return kPresets; }

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  for (const Preset& p : kPresets) names.push_back(p.name);
  return names;
}

const std::string& preset_help() {
  static const std::string help = [] {
    std::string all =
        "bits, grid, groups and scale that a block of GGUF holds exactly (the token table: q8_0)";
    for (const Preset& p : kPresets)
      all += str(p.name == kPresets[0].name ? ": " : "; ", p.name, " = ", name_of(p.spec));
    return all;
  }();
  return help;
}

const Preset* find_preset(std::string_view name) {
  const auto at = std::ranges::find(kPresets, name, &Preset::name);
  return at == kPresets.end() ? nullptr : &*at;
}

}  // namespace notch::quant
