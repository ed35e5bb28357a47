#include "experiments/program/commands.h"

namespace notch::experiments {

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      run_verb(),      train_verb(),   report_verb(),  advise_verb(), quantize_verb(),
      narrow_verb(),   export_verb(),  imatrix_verb(), eval_verb(),   sample_verb(),
      tokenize_verb(), inspect_verb(), verify_verb(),  graph_verb(),  lesson_verb(),
      new_verb(),      config_verb(),  bench_verb(),   doctor_verb(),
  };
  return all;
}

}  // namespace notch::experiments
