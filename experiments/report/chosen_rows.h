// Some rows of a run: a report of these alone, as if no other had been made.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/run/results.h"

namespace notch::experiments {

/// The rows whose method, label or name matches one of `patterns` ("qat-*,gptq*": `*` stands for any
/// text), fp32, and the controls that they are made of or compared with. Best rows, comparisons and
/// Holm's correction are then among these; the share of round-to-nearest's loss wants a row of it.
/// Usage error naming `where` for a pattern that no row matches.
std::vector<SeedResults> chosen_rows(std::vector<SeedResults> seeds, std::string_view patterns,
                                     std::string_view where);

}  // namespace notch::experiments
