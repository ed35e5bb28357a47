#include "tests/fuzz/targets.h"

#include <stdlib.h>

#include <algorithm>
#include <iterator>

namespace notch::test::fuzz {
namespace {

struct Scratch {
  std::filesystem::path path{};

  Scratch() {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code error;
    const bool has_memory = std::filesystem::is_directory(memory, error);
    std::string name =
        ((has_memory ? memory : std::filesystem::temp_directory_path()) / "notch-fuzz-XXXXXX")
            .string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed: " + name);
    path = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

long taken_so_far = 0;

std::vector<Target>& list() {
  static std::vector<Target> all;
  return all;
}

}  // namespace

const std::filesystem::path& scratch() {
  static const Scratch directory;
  return directory.path;
}

long times_taken() { return taken_so_far; }

bool taken(const std::function<void()>& parse) {
  try {
    parse();
    ++taken_so_far;
    return true;
  } catch (const Error& e) {
    const ErrorParts& p = e.parts();
    const bool about_input =
        p.fault == Fault::usage || p.fault == Fault::input || p.fault == Fault::io;
    require(about_input, "an error of another kind: ", e.what());
    require(!p.what.empty() && !p.where.empty(), "an error that does not say where: ", e.what());
    return false;
  }
}

const std::vector<Target>& targets() { return list(); }

bool add_targets(std::vector<Target> some) {
  std::ranges::move(some, std::back_inserter(list()));
  return true;
}

const Target* find_target(std::string_view name) {
  const auto at = std::ranges::find(targets(), name, &Target::name);
  return at == targets().end() ? nullptr : &*at;
}

}  // namespace notch::test::fuzz
