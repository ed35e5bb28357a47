// The program: parse, dispatch, and turn what went wrong into a message and an exit code.
//
// Exit codes: 0 done; 2 usage or configuration, 3 input, 4 operating system, 5 numbers that are not
// finite, 6 a verification failed; 130 and 143 interrupted; 141 the reader of stdout left before the
// end, as in `notch ... | head`; 1 a defect of the program.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"
#include "experiments/run/signals.h"

namespace {

using namespace notch;
using namespace notch::experiments;

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1 && (arguments[0] == "--version" || arguments[0] == "-v")) {
    std::cout << version_text() << '\n';
    return 0;
  }
  std::vector<Verb> verbs;
  for (const Command& command : commands()) verbs.push_back(command.verb);
  const Args args = parse_args(verbs, arguments);
  if (args.verb.empty()) {
    (args.help() ? std::cout : std::cerr) << help_text(verbs);
    return args.help() ? 0 : static_cast<int>(Fault::usage);
  }
  for (const Command& command : commands()) {
    if (command.verb.name != args.verb) continue;
    if (args.help()) {
      std::cout << help_text(command.verb);
      return 0;
    }
    require_inputs_kept(command.verb, args);
    require_outputs_possible(command.verb, args);
    const int code = command.run(args);
    for (const std::string& line : last_notes()) note(args, line);
    return code;
  }
  return static_cast<int>(Fault::usage);
}

/// Whether stdout is a pipe or socket that nobody reads any more.
bool reader_left() {
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int report(const std::string& what, int code) {
  std::cout << std::flush;
  std::cerr << "error: " << what << '\n';
  return code;
}

/// The next file or pipe would get the number of a standard descriptor that is closed, and be read as stdin
/// or written to as stdout: each is /dev/null then, opened so that reading or writing fails.
void occupy_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/// OpenBLAS starts threads when it is loaded, and each waits for ever for memory that a limit denies
/// it; the program's end then waits for them. With a limit the program starts again without them:
/// it calls OpenBLAS from threads of its own.
void restart_without_blas_threads(char** argv) {
  const auto limited = [](auto resource) {
    rlimit limit{};
    return ::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  };
  constexpr const char* kThreads = "OPENBLAS_NUM_THREADS";
  if (::getenv(kThreads) || (!limited(RLIMIT_AS) && !limited(RLIMIT_DATA))) return;
  if (::setenv(kThreads, "1", 1) == 0) ::execv("/proc/self/exe", argv);
}

/// A stack as long as the limit is what the main thread and each of the pool's have; blocks of a product
/// take up to 151 KB in one frame, and OpenBLAS frames of its own.
void require_stack() {
  constexpr rlim_t kLeast = rlim_t{512} << 10;
  rlimit limit{};
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kLeast) return;
  throw Error({.fault = Fault::io,
               .where = "notch",
               .what = "the stack is limited too narrowly",
               .found = str(limit.rlim_cur >> 10, " KiB"),
               .expected = str("at least ", kLeast >> 10, " KiB"),
               .hint = "raise the limit: ulimit -s 8192"});
}

/// What went wrong and the exit code for it.
int run(const std::vector<std::string>& arguments) {
  try {
    require_stack();
    const int code = dispatch(arguments);
    std::cout << std::flush;
    if (code == 0 && !std::cout.good()) {
      return reader_left() ? 128 + SIGPIPE : report("stdout cannot be written", 4);
    }
    return code;
  } catch (const Error& e) {
    return report(e.what(), static_cast<int>(e.fault()));
  } catch (const std::bad_alloc&) {
    return report(
        "not enough memory\nhint: a smaller model, batch or context needs less; `notch doctor` "
        "shows what there is",
        4);
  } catch (const std::length_error& e) {
    return report(str("more than memory can be asked for: ", e.what()), 4);
  } catch (const std::filesystem::filesystem_error& e) {
    const std::string where = e.path1().empty() ? "the current directory" : e.path1().string();
    return report(Error({.fault = Fault::io, .where = where, .what = e.code().message()}).what(),
                  static_cast<int>(Fault::io));
  } catch (const std::system_error& e) {  // of threads
    return report(printable_lines(e.what()), static_cast<int>(Fault::io));
  } catch (const std::exception& e) {
    return report(str("unexpected: ", printable_lines(e.what())), 1);
  }
}

/// Before any library is initialized: OpenBLAS raises SIGINT when it gets no thread, which would end
/// the program before it has begun.
bool interrupt_waits = false;
void hold_interrupt() { interrupt_waits = ::signal(SIGINT, SIG_IGN) == SIG_DFL; }
#ifndef NOTCH_SANITIZED  // whose libraries come first
__attribute__((section(".preinit_array"), used)) void (*const first)() = hold_interrupt;
#endif

}  // namespace

int main(int argc, char** argv) {
  if (interrupt_waits) ::signal(SIGINT, SIG_DFL);
  occupy_standard_descriptors();
  restart_without_blas_threads(argv);
  // Every verb finishes its work whoever reads its output; main has the one answer to a reader that
  // left, the code that a shell gives for SIGPIPE.
  prepare_signals();
  const int code = run({argv + 1, argv + argc});
  restore_signals();
  return code;
}
