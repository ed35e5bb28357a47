// notch bench of models, by directory or shape; bench_command.cpp has the flags.
#pragma once

#include "experiments/program/args.h"

namespace notch::experiments {

int bench_inference_command(const Args& args);

}  // namespace notch::experiments
