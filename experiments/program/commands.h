// The verbs of the program: their declarations and what they run.
//
// One file per verb, `<verb>_command.cpp`; notch.cpp parses and dispatches. A command returns the
// program's exit code (0, or 130 or 143 when it was interrupted) and throws notch::Error otherwise.
// Data goes to stdout, progress and notes to stderr.
//
// experiments/program/ is the command line: a file per verb, and what verbs share.
// May include: experiments/lessons, experiments/bench, experiments/report, experiments/run,
// experiments/train, experiments/config, experiments/show, experiments/machine, quant, optim, nn,
// data, autograd.
#pragma once

#include <vector>

#include "experiments/program/args.h"

namespace notch::experiments {

int run_command(const Args& args);
int train_command(const Args& args);
int report_command(const Args& args);
int advise_command(const Args& args);
int quantize_command(const Args& args);
int narrow_command(const Args& args);
int export_command(const Args& args);
int imatrix_command(const Args& args);
Verb imatrix_verb(const Positional& model);
int eval_command(const Args& args);
std::vector<Flag> eval_flags();
int sample_command(const Args& args);
int bench_inference_command(const Args& args);
int tokenize_command(const Args& args);
int inspect_command(const Args& args);
int verify_command(const Args& args);
int graph_command(const Args& args);
int lesson_command(const Args& args);
int new_command(const Args& args);
int config_command(const Args& args);
int bench_command(const Args& args);
int doctor_command(const Args& args);

// The flags of a verb may stand beside what reads them.
Verb narrow_verb();
Verb advise_verb();
std::vector<Flag> sample_flags();

struct Command {
  Verb verb{};
  int (*run)(const Args& args) = nullptr;
};

/// All verbs, in the order of the help.
const std::vector<Command>& commands();

}  // namespace notch::experiments
