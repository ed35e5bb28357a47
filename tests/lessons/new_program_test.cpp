// `notch new`: what it writes builds against a build directory and against an installed Notch, runs,
// and shows what it promises.
#include <regex>

#include "tests/experiments/program.h"
#include "tests/folders.h"

namespace new_program_test {

using namespace notch;
using test::Outcome;
using test::Program;

/// The three shares in percent that the program prints.
std::vector<double> shares(const std::string& text) {
  static const std::regex number(R"(([0-9.]+) % right)");
  std::vector<double> all;
  for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it) {
    all.push_back(std::stod((*it)[1]));
  }
  return all;
}

TEST_CASE("a new program builds, runs, and trains through 2 bits") {
  const Program program;
  const Outcome written = program.notch("new mynet");
  REQUIRE(written.code == 0);
  const std::string source = read_file(program / "mynet/main.cpp");
  CHECK(std::ranges::count(source, '\n') <= 60);
  const std::size_t command = written.out.find("  cmake -S");
  REQUIRE(command != written.out.npos);
  const Outcome built = program.shell(written.out.substr(command));
  CAPTURE(built.err, built.out);
  REQUIRE(built.code == 0);
  const std::vector<double> right = shares(built.out);
  REQUIRE(right.size() == 3);
  CHECK(right[0] > 98);
  CHECK(right[1] < right[2]);
  CHECK(right[2] > 95);
}

TEST_CASE("an installed Notch is found by find_package") {
  const Program program;
  const Outcome installed = program.shell(
      "cmake --install '" + test::binary_dir().string() +
      "' --prefix \"$PWD/prefix\" >log && "
      "prefix/bin/notch new mynet && rm mynet/main.cpp && "
      "printf '#include \"nn/gpt.h\"\\n#include \"quant/train/qat.h\"\\n#include "
      "\"data/corpus.h\"\\n"
      "int main() { notch::nn::Gpt gpt({}); return gpt.params().count() > 0 ? 7 : 1; }' "
      ">mynet/main.cpp && cmake -S mynet -B b -D CMAKE_CXX_FLAGS='-Werror -Wall -Wextra' && "
      "cmake --build b && grep notch_DIR b/CMakeCache.txt; b/mynet; echo code $?");
  CAPTURE(installed.err, installed.out);
  CHECK(installed.out.find("code 7") != std::string::npos);
  CHECK(installed.out.find("notch_DIR:PATH=" + program.path().string() + "/prefix/") !=
        std::string::npos);
}

TEST_CASE("a new program is refused where it would do harm") {
  const Program program;
  program.write("file", "");
  for (const char* name : {"file", "'a b'", "run/me!", "-x", "''"}) {
    CAPTURE(name);
    CHECK(program.notch(std::string("new ") + name).code == 2);
  }
  for (const char* name : {"all", "clean", "help", "install", "package", "test"}) {
    CAPTURE(name);
    const Outcome kept = program.notch(std::string("new ") + name);
    CHECK(kept.code == 2);
    CHECK(kept.err.find("is a name that CMake keeps for itself") != std::string::npos);
    CHECK(!std::filesystem::exists(program.path() / name));
  }
  REQUIRE(program.notch("new there").code == 0);
  CHECK(program.notch("new there").code == 2);
}

}  // namespace new_program_test
