// Nested scales: double quantization, scales of scales (QLoRA, Dettmers et al. 2023,
// arXiv:2305.14314, section 3, as bitsandbytes has it).
//
// The scales s of a matrix, in storage order, become s ≈ mean + level(c) · a: `mean` of them all, a
// the largest |s - mean| of each kNestedBlock of them, c a byte. The 256 levels are bitsandbytes'
// dynamic map: of each power of ten 10⁰ … 10⁻⁶ the centres of 64, 32, … 1 equal parts of its last
// nine tenths, of both signs, 0 and 1.
// In a file: the bytes [units], then a [blocks] and the mean, float32.
// Deviations: a scale stays positive (the next byte up is taken where the nearest would give 0 or
// less); units that round to zero whatever their scale do not count in the mean.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// The levels, ascending, as float32.
const std::array<float, 256>& nested_levels();

/// Replaces the f32 scales of q, whose spec says nested, by what is stored of them. Codes stay: they
/// were chosen before, as in the source. For any other spec it does nothing.
void nest_scales(QTensor& q);

/// The scales [units] of their stored form. Fault::input naming `where` for numbers that are not
/// finite or a scale that is not positive.
std::vector<real> unnest_scales(std::span<const std::uint8_t> stored, std::int64_t units,
                                std::string_view where);

}  // namespace notch::quant
