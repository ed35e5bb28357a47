// SIGINT, SIGTERM and SIGHUP ask the run to stop after the current step; a second one within two
// seconds ends the process at once. The last complete checkpoint stays intact either way
// (checkpoints are renamed into place). Commands without steps end at once, but without leaving
// what they had begun to write.
#pragma once

namespace notch::experiments {

/// For the whole program, first: ignores SIGPIPE, so that `notch … | head` does not kill a run, and
/// SIGXFSZ, so that a file at its limit is an error as a full disk is. The three signals remove the
/// temporaries of this process (autograd/base/files.h) and then end it. A signal that was ignored
/// when the program started (nohup, background jobs) stays ignored.
void prepare_signals();

/// For commands that poll stop_requested(): from now on the three signals only ask.
void install_signal_handlers();

/// As the system had them: while a program ends nobody asks any more.
void restore_signals();

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
