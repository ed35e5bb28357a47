// Names of tests that ctest can run. CMake's lists break at ';' and join at '[' and ']', and Catch2
// reads '\' and ',' of a name as syntax: the first three made cases that were registered, never run
// and reported as passed.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kLongest = 90;

// The names of the test cases in `source`; a name may be several literals.
std::vector<std::string> test_names(const std::string& source) {
  static const std::regex head(R"(TEST_CASE(_METHOD)?\((\s*\w+,)?\s*(?="))");
  std::vector<std::string> names;
  for (std::sregex_iterator it(source.begin(), source.end(), head), end; it != end; ++it) {
    std::string name;
    bool inside = false;
    auto at = static_cast<std::size_t>(it->position() + it->length());
    for (; at < source.size(); ++at) {
      const char c = source[at];
      if (c == '"') {
        inside = !inside;
      } else if (inside) {
        name += c;
      } else if (c != ' ' && c != '\n') {
        break;
      }
    }
    names.push_back(name);
  }
  return names;
}

bool runs_under_ctest(const std::string& name) {
  return !name.empty() && name.size() <= kLongest &&
         name.find_first_of("[];\\$") == std::string::npos;
}

}  // namespace

TEST_CASE("names that ctest would lose are found in a source") {
  const std::string macro =
      "TEST_"
      "CASE";
  const auto names =
      test_names(macro + "(\"one; two\") {}\n" + macro + "(\n    \"in [0, \"\n    \"1)\") {}\n" +
                 macro + "(\"plain, with a comma\") {}");
  REQUIRE(names == std::vector<std::string>{"one; two", "in [0, 1)", "plain, with a comma"});
  CHECK_FALSE(runs_under_ctest(names[0]));
  CHECK_FALSE(runs_under_ctest(names[1]));
  CHECK(runs_under_ctest(names[2]));
  CHECK_FALSE(runs_under_ctest(std::string(kLongest + 1, 'a')));
}

TEST_CASE("every test has a name that ctest can run") {
  std::size_t seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(NOTCH_SOURCE_DIR) / "tests")) {
    if (entry.path().extension() != ".cpp" || entry.path().filename() == "test_names_test.cpp")
      continue;
    std::ifstream file(entry.path());
    const std::string source{std::istreambuf_iterator<char>(file), {}};
    for (const std::string& name : test_names(source)) {
      INFO(entry.path().string() << ": " << name);
      CHECK(runs_under_ctest(name));
      ++seen;
    }
  }
  CHECK(seen > 500);
}
