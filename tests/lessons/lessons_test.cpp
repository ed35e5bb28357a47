// Every lesson runs, and every number it prints is the derived one.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/lessons/lesson.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"
#include "tests/lessons/expected/01_scalars.h"
#include "tests/lessons/expected/02_order.h"
#include "tests/lessons/expected/03_gradcheck.h"
#include "tests/lessons/expected/04_own_op.h"
#include "tests/lessons/expected/05_overfit.h"
#include "tests/lessons/expected/06_adamw.h"
#include "tests/lessons/expected/07_quantize.h"
#include "tests/lessons/expected/08_granularity.h"
#include "tests/lessons/expected/09_range.h"
#include "tests/lessons/expected/10_ste.h"
#include "tests/lessons/expected/11_lsq.h"
#include "tests/lessons/expected/12_gptq.h"
#include "tests/lessons/expected/13_distillation.h"
#include "tests/lessons/expected/14_entropy.h"
#include "tests/lessons/expected/15_roofline.h"
#include "tests/lessons/expected/16_hexdump.h"
#include "tests/lessons/expected/17_controls.h"
#include "tests/lessons/expected/18_names.h"
#include "tests/lessons/expected/19_mistakes.h"

namespace lessons_test {

using namespace notch;
namespace fs = std::filesystem;
using lessons::Claim;
using test::Expected;

struct Printed {
  std::vector<Claim> claims{};
  std::string text{};
  int pictures = 0;
};

Printed run(const lessons::Lesson& lesson) {
  const test::TemporaryDirectory directory;
  std::ostringstream out;
  lessons::Page page(out, directory.path());
  lesson.run(page);
  Printed printed{.claims = page.claims(), .text = out.str()};
  for (const auto& entry : fs::directory_iterator(directory.path())) {
    CHECK(read_file(entry.path()).starts_with("<svg"));
    ++printed.pictures;
  }
  return printed;
}

/// What is wrong with the claims against the table, a line each.
std::vector<std::string> differences(const std::vector<Claim>& claims,
                                     const std::vector<Expected>& rows) {
  std::vector<std::string> wrong;
  std::set<std::string> printed;
  for (const Claim& claim : claims) {
    if (!printed.insert(claim.key).second) wrong.push_back(claim.key + " is printed twice");
    const auto row = std::ranges::find(rows, claim.key, &Expected::key);
    if (row == rows.end()) {
      wrong.push_back(str(claim.key, " = ", claim.number, claim.text, " has no expected value"));
    } else if (claim.text != row->text) {
      wrong.push_back(str(claim.key, " is\n", claim.text, "expected\n", row->text));
    } else if (!(claim.number >= row->low && claim.number <= row->high)) {
      std::ostringstream line;
      line.precision(17);
      line << claim.key << " = " << claim.number << ", expected " << row->low << " to "
           << row->high;
      wrong.push_back(line.str());
    }
  }
  for (const Expected& row : rows) {
    if (!printed.contains(row.key)) wrong.push_back(row.key + " is expected and not printed");
  }
  return wrong;
}

const std::map<std::string_view, test::Table (*)()>& tables() {
  static const std::map<std::string_view, test::Table (*)()> all = {
      {"01", test::scalars},      {"02", test::order},       {"03", test::gradcheck},
      {"04", test::own_op},       {"05", test::overfit},     {"06", test::adamw},
      {"07", test::quantize},     {"08", test::granularity}, {"09", test::range},
      {"10", test::ste},          {"11", test::lsq},         {"12", test::gptq},
      {"13", test::distillation}, {"14", test::entropy},     {"15", test::roofline},
      {"16", test::hexdump},      {"17", test::controls},    {"18", test::names},
      {"19", test::mistakes},
  };
  return all;
}

void check_lesson(std::string_view number) {
  const lessons::Lesson& lesson = lessons::find_lesson(number);
  const Printed printed = run(lesson);
  for (const std::string& wrong : differences(printed.claims, tables().at(number)().rows())) {
    FAIL_CHECK("lesson " << number << ": " << wrong);
  }
  CHECK_FALSE(printed.claims.empty());
  CHECK(printed.pictures == 1);
}

TEST_CASE("lesson 01 prints what was derived") { check_lesson("01"); }
TEST_CASE("lesson 02 prints what was derived") { check_lesson("02"); }
TEST_CASE("lesson 03 prints what was derived") { check_lesson("03"); }
TEST_CASE("lesson 04 prints what was derived") { check_lesson("04"); }
TEST_CASE("lesson 05 prints what was derived") { check_lesson("05"); }
TEST_CASE("lesson 06 prints what was derived") { check_lesson("06"); }
TEST_CASE("lesson 07 prints what was derived") { check_lesson("07"); }
TEST_CASE("lesson 08 prints what was derived") { check_lesson("08"); }
TEST_CASE("lesson 09 prints what was derived") { check_lesson("09"); }
TEST_CASE("lesson 10 prints what was derived") { check_lesson("10"); }
TEST_CASE("lesson 11 prints what was derived") { check_lesson("11"); }
TEST_CASE("lesson 12 prints what was derived") { check_lesson("12"); }
TEST_CASE("lesson 13 prints what was derived") { check_lesson("13"); }
TEST_CASE("lesson 14 prints what was derived") { check_lesson("14"); }
TEST_CASE("lesson 15 prints what was derived") { check_lesson("15"); }
TEST_CASE("lesson 16 prints what was derived") { check_lesson("16"); }
TEST_CASE("lesson 17 prints what was derived") { check_lesson("17"); }
TEST_CASE("lesson 18 prints what was derived") { check_lesson("18"); }
TEST_CASE("lesson 19 prints what was derived") { check_lesson("19"); }

TEST_CASE("every lesson has its source, a table and one number") {
  std::set<std::string_view> seen;
  for (const lessons::Lesson& lesson : lessons::lessons()) {
    CAPTURE(lesson.number);
    CHECK(seen.insert(lesson.number).second);
    CHECK(seen.insert(lesson.name).second);
    CHECK(fs::exists(test::source_dir() / lesson.source()));
    CHECK(tables().contains(lesson.number));
  }
}

TEST_CASE("a lesson fits a page and includes public headers only") {
  for (const lessons::Lesson& lesson : lessons::lessons()) {
    CAPTURE(lesson.number);
    std::istringstream source(read_file(test::source_dir() / lesson.source()));
    int lines = 0;
    for (std::string line; std::getline(source, line); ++lines) {
      CAPTURE(line);
      if (!line.starts_with("#include \"")) continue;
      CHECK(line.find("/kernels/") == std::string::npos);
      CHECK((line.find("experiments/") == std::string::npos ||
             line.find("experiments/lessons/") != std::string::npos));
    }
    CHECK(lines <= 160);
  }
}

TEST_CASE("a lesson is found by number and name") {
  CHECK(lessons::find_lesson("1").name == "scalars");
  CHECK(lessons::find_lesson("01").name == "scalars");
  CHECK(lessons::find_lesson("scalars").number == "01");
  const ErrorParts parts = test::error_of([] { lessons::find_lesson("scalar"); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.hint.find("scalars") != std::string::npos);
}

TEST_CASE("numbers without or beside their expected value are found") {
  const auto count = [](const std::vector<Claim>& claims, const std::vector<Expected>& rows) {
    return differences(claims, rows).size();
  };
  CHECK(count({{.key = "a", .number = 1}}, {test::near("a", 1.05, 0.1)}) == 0);
  CHECK(count({{.key = "a", .number = 1}}, {test::near("a", 1.2, 0.1)}) == 1);
  CHECK(count({{.key = "a", .number = std::nan("")}}, {test::near("a", 1, 0.1)}) == 1);
  CHECK(count({{.key = "a", .number = 1}}, {}) == 1);
  CHECK(count({}, {test::exactly("a", 1)}) == 1);
  CHECK(count({{.key = "a"}, {.key = "a"}}, {test::exactly("a", 0)}) == 1);
  CHECK(count({{.key = "a", .text = "x"}}, {test::text("a", "y")}) == 1);
}

}  // namespace lessons_test
