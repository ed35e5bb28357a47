// The program: parse, dispatch, and turn what went wrong into a message and an exit code.
//
// Exit codes: 0 done; 2 usage or configuration, 3 input, 4 operating system, 5 numbers that are not
// finite, 6 a verification failed; 130 and 143 interrupted; 141 the reader of stdout left before the
// end, as in `notch ... | head`; 1 a defect of the program.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "autograd/base/error.h"
#include "experiments/machine/machine.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"

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
    return command.run(args);
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

}  // namespace

int main(int argc, char** argv) {
  // Every verb finishes its work whoever reads its output; main has the one answer to a reader that
  // left, the code that a shell gives for SIGPIPE.
  ::signal(SIGPIPE, SIG_IGN);
  try {
    const int code = dispatch({argv + 1, argv + argc});
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
  } catch (const std::filesystem::filesystem_error& e) {
    return report(e.what(), static_cast<int>(Fault::io));
  } catch (const std::exception& e) {
    return report(str("unexpected: ", e.what()), 1);
  }
}
