// The verbs of the program: how each is declared, and what it runs.
//
// `<verb>_command.cpp` has both (train's is run_command.cpp), commands.cpp the order of the help; notch.cpp
// parses and dispatches. What a verb runs returns the program's exit code (0, or 130 or 143 when it was
// interrupted) and throws notch::Error otherwise. Data goes to stdout, progress and notes to stderr.
//
// experiments/program/ is the command line: a file per verb, and what verbs share.
// May include: experiments/lessons, experiments/bench, experiments/report, experiments/run,
// experiments/train, experiments/config, experiments/show, experiments/machine, quant, optim, nn,
// data, autograd.
#pragma once

#include <vector>

#include "experiments/program/args.h"

namespace notch::experiments {

struct Command {
  Verb verb{};
  int (*run)(const Args& args) = nullptr;
};

Command run_verb();
Command train_verb();
Command report_verb();
Command advise_verb();
Command quantize_verb();
Command narrow_verb();
Command export_verb();
Command imatrix_verb();
Command eval_verb();
Command sample_verb();
Command tokenize_verb();
Command inspect_verb();
Command verify_verb();
Command graph_verb();
Command lesson_verb();
Command new_verb();
Command config_verb();
Command bench_verb();
Command doctor_verb();

/// All verbs, in the order of the help.
const std::vector<Command>& commands();

}  // namespace notch::experiments
