// What a finished run says at a terminal; notch run and notch report end alike.
#pragma once

#include <filesystem>

#include "experiments/program/args.h"
#include "experiments/report/report.h"

namespace notch::experiments {

/// The table as -o says, or for people: short, or with --wide all of it; then where the files are.
void print_report(const Args& args, const Report& report, const std::vector<SeedResults>& seeds,
                  const std::filesystem::path& directory);

}  // namespace notch::experiments
