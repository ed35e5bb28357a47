#include "experiments/run/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.h"

using namespace notch::experiments;

namespace {

/// The exit status of a child that runs `body` with the handlers installed and stderr closed; 128 +
/// N when signal N killed it.
template <class Body>
int status_of(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDERR_FILENO);
    install_signal_handlers();
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("the first signal only asks to stop and sets the exit code") {
  const auto after = [](int signal_number) {
    return status_of([&] {
      if (stop_requested() || stop_exit_code() != 0) return 1;
      ::raise(signal_number);
      return stop_requested() ? stop_exit_code() : 2;
    });
  };
  CHECK(after(SIGINT) == 130);
  CHECK(after(SIGTERM) == 143);
  CHECK(after(SIGHUP) == 143);
}

TEST_CASE("a second signal ends the process at once with its code") {
  const auto twice = [](int first, int second) {
    return status_of([&] {
      ::raise(first);
      ::raise(second);
      return 3;
    });
  };
  CHECK(twice(SIGINT, SIGINT) == 130);
  CHECK(twice(SIGINT, SIGTERM) == 143);
  CHECK(twice(SIGTERM, SIGHUP) == 143);
}

TEST_CASE("a second signal waits for what has to tidy up") {
  const auto twice = [](bool later) {
    return status_of([&] {
      {
        const QuitLater outer, inner;
        ::raise(SIGTERM);
        if (later) ::raise(SIGTERM);
        if (!stop_requested()) return 1;
      }
      return 3;
    });
  };
  CHECK(twice(true) == 143);  // at its end
  CHECK(twice(false) == 3);   // one signal only asks
  CHECK(status_of([] {
          { const QuitLater over; }
          ::raise(SIGINT);
          ::raise(SIGINT);
          return 3;
        }) == 130);
}

TEST_CASE("a closed pipe does not kill, an ignored hang-up stays so") {
  CHECK(status_of([] {
          ::raise(SIGPIPE);
          return stop_requested() ? 1 : 0;
        }) == 0);
  CHECK(status_of([] {
          ::signal(SIGHUP, SIG_IGN);
          install_signal_handlers();
          ::raise(SIGHUP);
          return stop_requested() ? 1 : 0;
        }) == 0);
}
