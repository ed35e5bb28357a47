// Format: all that distinguishes one grid from another, in one row of a table.
//
// A new grid is a value of GridKind and a row here. Everything else asks: sizes and names (spec.h),
// ranges (ranges.h), rounding and its gradients (quant/kernels/grid.h), packed codes (quant/store/pack.h),
// serving, the configuration and the help texts.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/kernels/grid.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// What of a unit's weights decides its scale; the formulas are scale_range's (ranges.h).
enum class ScaleOf : std::uint8_t {
  magnitude,     ///< max|w|, which gets the last level
  signed_value,  ///< the weight of largest magnitude, which gets the first code: of either sign
  width,         ///< max w - min w, with a zero point
};

/// What a code stands for.
enum class Levels : std::uint8_t {
  grid,  ///< a level of its grid, the same for all units
  // And those of the matrix itself (quant/numbers/own_levels.h):
  unit,       ///< one of the list of its unit
  lattice,    ///< eight together are a word, a point of E8P
  codebooks,  ///< eight together are a word, a sum of vectors of codebooks
};
/// Columns that share a word.
inline constexpr std::int64_t kWordColumns = 8;

/// How codes become bytes (quant/store/pack.h).
enum class Packing : std::uint8_t {
  bits,   ///< (q - qmin) / step in `bits` bits
  trits,  ///< three values, five to a byte
};

struct Format {
  GridKind kind{};
  std::string_view name{};
  std::string_view help{};  ///< more than the name says, in a few words
  int fewest_bits = 2, most_bits = 8;
  Grid (*grid)(int bits) = nullptr;  ///< with own levels: its codes; the levels are NaN
  ScaleOf scale = ScaleOf::magnitude;
  Packing packing = Packing::bits;
  Levels levels = Levels::grid;

  constexpr bool has_own_levels() const { return levels != Levels::grid; }
  constexpr bool has_words() const {
    return levels == Levels::lattice || levels == Levels::codebooks;
  }
  constexpr bool has_bits(std::int64_t bits) const {
    return bits >= fewest_bits && bits <= most_bits;
  }
  constexpr bool has_zero_points() const { return scale == ScaleOf::width; }
  constexpr bool has_signed_scale() const { return scale == ScaleOf::signed_value; }
  /// "2 to 8"
  std::string bits_text() const;
};

/// All formats, in the order of GridKind.
std::span<const Format> formats();
const Format& format_of(GridKind kind);

/// The words of configurations: "narrow", "full", …
std::vector<std::string_view> grid_names();
/// Every grid with its widths and levels, for help texts.
const std::string& grid_help();
/// Names of the formats for which `has` holds: "narrow, full, ternary, seq".
template <class Has>
std::string grids_with(const Has& has) {
  std::string names;
  for (const Format& f : formats()) {
    if (std::invoke(has, f)) names.append(names.empty() ? "" : ", ").append(f.name);
  }
  return names;
}

}  // namespace notch::quant
