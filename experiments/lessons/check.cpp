#include "experiments/lessons/check.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/temporary_folder.h"

namespace notch::lessons {
namespace {

// CMake's lists, joined by '|': the compiler with its flags, and what a program is linked with.
constexpr std::string_view kCompile = NOTCH_STUDENT_COMPILE, kLibraries = NOTCH_STUDENT_LIBRARIES;

void append(std::vector<std::string>& command, std::string_view list) {
  std::istringstream parts{std::string(list)};
  for (std::string part; std::getline(parts, part, '|');) {
    if (!part.empty()) command.push_back(part);
  }
}

/// Runs a command to its end: its exit code, or 128 + the signal that ended it.
int run(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& part : command) arguments.push_back(part.data());
  arguments.push_back(nullptr);
  std::cout << std::flush;
  const pid_t child = ::fork();
  check(child >= 0, "notch lesson", "no process can be started: ", ::strerror(errno));
  if (child == 0) {
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

fs::path skeleton(const Lesson& lesson) {
  return fs::path(NOTCH_SOURCE_DIR) / "experiments/lessons/exercises" /
         str(lesson.number, '_', lesson.name, ".cpp");
}

void require_exercise(const Lesson& lesson, const fs::path& file) {
  check(fs::exists(skeleton(lesson)), "notch lesson check", "lesson ", lesson.number,
        " has no exercise; there is none at ", skeleton(lesson).string());
  if (!fs::is_regular_file(file)) {
    throw Error({.fault = Fault::io,
                 .where = file.string(),
                 .what = "is not a file",
                 .hint = str("cp ", skeleton(lesson).string(), " ", file.string())});
  }
}

int check_exercise(const Lesson& lesson, const fs::path& file) {
  require_exercise(lesson, file);
  const DirectoryWriter place = temporary_directory("notch-lesson");
  const std::string program = (place.temporary() / "exercise").string();
  std::vector<std::string> command;
  append(command, kCompile);
  command.insert(command.end(), {"-DNOTCH_STUDENT", "-x", "c++", fs::absolute(file).string(), "-x",
                                 "none", "-o", program});
  append(command, kLibraries);
  const int built = run(command);
  if (built != 0) {
    throw Error({.fault = Fault::input,
                 .where = file.string(),
                 .what = built == 127 ? "the compiler of this build was not found"
                                      : "does not compile; the compiler says why above",
                 .found = command[0]});
  }
  const int code = run({program});
  if (code > 128) {
    throw Error(
        {.fault = Fault::input,
         .where = file.string(),
         .what = str("was ended by signal ", code - 128, " (", ::strsignal(code - 128), ")"),
         .hint = "11: an index outside of a vector, or a recursion without an end"});
  }
  return code;
}

}  // namespace notch::lessons
