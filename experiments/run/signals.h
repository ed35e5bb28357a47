// SIGINT, SIGTERM and SIGHUP ask the run to stop after the current step; a second one within two
// seconds ends the process at once. The last complete checkpoint stays intact either way
// (checkpoints are renamed into place).
#pragma once

namespace notch::experiments {

/// Installs the handlers, and ignores SIGPIPE so that `notch … | head` does not kill a run. A
/// signal that was ignored when the program started (nohup, background jobs) stays ignored.
void install_signal_handlers();

/// Whether a signal has asked to stop. Cheap; for every step and every window of an evaluation.
bool stop_requested();

/// While one lives, a second signal waits for it: for work of moments that has to tidy up. The
/// destructor then ends the process as the signal would have; what is declared after it is gone by
/// then.
class QuitLater {
 public:
  QuitLater();
  ~QuitLater();
  QuitLater(const QuitLater&) = delete;
  QuitLater& operator=(const QuitLater&) = delete;
};

/// 130 after SIGINT, 143 after SIGTERM or SIGHUP, 0 without a signal: the program's exit code.
int stop_exit_code();

}  // namespace notch::experiments
