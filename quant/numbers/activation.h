// ActivationSpec: how the input of a quantized Linear is put on integers.
//
// Codes are signed, with the grids of weights (quant/numbers/spec.h): symmetric means narrow, [-127, 127]
// at 8 bits with zero point 0, and asymmetric [-128, 127] with a zero point; the kernels store them
// as bytes with 128 added. A dynamic range belongs to one token (one row of x) and is taken from
// it, in training and in evaluation alike. A static range is one per layer: found by an observer on
// calibration text (quant/numbers/observers.h) or learned, then frozen and stored. Codes of a float type
// (InputGrid::e4m3) are not multiplied as integers: their values are, in fp32, by whatever the weights
// stand for; their ranges are dynamic. Separate from Spec
// because weights and activations share neither the units nor the time at which scales are known.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/numbers/ranges.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

enum class ActivationRange : std::uint8_t {
  dynamic,  ///< "dynamic": every token's own range
  fixed,    ///< "static": one range per layer
};
constexpr auto names(ActivationRange) {
  return std::array<std::string_view, 2>{"dynamic", "static"};
}

/// How an observer turns what it saw into a range (quant/numbers/observers.h).
enum class ObserverRule : std::uint8_t { minmax, moving_average, percentile, mse, entropy };
constexpr auto names(ObserverRule) {
  return std::array<std::string_view, 5>{"minmax", "moving_average", "percentile", "mse",
                                         "entropy"};
}

/// What the codes of an input stand for.
enum class InputGrid : std::uint8_t {
  integer,  ///< whole numbers: products are those of integers
  e4m3,     ///< FP8 (GridKind::e4m3), scale = max|x| / 448
};
constexpr auto names(InputGrid) { return std::array<std::string_view, 2>{"integer", "e4m3"}; }

struct ActivationSpec {
  int bits = 8;  ///< 2 .. 8; e4m3: 8
  bool symmetric = true;
  ActivationRange range = ActivationRange::dynamic;
  ObserverRule observer = ObserverRule::percentile;  ///< of static ranges
  double percentile = 99.99;  ///< of the values, in (50, 100]; for ObserverRule::percentile
  InputGrid grid = InputGrid::integer;
  bool is_integer() const { return grid == InputGrid::integer; }
  bool operator==(const ActivationSpec&) const = default;
};

/// The grid as that of a weight that is one unit: narrow, asymmetric or e4m3, scale f32.
constexpr Spec unit_spec(const ActivationSpec& spec) {
  return {.bits = spec.bits,
          .grid = spec.grid == InputGrid::e4m3 ? GridKind::e4m3
                  : spec.symmetric             ? GridKind::narrow
                                               : GridKind::asymmetric,
          .granularity = Granularity::tensor};
}

/// Usage error naming `where` when bits are outside 2..8 or the percentile outside (50, 100], or what
/// e4m3 does not have.
void validate(const ActivationSpec& spec, std::string_view where);

/// A spec with, for static ranges, the frozen scale and zero point: what a model file stores.
struct InputQuantizer {
  ActivationSpec spec{};
  UnitScale at{};  ///< meaningless for dynamic ranges
};

/// How an input is made ready for a product: multiplied channel by channel, rotated, then rounded. By
/// default it stays as it is.
struct InputMap {
  std::vector<real> multiply{};      ///< [in_features]; empty: by 1
  std::vector<std::int8_t> signs{};  ///< of the rotation, +1 or -1 [in_features]; empty: none
  std::optional<InputQuantizer> round{};
};

/// Checks what was read from an artefact: Fault::input naming `where` unless a static scale is
/// positive and finite and the zero point is a code (0 on a symmetric grid).
void validate(const InputQuantizer& input, std::string_view where);

/// Usage error naming `op` for a spec that is not valid or a static range without a scale.
void check_calibrated(const ActivationSpec& spec, const UnitScale& at, std::string_view op);
/// The grid of integers as the kernels take it; `at` where the range is static.
RowGrid row_grid(const ActivationSpec& spec, const UnitScale& at);

/// A spec in words: "int8 symmetric dynamic", "int8 asymmetric static mse", "e4m3 dynamic".
std::string name_of(const ActivationSpec& spec);

/// {"bits":8,"symmetric":true,"range":"static","observer":"percentile","percentile":99.99}; the
/// last two only where they mean something, "grid" only of e4m3. Reading checks keys and values (Fault::input naming
/// `where`).
Json to_json(const ActivationSpec& spec);
ActivationSpec activation_spec_from_json(const Json& json, std::string_view where);

}  // namespace notch::quant
