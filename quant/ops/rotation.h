// A rotation on the tape: what enters a layer whose columns of weights were rotated alike.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/graph.h"

namespace notch::quant {

/// x [.., K] rotated by quant/kernels/hadamard.h. The memory of `signs` [K] must outlive the step.
Var rotate(Var x, std::span<const std::int8_t> signs);

}  // namespace notch::quant
