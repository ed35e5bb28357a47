// notch lesson: the list of lessons, or one of them.
#include <filesystem>
#include <iostream>

#include "autograd/base/error.h"
#include "experiments/command_tools.h"
#include "experiments/commands.h"
#include "experiments/lessons/lesson.h"

namespace notch::experiments {
namespace {

int list_lessons() {
  for (const lessons::Lesson& lesson : lessons::lessons()) {
    std::cout << lesson.number << "  " << lesson.name << ": " << lesson.title << '\n';
  }
  return 0;
}

int run_lesson(const Args& args) {
  const lessons::Lesson& lesson = lessons::find_lesson(args.positionals[0]);
  const fs::path out = args.value("out").value_or(".");
  check(fs::is_directory(out), "--out", out.string(), " is not a directory");
  std::cout << "Lesson " << lesson.number << ": " << lesson.title << "\nYou learn "
            << lesson.teaches << ".\nRead beside this: " << lesson.source() << '\n';
  lessons::Page page(std::cout, out);
  lesson.run(page);
  return 0;
}

}  // namespace

int lesson_command(const Args& args) {
  return args.positionals[0] == "list" ? list_lessons() : run_lesson(args);
}

}  // namespace notch::experiments
