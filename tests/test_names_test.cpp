// Names of tests that ctest can run and show. CMake's lists break at ';' and join at '[' and ']',
// and Catch2 reads '\' and ',' of a name as syntax: the first three made cases that were
// registered, never run and reported as passed. And a line of ctest stays within 120 columns:
//
//   123/888 Test #123: test_base:a name ......   Passed    0.01 sec
//
// ctest fills all names up to the longest one, so one long name makes every line long. See it with
//   ctest --test-dir build | awk '{ if (length > n) n = length } END { print n }'
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/folders.h"

namespace test_names_test {

namespace fs = std::filesystem;

// Columns of "test_base:a name": a line has 44 others, and 46 from the thousandth test on.
constexpr std::size_t kLongest = 74;

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

bool runs_under_ctest(const std::string& program, const std::string& name) {
  return !name.empty() && (program + ":" + name).size() <= kLongest &&
         name.find_first_of("[];\\$") == std::string::npos;
}

// The program of every folder with tests, as tests/CMakeLists.txt has them:
// notch_tests(NAME [OWN_HEADERS] [FILE_BY_FILE] PATTERNS FOLDER/*_test.cpp ... LIBRARIES ...).
std::map<std::string, std::string> programs(const std::string& cmake) {
  static const std::regex call(
      R"(notch_tests\((\w+)\s+(?:(?:OWN_HEADERS|FILE_BY_FILE)\s+)*PATTERNS\s+([^)]*?)\s+LIBRARIES)");
  static const std::regex pattern(R"((\S*?)/?\*\S*)");
  std::map<std::string, std::string> of_folder;
  for (std::sregex_iterator it(cmake.begin(), cmake.end(), call), end; it != end; ++it) {
    const std::string patterns = (*it)[2];
    for (std::sregex_iterator p(patterns.begin(), patterns.end(), pattern); p != end; ++p) {
      of_folder[(*p)[1]] = (*it)[1];
    }
  }
  return of_folder;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("names that ctest would lose are found in a source") {
  const std::string macro =
      "TEST_"
      "CASE";
  const auto names =
      test_names(macro + "(\"one; two\") {}\n" + macro + "(\n    \"in [0, \"\n    \"1)\") {}\n" +
                 macro + "(\"plain, with a comma\") {}");
  REQUIRE(names == std::vector<std::string>{"one; two", "in [0, 1)", "plain, with a comma"});
  CHECK_FALSE(runs_under_ctest("test_x", names[0]));
  CHECK_FALSE(runs_under_ctest("test_x", names[1]));
  CHECK(runs_under_ctest("test_x", names[2]));
  CHECK(runs_under_ctest("test_x", std::string(kLongest - 7, 'a')));
  CHECK_FALSE(runs_under_ctest("test_x", std::string(kLongest - 6, 'a')));
}

TEST_CASE("every test has a name that ctest can run and show") {
  const fs::path tests = notch::test::source_dir() / "tests";
  const std::map<std::string, std::string> of_folder = programs(text_of(tests / "CMakeLists.txt"));
  CHECK(of_folder.at("base") == "test_base");
  CHECK(of_folder.at("") == of_folder.at("experiments"));
  std::size_t seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator(tests)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::vector<std::string> names = test_names(text_of(entry.path()));
    if (names.empty()) continue;
    const std::string folder =
        entry.path().parent_path().lexically_relative(tests).generic_string();
    INFO(entry.path().string());
    const auto program = of_folder.find(folder == "." ? "" : folder);
    REQUIRE(program != of_folder.end());
    for (const std::string& name : names) {
      INFO(program->second << ":" << name);
      CHECK(runs_under_ctest(program->second, name));
      ++seen;
    }
  }
  CHECK(seen > 500);
}

// Eight files are compiled as one with CMAKE_UNITY_BUILD: what one of them names, no other may see.
TEST_CASE("every file of tests has a namespace of its own") {
  std::size_t seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator(notch::test::source_dir() / "tests")) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".cpp" || !name.ends_with("_test")) continue;
    INFO(entry.path().string());
    const std::string source = text_of(entry.path());
    std::smatch own;
    REQUIRE(std::regex_search(source, own, std::regex("\nnamespace (\\w+::)*" + name + " \\{\n")));
    CHECK_FALSE(
        std::regex_search(own.prefix().str(), std::regex("\n(using|namespace \\w+ =|TEST_CASE)")));
    CHECK(source.ends_with("}  // " +
                           own.str().substr(1, static_cast<std::size_t>(own.length() - 4)) + "\n"));
    ++seen;
  }
  CHECK(seen > 200);
}

}  // namespace test_names_test
