// The handlers use only what POSIX calls async-signal-safe, and lock-free atomics.
#include "experiments/run/signals.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace notch::experiments {

namespace {

constexpr std::int64_t kAgainMilliseconds = 2000;
constexpr char kMessage[] =
    "\nstopping after this step; a second signal within 2 s quits at once\n";

std::atomic<int> last_signal{0};
std::atomic<std::int64_t> last_time{0};
std::atomic<int> quit_later{0};  // objects of QuitLater alive
std::atomic<bool> quit{false};   // one of them was asked to
static_assert(std::atomic<bool>::is_always_lock_free);
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<std::int64_t>::is_always_lock_free);

int exit_code_of(int signal_number) {
  return signal_number == 0 ? 0 : signal_number == SIGINT ? 130 : 143;
}

extern "C" void notch_on_stop_signal(int signal_number) {
  const int saved_errno = errno;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t ms = std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
  if (last_signal != 0 && ms - last_time <= kAgainMilliseconds) {
    if (quit_later == 0) ::_exit(exit_code_of(signal_number));
    quit = true;
  }
  last_time = ms;
  last_signal = signal_number;
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  errno = saved_errno;
}

}  // namespace

void install_signal_handlers() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(number, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = notch_on_stop_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    for (const int other : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&action.sa_mask, other);
    ::sigaction(number, &action, nullptr);
  }
  ::signal(SIGPIPE, SIG_IGN);
}

QuitLater::QuitLater() { ++quit_later; }

QuitLater::~QuitLater() {
  if (--quit_later == 0 && quit) ::_exit(stop_exit_code());
}

bool stop_requested() { return last_signal.load(std::memory_order_relaxed) != 0; }

int stop_exit_code() { return exit_code_of(last_signal); }

}  // namespace notch::experiments
