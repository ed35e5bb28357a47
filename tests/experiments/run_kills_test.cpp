// A whole run that is killed: at every system call that changes files, and after every step of every
// training. What is resumed ends as if nothing had been, and nothing is left behind.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <thread>
#include <vector>

#include "autograd/base/file_calls.h"
#include "autograd/base/thread_pool.h"
#include "tests/experiments/short_run.h"

namespace notch::experiments::run_kills_test {

constexpr int kDied = 17;

/// While one lives there are no threads but this one: a child of fork() has no others.
class OneThread {
 public:
  OneThread() { set_threads(1); }
  ~OneThread() { set_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = threads();
};

/// A process that does `work` and nothing else.
template <class Work>
pid_t child_of(const Work& work) {
  std::cout << std::flush;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child > 0) return child;
  try {
    const UnsyncedWrites fast;
    work();
  } catch (...) {
    std::cout << std::flush;  // what Catch says of an assertion
    ::_exit(1);
  }
  ::_exit(0);
}

int status_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) REQUIRE(errno == EINTR);
  return status;
}

/// Whether a system call changes what is on the disk. Between two of them a kill leaves the same.
bool changes_files(const __ptrace_syscall_info& info) {
  const auto opens = [&](std::uint64_t flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; };
  switch (info.entry.nr) {
#ifdef SYS_open
    case SYS_open:
      return opens(info.entry.args[1]);
    case SYS_rename:
    case SYS_mkdir:
    case SYS_unlink:
    case SYS_rmdir:
#endif
    case SYS_write:
    case SYS_pwrite64:
    case SYS_ftruncate:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_mkdirat:
    case SYS_unlinkat:
      return true;
    case SYS_openat:
      return opens(info.entry.args[2]);
    default:
      return false;
  }
}

enum class End : std::uint8_t { killed, done, not_traced };

/// Does `work` in a process that is killed before its N-th call that changes files.
template <class Work>
End killed_at(long number, const Work& work) {
  const pid_t child = child_of([&] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(kDied);
    ::raise(SIGSTOP);
    work();
  });
  int status = status_of(child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kDied) return End::not_traced;
  REQUIRE(WIFSTOPPED(status));
  REQUIRE(::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) ==
          0);
  int signal = 0;
  for (long seen = 0;;) {
    REQUIRE(::ptrace(PTRACE_SYSCALL, child, nullptr, signal) == 0);
    status = status_of(child);
    if (WIFEXITED(status)) {
      REQUIRE(WEXITSTATUS(status) == 0);
      return End::done;
    }
    REQUIRE(WIFSTOPPED(status));
    const bool is_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
    signal = is_call ? 0 : WSTOPSIG(status);
    __ptrace_syscall_info info{};
    if (!is_call || ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) <= 0) continue;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes_files(info) || ++seen < number) continue;
    ::kill(child, SIGKILL);
    REQUIRE(WIFSIGNALED(status_of(child)));
    return End::killed;
  }
}

/// Kills a run of its own before its calls `number`, `number` + `step` and so on: how often, or -1 where
/// no process may be traced.
long kill_and_resume(long number, long step) {
  const test::ShortRun run;
  for (long kills = 0;; ++kills, number += step) {
    INFO("killed before change " << number);
    const End end = killed_at(number, [&] { run.run(); });
    if (end == End::not_traced) return -1;
    run.go_on();
    if (end == End::done) return kills;
  }
}

TEST_CASE("a run that is killed at any system call is resumed") {
  const OneThread one;
  // Several side by side: each kill is little work, and much waiting for it. A training of its own that
  // every one begins with is what more of them would cost.
  const long step = test::stride(41),
             workers = std::clamp(static_cast<long>(std::thread::hardware_concurrency()), 1L, 4L);
  int ends[2] = {-1, -1};
  REQUIRE(::pipe(ends) == 0);
  std::vector<pid_t> children;
  for (long worker = 0; worker < workers; ++worker) {
    children.push_back(child_of([&] {
      const long kills = kill_and_resume(1 + worker * step, workers * step);
      REQUIRE(::write(ends[1], &kills, sizeof kills) == sizeof kills);
    }));
  }
  ::close(ends[1]);
  for (const pid_t child : children) {
    const int status = status_of(child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  bool traced = true;
  long all = 0;
  for (long kills = 0; ::read(ends[0], &kills, sizeof kills) == sizeof kills;) {
    traced = traced && kills >= 0;
    all += kills;
  }
  ::close(ends[0]);
  if (traced)
    CHECK(all > 10);
  else
    WARN("skipped: this system lets no process trace its child");
}

/// Dies when `rename` has put a checkpoint in its place.
const FileCalls& deadly_calls() {
  static const FileCalls calls = [] {
    FileCalls all = system_file_calls();
    all.rename = [](const char* from, const char* to) {
      const int result = ::rename(from, to);
      const std::string_view place = to;
      if (place.find("/ckpt/") != place.npos && place.find(".tmp-") == place.npos) ::_exit(kDied);
      return result;
    };
    return all;
  }();
  return calls;
}

TEST_CASE("a run that dies after every step ends as any other") {
  ExperimentConfig config = test::short_experiment();
  config.train.checkpoint_every = 1;
  config.quant.methods = {"gptq", "gptaq", "awq", "qat-ste", "qat-lsq", "qat-lsq-kd", "qlora"};
  const OneThread one;
  const test::ShortRun run(config);
  int deaths = 0;
  for (bool died = true; died;) {
    const int status = status_of(child_of([&] {
      use_file_calls(deadly_calls());
      run.run();
    }));
    REQUIRE(WIFEXITED(status));
    died = WEXITSTATUS(status) == kDied;
    if (!died) REQUIRE(WEXITSTATUS(status) == 0);
    REQUIRE(++deaths < 200);
  }
  // Six steps of fp32, four of the control and of the four arms.
  CHECK(deaths - 1 == 6 + 5 * 4);
  run.go_on();
}

}  // namespace notch::experiments::run_kills_test
