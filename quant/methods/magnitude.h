// Magnitude pruning: the smallest weights become zero (Han et al. 2015, arXiv:1506.02626), of a layer
// together (unstructured) or N of every M. No inputs are read.
#pragma once

#include "quant/methods/prune.h"

namespace notch::quant {

/// |w|
std::vector<double> magnitudes_of(std::span<const real> w);

extern const Pruner kMagnitude;

}  // namespace notch::quant
