// Exercises: a solution passes, a skeleton fails and says where, and both are close together.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "experiments/lessons/judges.h"
#include "experiments/lessons/lesson.h"
#include "tests/experiments/program.h"
#include "tests/folders.h"

namespace exercises_test {

using namespace notch;
namespace fs = std::filesystem;

const fs::path kSkeletons = test::source_dir() / "experiments/lessons/exercises";
const fs::path kSolutions = test::source_dir() / "tests/lessons/solutions";

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

/// Lines of `a` that `b` lacks, counted with their repetitions.
int lines_without(const std::string& a, const std::string& b) {
  std::map<std::string, int> left;
  std::istringstream other(b), own(a);
  for (std::string line; std::getline(other, line);) ++left[line];
  int missing = 0;
  for (std::string line; std::getline(own, line);) missing += --left[line] < 0;
  return missing;
}

TEST_CASE("a solution passes and a skeleton says where it is blank") {
  std::set<std::string> solved, blank;
  for (const lessons::Exercise& exercise : lessons::exercises()) {
    const fs::path file = exercise.file;
    const bool is_solution = file.parent_path().filename() == "solutions";
    CAPTURE(file.string());
    std::ostringstream out;
    const bool passed = lessons::judge(exercise, out);
    INFO(out.str());
    CHECK(passed == is_solution);
    const bool names_blank = out.str().find(": still blank: ") != std::string::npos;
    CHECK(names_blank == !is_solution);
    (is_solution ? solved : blank).insert(file.filename().string());
  }
  CHECK(solved == names_in(kSolutions));
  CHECK(blank == names_in(kSkeletons));
  CHECK(solved == blank);
  std::set<std::string> taught;
  for (const lessons::Lesson& lesson : lessons::lessons()) {
    taught.insert(fs::path(lesson.source()).filename().string());
  }
  CHECK(blank == taught);
}

TEST_CASE("the judges of 12 and 19 find each mistake") {
  const std::map<std::string, std::vector<std::string>> mistakes{
      {"12_gptq.cpp", {"version_a", "version_b", "version_c", "version_d"}},
      {"19_mistakes.cpp", {"has_gradient of", "stored codes of (127.25", "best_power when every"}}};
  std::size_t seen = 0;
  for (const lessons::Exercise& exercise : lessons::exercises()) {
    const fs::path file = exercise.file;
    const auto found = mistakes.find(file.filename().string());
    if (file.parent_path().filename() != "exercises" || found == mistakes.end()) continue;
    std::ostringstream out;
    CHECK_FALSE(lessons::judge(exercise, out));
    INFO(out.str());
    for (const std::string& what : found->second) {
      CAPTURE(what);
      CHECK(out.str().find("wrong: " + what) != std::string::npos);
    }
    ++seen;
  }
  CHECK(seen == mistakes.size());
}

TEST_CASE("a solution differs from its skeleton by 40 lines at most") {
  for (const std::string& name : names_in(kSolutions)) {
    CAPTURE(name);
    const std::string solution = read_file(kSolutions / name);
    const std::string skeleton = read_file(kSkeletons / name);
    CHECK(lines_without(solution, skeleton) > 0);
    CHECK(lines_without(solution, skeleton) <= 40);
    CHECK(lines_without(skeleton, solution) <= 40);
  }
}

TEST_CASE("a judge names the element, both values and a hint") {
  std::ostringstream out;
  lessons::Judge judge(out);
  judge.equal("codes", std::vector<int>{1, 2, 4}, {1, 2, 3}, 0, "round half to even");
  CHECK(out.str() ==
        "wrong: codes, element 2: received 4, expected 3\n  hint: round half to even\n");
  CHECK(judge.failed() == 1);
  judge.equal("codes", std::vector<int>{1}, {1, 2}, 0, "");
  judge.equal("x", std::nan(""), 1, 0.5, "");
  judge.equal("x", 1.25, 1, 0.5, "");
  judge.holds("it", true, "");
  CHECK(judge.failed() == 3);
  CHECK(judge.asked() == 5);
}

TEST_CASE("a lesson names its source and exercise and leaves one picture") {
  const test::Program program;
  const test::Outcome lesson = program.notch("lesson 2");
  CAPTURE(lesson.err);
  REQUIRE(lesson.code == 0);
  CHECK(lesson.out.find("experiments/lessons/02_order.cpp") != std::string::npos);
  CHECK(lesson.out.find("notch lesson check 02") != std::string::npos);
  CHECK(read_file(program / "02_order.svg").starts_with("<svg"));
  const test::Outcome list = program.notch("lesson list");
  CHECK(std::ranges::count(list.out, '\n') == std::ssize(lessons::lessons()));
  CHECK(program.notch("lesson").out == list.out);
  test::check_refused(program.notch("lesson ordre"), 2);
  CHECK(program.notch("lesson 2 3").code == 2);
  CHECK(program.notch("lesson 2 --out nowhere").code == 2);
}

TEST_CASE("a student's file is built and judged") {
  const test::Program program;
  const std::string solution = "'" + (kSolutions / "02_order.cpp").string() + "'";
  const test::Outcome right = program.notch("lesson check order " + solution);
  CAPTURE(right.err, right.out);
  CHECK(right.code == 0);
  CHECK(right.out.starts_with("right: "));

  const std::string source = read_file(kSolutions / "02_order.cpp");
  program.write("mine.cpp", std::string(source).replace(source.find("  order.push_back"), 0,
                                                        "  if (node == 1) return;\n"));
  const test::Outcome wrong = program.notch("lesson check 02 mine.cpp -q");
  CAPTURE(wrong.err, wrong.out);
  CHECK(wrong.code == 6);
  CHECK(wrong.out.find("received 2 elements, expected 3") != std::string::npos);
  CHECK(wrong.out.find("hint: ") != std::string::npos);

  program.write("mine.txt", source);
  CHECK(program.notch("lesson check 02 mine.txt").code == 0);
  program.write("broken.cpp", "int main() { return }\n");
  CHECK(program.notch("lesson check 02 broken.cpp").code == 3);
  const test::Outcome none = program.notch("lesson check 02 none.cpp");
  CHECK(none.code == 4);
  CHECK(none.err.find("compiling") == std::string::npos);
  CHECK(program.notch("lesson check").code == 2);
  CHECK(program.notch("lesson check 99").code == 2);
}

}  // namespace exercises_test
