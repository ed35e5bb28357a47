// Rotated inputs: a random Hadamard rotation between two products takes outliers apart before
// anything is rounded (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456; incoherence processing of
// QuIP#, Tseng et al. 2024, arXiv:2402.04396).
//
// With an orthogonal R, x wᵀ = (x R)(w R)ᵀ. What was one channel is then a part of every channel of
// its block, and rows of weights are closer to normal. Rows of the table: round-to-nearest and GPTQ of the
// rotated model.
// Deviation: R is not folded into the matrices before, which only a norm without mean and scale
// would allow, between an untied table and head. It is multiplied on line, in front of every linear of
// the blocks, in O(K log K) per token: exact for every architecture, and the same rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/methods/method.h"

namespace notch::quant {

/// The random signs of an input of so many channels: the same for all inputs of this width.
std::vector<std::int8_t> rotation_signs(std::int64_t cols);

extern const Method kRtnHadamard, kGptqHadamard;

}  // namespace notch::quant
