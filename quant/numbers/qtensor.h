// QTensor: a matrix on integers, and the only way on and off them.
//
// Invariant: w ~ level(q - zero_point) · scale, element by element, with the scale and zero point of
// the element's unit (quant/numbers/spec.h); among the integers a code is its own level, and of formats with
// levels of their own quant/numbers/own_levels.h says what it stands for. RTN, GPTQ and the export of QAT all produce this type through the
// same arithmetic (quant/kernels/round.h), so that a comparison of methods compares methods.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// One scale per unit, already rounded to the spec's stored type, and one zero point per unit
/// (a code: qmin <= z <= qmax), or none for the symmetric grids. Of the learned grid the scales are levels,
/// scales_per_unit ascending ones per unit.
struct Scales {
  std::vector<real> scales{};
  std::vector<std::int8_t> zero_points{};
  /// Of scales with scales of their own: their stored form (quant/numbers/nested_scales.h). Empty until
  /// nest_scales, and in a part of a matrix.
  std::vector<std::uint8_t> nested{};
  /// GridKind::additive alone: the codebooks' numbers, codebook_numbers(spec, rows, cols) of the whole
  /// matrix, in a part of it too (quant/numbers/additive_codes.h).
  std::vector<real> codebooks{};
};

struct QTensor {
  Spec spec{};
  std::int64_t rows = 0;             ///< out features
  std::int64_t cols = 0;             ///< in features
  std::vector<std::int8_t> codes{};  ///< [rows, cols], row-major, within grid_of(spec)
  Scales at{};                       ///< unit_count(spec, rows, cols) units' entries
  bool operator==(const QTensor& other) const;
};

/// q = clamp(round_half_even(w / scale) + zero_point, qmin, qmax).  w [rows, cols]. (Other grids: the
/// code of the level nearest to w/scale, quant/kernels/grid.h.)
/// Errors name `where` (the layer): usage for sizes that do not fit the spec; numeric for a weight
/// (with its row and column) or scale (with its unit) that is not finite, or a scale of 0.
QTensor quantize(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                 Scales scales, std::string_view where);

/// Usage Error unless codes, scales and zero points are as many as the spec and shape say.
void require_whole(const QTensor& q, std::string_view where);

/// out [rows, cols] = level(q - zero_point) · scale: one subtraction of integers or one look-up, one
/// multiplication.
void dequantize(const QTensor& q, std::span<real> out);
std::vector<real> dequantize(const QTensor& q);

/// Checks what was read from a file: Fault::input naming `where` unless sizes fit the spec,
/// codes and zero points are inside the grid, and scales are finite, not 0, and positive unless the
/// format has signed ones; levels finite and ascending, codebooks' numbers finite.
void validate(const QTensor& q, std::string_view where);

/// Numeric error naming `where`, row and column of the first weight that is not finite.
void require_finite(std::span<const real> w, std::int64_t cols, std::string_view where);

}  // namespace notch::quant
