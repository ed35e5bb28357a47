// The handlers use only what POSIX calls async-signal-safe, and lock-free atomics. Removing files is
// not: a thread of its own waits for the handler's word.
#include "experiments/run/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <thread>

#include "autograd/base/files.h"

namespace notch::experiments {

namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr std::int64_t kAgainMilliseconds = 2000;
constexpr char kMessage[] = "\nstopping; a second signal within 2 s quits at once\n";

std::atomic<int> last_signal{0};
std::atomic<std::int64_t> last_time{0};
std::atomic<int> quit_later{0};  // objects of QuitLater alive
std::atomic<bool> quit{false};   // one of them was asked to
static_assert(std::atomic<bool>::is_always_lock_free);
std::atomic<int> word{-1};  // where notch_on_end_signal writes
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<std::int64_t>::is_always_lock_free);

int exit_code_of(int signal_number) {
  return signal_number == 0 ? 0 : signal_number == SIGINT ? 130 : 143;
}

/// Raised by this process itself: OpenBLAS does so with SIGINT where it gets no thread. It goes on
/// without, and so do we; nobody asked us to stop.
bool is_own(const siginfo_t* info) {
  return info && info->si_code == SI_TKILL && info->si_pid == ::getpid();
}

extern "C" void notch_on_stop_signal(int signal_number, siginfo_t* info, void*) {
  if (is_own(info)) return;
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

extern "C" void notch_on_end_signal(int signal_number, siginfo_t* info, void*) {
  if (is_own(info)) return;
  const int saved_errno = errno;
  const auto byte = static_cast<char>(signal_number);
  if (::write(word, &byte, 1) != 1) ::_exit(exit_code_of(signal_number));
  errno = saved_errno;
}

void handle(int number, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction before {};
  ::sigaction(number, nullptr, &before);
  if ((before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  for (const int other : kSignals) ::sigaddset(&action.sa_mask, other);
  ::sigaction(number, &action, nullptr);
}

/// Waits for a signal's number, and ends the process as that signal does.
void end_on_word(int from) {
  char byte = 0;
  ssize_t got = 0;
  do {
    got = ::read(from, &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1 || std::ranges::find(kSignals, byte) == std::end(kSignals)) return;
  abandon_temporaries();
  ::signal(byte, SIG_DFL);
  ::kill(::getpid(), byte);
}

}  // namespace

void prepare_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  try {
    std::thread(end_on_word, ends[0]).detach();
  } catch (const std::system_error&) {  // no thread to be had: the signals end us as they always do
    ::close(ends[0]);
    ::close(ends[1]);
    return;
  }
  word = ends[1];
  for (const int number : kSignals) handle(number, notch_on_end_signal);
}

void install_signal_handlers() {
  for (const int number : kSignals) handle(number, notch_on_stop_signal);
  ::signal(SIGPIPE, SIG_IGN);
}

void restore_signals() {
  for (const int number : kSignals) {
    struct sigaction now {};
    ::sigaction(number, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) != 0) ::signal(number, SIG_DFL);
  }
}

QuitLater::QuitLater() { ++quit_later; }

QuitLater::~QuitLater() {
  if (--quit_later == 0 && quit) ::_exit(stop_exit_code());
}

bool stop_requested() { return last_signal.load(std::memory_order_relaxed) != 0; }

int stop_exit_code() { return exit_code_of(last_signal); }

}  // namespace notch::experiments
