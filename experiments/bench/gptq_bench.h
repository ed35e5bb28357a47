// What GPTQ costs: the layers of a shape one by one, and the whole model as `notch quantize` and a
// row of the table round it.
#pragma once

#include <span>
#include <string>

#include "experiments/bench/training_bench.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// One row per matrix of the first block and the head: seconds of the second moments of
/// calib.windows contexts of random inputs, of the factorization alone, and of quant::gptq, which
/// factorizes, rounds and measures; each the least of `rounds`. A last row has the seconds of the
/// whole model, once, with its forward passes. Given `layers`, only the matrices whose names end
/// so. So for every width of the configuration, with its grid and settings there, and activations in
/// floating point. Usage error for an end that no name has.
Table bench_gptq(const BenchSubject& subject, int rounds, std::span<const std::string> layers = {});

}  // namespace notch::experiments
