#include "experiments/run/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace signals_test {

using namespace notch::experiments;

namespace fs = std::filesystem;

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

// As another process does. (What a process raises itself does not ask it to stop.)
void send(int signal_number) { ::kill(::getpid(), signal_number); }

TEST_CASE("the first signal only asks to stop and sets the exit code") {
  const auto after = [](int signal_number) {
    return status_of([&] {
      if (stop_requested() || stop_exit_code() != 0) return 1;
      send(signal_number);
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
      send(first);
      send(second);
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
        send(SIGTERM);
        if (later) send(SIGTERM);
        if (!stop_requested()) return 1;
      }
      return 3;
    });
  };
  CHECK(twice(true) == 143);  // at its end
  CHECK(twice(false) == 3);   // one signal only asks
  CHECK(status_of([] {
          { const QuitLater over; }
          send(SIGINT);
          send(SIGINT);
          return 3;
        }) == 130);
}

TEST_CASE("a closed pipe does not kill, an ignored hang-up stays so") {
  CHECK(status_of([] {
          send(SIGPIPE);
          return stop_requested() ? 1 : 0;
        }) == 0);
  CHECK(status_of([] {
          ::signal(SIGHUP, SIG_IGN);
          install_signal_handlers();
          send(SIGHUP);
          return stop_requested() ? 1 : 0;
        }) == 0);
}

TEST_CASE("a signal that the process raises itself asks for nothing") {
  CHECK(status_of([] {
          ::raise(SIGINT);
          return stop_requested() ? 1 : 0;
        }) == 0);
}

TEST_CASE("a signal that nobody polls for removes temporaries") {
  const notch::test::TemporaryDirectory dir;
  const pid_t child = ::fork();
  if (child == 0) {
    prepare_signals();
    notch::DirectoryWriter half(dir / "model");
    notch::write_file(half.temporary() / "weights", "half");
    send(SIGTERM);
    for (;;) ::pause();
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
  CHECK(fs::is_empty(dir.path()));
}

TEST_CASE("restored signals end the process again") {
  CHECK(status_of([] {
          restore_signals();
          send(SIGTERM);
          return 0;
        }) == 128 + SIGTERM);
}

}  // namespace signals_test
