// Resume: what a run was begun with, and what of it a continuation keeps.
//
// Contents are compared, never places: text, tokenizer and the model that fp32 begins as by their
// SHA-256 (inputs.json), the configuration by the values that move a number. fp32's training must be that of the run; a row
// stays where the settings that it uses are the same, and is made again where not
// (experiments/config/config_effects.h says both).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/run/run_dir.h"
#include "experiments/run/setup.h"

namespace notch::experiments {

/// Makes `dir` the directory of this run: writes its configuration and the hashes of what it reads.
/// On --resume what is there is compared first. Throws Fault::mismatch for other contents, naming
/// both hashes, and Fault::usage for another training of fp32; removes the results of rows whose
/// settings changed. Returns what the user should know, a line each.
std::vector<std::string> begin_run(const RunDir& dir, const ExperimentConfig& config,
                                   const Data& data);

/// The first setting that keeps results of both configurations out of one table: of fp32's training,
/// or of a row that both have. Places, seeds and which rows there are may differ.
std::optional<Override> first_conflict(const ExperimentConfig& a, const ExperimentConfig& b);

}  // namespace notch::experiments
