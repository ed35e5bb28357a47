#include "quant/numbers/format.h"

#include <algorithm>
#include <array>
#include <limits>

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

/// The number whose magnitude has these bits: exponents, then `mantissa` bits behind the point.
constexpr real float_of(int bits, int mantissa, int lowest_exponent) {
  const int fraction = bits & ((1 << mantissa) - 1), exponent = bits >> mantissa;
  real v = static_cast<real>(exponent == 0 ? fraction : fraction + (1 << mantissa));
  for (int e = lowest_exponent - mantissa + std::max(exponent - 1, 0); e != 0;
       e += e < 0 ? 1 : -1) {
    v = e < 0 ? v / 2 : v * 2;
  }
  return v;
}

/// The finite numbers of a float type in order, -0 left out, up to the magnitude with bits `last`.
template <int last>
constexpr std::array<real, 2 * last + 1> float_levels(int mantissa, int lowest_exponent) {
  std::array<real, 2 * last + 1> levels{};
  for (int n = 1; n <= last; ++n) {
    const real v = float_of(n, mantissa, lowest_exponent);
    levels[static_cast<std::size_t>(last + n)] = v;
    levels[static_cast<std::size_t>(last - n)] = -v;
  }
  return levels;
}

constexpr int kLastFp4 = 0x7, kLastE4m3 = 0x7e, kLastE5m2 = 0x7b;
constexpr auto kFp4 = float_levels<kLastFp4>(1, 0);
constexpr auto kE4m3 = float_levels<kLastE4m3>(3, -6);
constexpr auto kE5m2 = float_levels<kLastE5m2>(2, -14);

constexpr auto kUnknown = [] {
  std::array<real, kMostLevels> levels{};
  levels.fill(std::numeric_limits<real>::quiet_NaN());
  return levels;
}();

/// The codes of a format whose levels are the matrix's own. Whoever took them for levels would get NaN.
constexpr Grid own_codes(int bits) {
  const int last = (1 << bits) - 1;
  return {.qmin = 0,
          .qmax = last,
          .levels = std::span(kUnknown).first(static_cast<std::size_t>(last) + 1)};
}

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
    Format{.kind = GridKind::fp4,
           .name = "fp4",
           .help = "E2M1; MXFP4 with scale = \"e8m0\", groups of 32",
           .fewest_bits = 4,
           .most_bits = 4,
           .grid =
               [](int) {
                 return Grid{.qmin = -kLastFp4,
                             .qmax = kLastFp4,
                             .levels = kFp4,
                             .mantissa = 1,
                             .lowest_exponent = 0};
               }},
    Format{.kind = GridKind::e4m3,
           .name = "e4m3",
           .help = "FP8 up to 448",
           .fewest_bits = 8,
           .most_bits = 8,
           .grid =
               [](int) {
                 return Grid{.qmin = -kLastE4m3,
                             .qmax = kLastE4m3,
                             .levels = kE4m3,
                             .mantissa = 3,
                             .lowest_exponent = -6};
               }},
    Format{.kind = GridKind::e5m2,
           .name = "e5m2",
           .help = "FP8 up to 57344",
           .fewest_bits = 8,
           .most_bits = 8,
           .grid =
               [](int) {
                 return Grid{.qmin = -kLastE5m2,
                             .qmax = kLastE5m2,
                             .levels = kE5m2,
                             .mantissa = 2,
                             .lowest_exponent = -14};
               }},
    Format{.kind = GridKind::learned,
           .name = "learned",
           .help = "k-means of each unit",
           .fewest_bits = 2,
           .most_bits = 4,
           .grid = own_codes,
           .levels = Levels::unit},
    Format{.kind = GridKind::e8p,
           .name = "e8p",
           .help = "QuIP#'s lattice, eight columns together",
           .fewest_bits = 2,
           .most_bits = 2,
           .grid = own_codes,
           .levels = Levels::lattice},
    Format{.kind = GridKind::additive,
           .name = "additive",
           .help = "AQLM's codebooks, eight columns together",
           .fewest_bits = 2,
           .most_bits = 4,
           .grid = own_codes,
           .levels = Levels::codebooks},
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
  return static_cast<GridKind>(find_word(kNames, text, where));
}

}  // namespace notch::quant
