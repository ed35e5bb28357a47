// notch inspect --svd: how low the rank of a model's matrices could be.
#pragma once

#include <filesystem>

#include "experiments/program/args.h"

namespace notch::experiments {

/// Of every Linear of the model in a directory, as it multiplies (quantized ones as their values): the
/// singular values as a row of bars, where they bend, the ranks that hold 90 and 99 % of their energy,
/// and what two factors of that rank would take of the matrix's numbers.
void inspect_spectrum(const Args& args, const std::filesystem::path& dir);

}  // namespace notch::experiments
