// notch lesson: the list of lessons, one of them, a judgement of its exercise, or pages for a browser.
#include <filesystem>
#include <iostream>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"
#include "experiments/lessons/check.h"
#include "experiments/lessons/lesson.h"
#include "experiments/lessons/site.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"

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
  std::cout << "Lesson " << lesson.number << ": " << lesson.title << '\n';
  lessons::Page page(std::cout, out);
  page.say(str("You learn ", lesson.teaches, ". Read beside this: ", lesson.source()));
  lesson.run(page);
  if (fs::exists(lessons::skeleton(lesson))) {
    std::cout << "\nExercise: fill the blanks of\n  "
              << printable(lessons::skeleton(lesson).string())
              << "\nand have it judged:\n  notch lesson check " << lesson.number << '\n';
  }
  return 0;
}

int check_lesson(const Args& args) {
  check(args.positionals.size() > 1, "notch lesson check", "which lesson? `notch lesson check 02`");
  const lessons::Lesson& lesson = lessons::find_lesson(args.positionals[1]);
  const fs::path file =
      args.positionals.size() > 2 ? fs::path(args.positionals[2]) : lessons::skeleton(lesson);
  lessons::require_exercise(lesson, file);
  note(args, str("compiling ", printable(file.string()), " ..."));
  return lessons::check_exercise(lesson, file);
}

int lesson_command(const Args& args) {
  if (const auto dir = args.value("html")) {
    check(args.positionals.empty(), "notch lesson --html", "takes no lesson: it writes all pages");
    write_directory(new_directory(args, "html"), lessons::write_site);
    std::cout << printable((fs::path(*dir) / "index.html").string()) << '\n';
    return 0;
  }
  if (args.positionals.empty()) return list_lessons();
  const std::string& what = args.positionals[0];
  check(what == "check" || args.positionals.size() == 1, "notch lesson",
        "takes one lesson, and `check` a file besides");
  return what == "list" ? list_lessons() : what == "check" ? check_lesson(args) : run_lesson(args);
}

}  // namespace

Command lesson_verb() {
  return {
      {.name = "lesson",
       .summary = "learn how it works: short programs that explain what they compute",
       .examples = {"notch lesson list", "notch lesson 01", "notch lesson check 02",
                    "notch lesson check 02 mine.cpp", "notch lesson --html pages"},
       .positionals = {{.name = "list|NAME|check",
                        .help = "the names (so without); a lesson, by number or name; or judge its "
                                "exercise",
                        .required = false},
                       {.name = "NAME", .help = "with check: the lesson", .required = false},
                       {.name = "FILE",
                        .help = "with check: your version; without: the skeleton in "
                                "experiments/lessons/exercises",
                        .required = false}},
       .flags = {{.name = "out",
                  .value = "DIR",
                  .help = "where pictures go",
                  .fallback = "this directory",
                  .path = PathUse::filled},
                 {.name = "html",
                  .value = "DIR",
                  .help = "write four lessons as pages for a browser, to be touched",
                  .path = PathUse::filled}}},
      lesson_command};
}

}  // namespace notch::experiments
