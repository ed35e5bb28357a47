// Lists of what layers cost: of several commands that add to one, each line stays, whole.
#include "experiments/run/sensitivity_list.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "autograd/base/files.h"
#include "autograd/base/temporaries.h"
#include "tests/base/processes.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace notch::test::sensitivity_list_test {

using experiments::SensitivityList;

quant::Sensitivity layer(const std::string& name, int bits) {
  return {.layer = name, .bits = bits, .bytes = 100 * bits, .rise = 1.0 / bits};
}

TEST_CASE("two lists in one file keep each other's lines") {
  const TemporaryDirectory dir;
  SensitivityList one(dir / "list", "one"), other(dir / "list", "other"), same(dir / "list", "one");
  for (const int bits : {2, 3, 4}) {
    one.keep(layer("a", bits));
    other.keep(layer("b", bits));
    same.keep(layer("c", bits));
    same.keep(layer("a", bits));  // measured by both
  }
  const SensitivityList ones(dir / "list", "one"), others(dir / "list", "other");
  for (const int bits : {2, 3, 4}) {
    CHECK(ones.find("a", bits)->rise == 1.0 / bits);
    CHECK(ones.find("c", bits)->bytes == 100 * bits);
    CHECK_FALSE(ones.find("b", bits));
    CHECK(others.find("b", bits));
  }
  const std::string text = read_file(dir / "list");
  CHECK(std::ranges::count(text, '\n') == 9);
}

TEST_CASE("every flipped bit of a list of sensitivities is noticed") {
  const TemporaryDirectory dir;
  const fs::path file = dir / "x.sensitivity";
  {
    SensitivityList list(file, "key");
    list.keep(layer("a", 2));
    list.keep(layer("b", 3));
  }
  CHECK_NOTHROW(experiments::verify_sensitivities(file));
  const std::string whole = read_file(file);
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const int bit : {0, 2, 5, 7}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      write_file(file, damaged);
      INFO(i << " " << bit);
      // The last line's end is no part of what it says.
      if (i + 1 < whole.size())
        CHECK(error_of([&] { experiments::verify_sensitivities(file); }).fault == Fault::input);
      const SensitivityList list(file, "key");
      for (const auto& [name, bits] : {std::pair("a", 2), std::pair("b", 3)}) {
        const std::optional<quant::Sensitivity> found = list.find(name, bits);
        if (found) CHECK(found->rise == 1.0 / bits);
      }
    }
}

TEST_CASE("processes that add to one list lose and tear no line") {
  constexpr int kProcesses = 4, kLayers = 20;
  const TemporaryDirectory dir;
  const auto name = [](int i, int n) { return str("h.", i, '.', n); };
  in_processes(kProcesses, [&](int i) {
    SensitivityList list(dir / "list", str("key", i % 2));
    for (int n = 0; n < kLayers; ++n) list.keep(layer(name(i, n), 4));
  });
  for (int i = 0; i < kProcesses; ++i) {
    const SensitivityList list(dir / "list", str("key", i % 2));
    for (int n = 0; n < kLayers; ++n) CHECK(list.find(name(i, n), 4));
  }
  CHECK(std::ranges::count(read_file(dir / "list"), '\n') == kProcesses * kLayers);
}

TEST_CASE("a list looks once for what killed commands left") {
  const TemporaryDirectory dir;
  const pid_t ended = ::fork();
  if (ended == 0) ::_exit(0);
  REQUIRE(::waitpid(ended, nullptr, 0) == ended);
  const fs::path left = temporary_of(dir / "list", ended);
  write_file(left, "half");
  SensitivityList list(dir / "list", "key");
  CHECK(fs::exists(left));  // the command may be refused yet
  list.keep(layer("a", 4));
  CHECK_FALSE(fs::exists(left));
  write_file(left, "half");
  list.keep(layer("b", 4));
  CHECK(fs::exists(left));
}

}  // namespace notch::test::sensitivity_list_test
