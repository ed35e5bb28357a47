#include "quant/numbers/format.h"

#include <array>

#include "autograd/base/error.h"
#include "quant/numbers/names.h"

namespace notch::quant {
namespace {

constexpr int half(int bits) { return 1 << (bits - 1); }

/// QLoRA (arXiv:2305.14314), appendix E, as bitsandbytes has them: numbers of float32. Quantiles of
/// the normal distribution between 0.5 and 0.9677083, eight above 0 and seven below, over the
/// largest.
constexpr std::array<real, 16> kNormalFloat{
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
};

constexpr std::array kFormats{
    Format{.kind = GridKind::narrow,
           .name = "narrow",
           .help = "[-7,7] at 4 bits",
           .grid = [](int bits) { return Grid{.qmin = 1 - half(bits), .qmax = half(bits) - 1}; }},
    Format{.kind = GridKind::full,
           .name = "full",
           .help = "[-8,7]",
           .grid = [](int bits) { return Grid{.qmin = -half(bits), .qmax = half(bits) - 1}; }},
    Format{.kind = GridKind::signed_max,
           .name = "signed_max",
           .grid = [](int bits) { return Grid{.qmin = -half(bits), .qmax = half(bits) - 1}; },
           .scale = ScaleOf::signed_value},
    Format{.kind = GridKind::asymmetric,
           .name = "asymmetric",
           .grid = [](int bits) { return Grid{.qmin = -half(bits), .qmax = half(bits) - 1}; },
           .scale = ScaleOf::width},
    Format{.kind = GridKind::ternary,
           .name = "ternary",
           .help = "-1, 0, 1",
           .fewest_bits = 2,
           .most_bits = 2,
           .grid = [](int) { return Grid{.qmin = -1, .qmax = 1, .reach = real(0.5)}; },
           .packing = Packing::trits},
    Format{.kind = GridKind::seq,
           .name = "seq",
           .help = "odd levels, 1 bit is the sign",
           .fewest_bits = 1,
           .most_bits = 4,
           .grid =
               [](int bits) {
                 const int top = (1 << bits) - 1;
                 return Grid{.qmin = -top, .qmax = top, .step = 2, .reach = 1};
               }},
    Format{.kind = GridKind::nf4,
           .name = "nf4",
           .help = "normal quantiles, groups of 64",
           .fewest_bits = 4,
           .most_bits = 4,
           .grid = [](int) { return Grid{.qmin = -7, .qmax = 8, .levels = kNormalFloat}; }},
};

constexpr auto kNames = [] {
  std::array<std::string_view, kFormats.size()> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kFormats[i].name;
  return names;
}();

static_assert([] {
  for (std::size_t i = 0; i < kFormats.size(); ++i) {
    if (kFormats[i].kind != static_cast<GridKind>(i)) return false;
  }
  return true;
}());

}  // namespace

std::string Format::bits_text() const {
  return fewest_bits == most_bits ? str(most_bits) : str(fewest_bits, " to ", most_bits);
}

std::span<const Format> formats() { return kFormats; }
const Format& format_of(GridKind kind) { return kFormats.at(static_cast<std::size_t>(kind)); }

std::vector<std::string_view> grid_names() { return {kNames.begin(), kNames.end()}; }

const std::string& grid_help() {
  static const std::string help = [] {
    std::string all, before;
    for (const Format& f : kFormats) {
      const std::string bits = f.bits_text();
      if (bits != before) all += str(all.empty() ? "" : "; ", bits, " bits: ");
      all += str(bits == before ? ", " : "", f.name, f.help.empty() ? "" : str(" (", f.help, ')'));
      before = bits;
    }
    return all;
  }();
  return help;
}

std::string_view name_of(GridKind grid) { return format_of(grid).name; }

GridKind parse_grid(std::string_view text, std::string_view where) {
  return parse_name<GridKind>(kNames, text, where);
}

}  // namespace notch::quant
