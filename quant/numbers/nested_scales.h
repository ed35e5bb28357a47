// Scales of scales, in two forms.
//
// Nested: double quantization (QLoRA, Dettmers et al. 2023, arXiv:2305.14314, section 3, as
// bitsandbytes has it). The scales s of a matrix, in storage order, become s ≈ mean + level(c) · a: `mean` of them all, a
// the largest |s - mean| of each kNestedBlock of them, c a byte. The 256 levels are bitsandbytes'
// dynamic map: of each power of ten 10⁰ … 10⁻⁶ the centres of 64, 32, … 1 equal parts of its last
// nine tenths, of both signs, 0 and 1.
// In a file: the bytes [units], then a [blocks] and the mean, float32.
// Deviations: a scale stays positive (the next byte up is taken where the nearest would give 0 or
// less); units that round to zero whatever their scale do not count in the mean.
//
// Bilevel: SpQR (Dettmers et al. 2023, arXiv:2306.03078, section 4.2). The scales s of kBilevelRows
// rows, in one column of units, become s ≈ minimum + c · step, c of kBilevelBits bits: minimum is their
// least, step the rest of their range over 7, both float16.
// In a file: c like codes (quant/store/pack.h), row by row, then all steps and all minima [blocks of
// rows, units per row]. With one scale per tensor that is one row of one.
// Deviations: the minimum is stored itself, not as a zero point, so that no scale is 0; units of zeros do
// not count in the range.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// The levels, ascending, as float32.
const std::array<float, 256>& nested_levels();

/// Replaces the f32 scales of q, whose spec says nested or bilevel, by what is stored of them, unless they
/// are that already. Codes stay: they were chosen before. For any other spec it does nothing.
void nest_scales(QTensor& q);

/// The scales [units] of their stored form. Fault::input naming `where` for numbers that are not
/// finite, a scale that is not positive, bits behind the last of a row.
std::vector<real> unnest_scales(std::span<const std::uint8_t> stored, const Spec& spec,
                                std::int64_t rows, std::int64_t cols, std::string_view where);

/// Makes room for the stored form of q's bilevel scales.
void reserve_bilevel(QTensor& q);
/// Rounds the bilevel scales of the rows [first, first + kBilevelRows) in one column of units, and stores
/// them; `first` is a multiple of kBilevelRows. Rows whose `counts` is 0 have no say in the range.
void round_bilevel(QTensor& q, std::int64_t first, std::int64_t unit,
                   std::span<const std::uint8_t> counts);

}  // namespace notch::quant
