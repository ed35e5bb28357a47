// Outliers: a model whose inputs have a few channels far larger than the rest, as large language
// models come to have by training (Dettmers et al. 2022, arXiv:2208.07339, section 4), made of one
// that has none.
//
// In every norm whose output linears read, some channels of scale and bias are multiplied by f, 30
// to 100, and the columns that read them divided by f: the same function in real numbers, in floats
// up to rounding. What rounds the input, or those columns, by the size of its neighbours loses them:
// LLM.int8(), SmoothQuant, AWQ and rotations are for that.
#pragma once

#include <cstdint>

#include "nn/model.h"

namespace notch::quant {

inline constexpr double kLeastOutlier = 30, kLargestOutlier = 100;

/// `channels` of every such norm, drawn from the seed, each with a factor of its own between the
/// two bounds. Usage error when a norm has fewer channels.
void add_outliers(nn::Model& model, int channels, std::uint64_t seed);

}  // namespace notch::quant
