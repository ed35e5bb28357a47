// notch new: a folder with a program of one's own: a network in one file, and the CMake file that
// links it against Notch.
#include <algorithm>
#include <iostream>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/printable.h"
#include "autograd/base/shell_word.h"
#include "experiments/machine/environment.h"
#include "experiments/program/command_tools.h"
#include "experiments/program/commands.h"

namespace notch::experiments {
namespace {

constexpr std::string_view kCMake = R"(cmake_minimum_required(VERSION 3.22)
project(NAME CXX)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# The Notch that wrote this file; another one: cmake -D notch_DIR=<prefix>/lib/cmake/notch
find_package(notch REQUIRED HINTS "PACKAGE")
add_executable(NAME main.cpp)
target_link_libraries(NAME PRIVATE notch::engine)
)";

constexpr std::string_view kMain =
    R"(// Two moons, told apart by three layers: with 32 bits per weight, then with 2, codes -1, 0, 1.
#include <cmath>
#include <iostream>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "optim/adamw.h"
#include "quant/numbers/ranges.h"
#include "quant/ops/fake_quant.h"
using namespace notch;

int main() {
  constexpr int N = 400, H = 16;  // points, hidden units
  Rng rng(1);
  std::vector<real> points;
  std::vector<std::int32_t> moon;
  for (int i = 0; i < N; ++i) {
    const double angle = 3.14159 * rng.uniform(), side = i % 2 == 0 ? 1 : -1;
    points.push_back(real(side * (std::cos(angle) - 0.5) + 0.1 * rng.normal()));
    points.push_back(real(side * (std::sin(angle) - 0.25) + 0.1 * rng.normal()));
    moon.push_back(i % 2);
  }
  ParamStore store;
  Param* w[] = {&store.add("w0", {H, 2}), &store.add("w1", {H, H}), &store.add("w2", {2, H})};
  Param* b[] = {&store.add("b0", {H}), &store.add("b1", {H}), &store.add("b2", {2})};
  store.allocate_values();
  store.allocate_gradients();
  for (Param* p : w)
    for (real& v : p->value.flat()) v = real(rng.normal() / std::sqrt(double(p->value.cols())));
  optim::AdamW optimizer(optim::decay_matrices(store, 0.01));
  const quant::Spec spec{.bits = 2};
  std::vector<quant::RangeAnchor> ranges[3];  // of each layer's grid; empty: not rounded
  Graph g;
  for (int step = 0; step <= 600; ++step) {
    g.begin(Graph::Mode::training);
    Var x = g.constant({points.data(), {N, 2}});
    for (int i = 0; i < 3; ++i) {
      Var v = g.param(*w[i]);
      if (step > 300) v = quant::fake_quant_ste(v, spec, ranges[i], quant::Ste::clipped);
      x = linear(i == 0 ? x : gelu(x), v, g.param(*b[i]));
    }
    if (step == 300 || step == 301 || step == 600) {
      int right = 0;
      for (int i = 0; i < 2 * N; i += 2)
        right += (x.value().data[i] < x.value().data[i + 1]) == (moon[i / 2] == 1);
      std::cout << step << (step > 300 ? " steps, 2 bits:  " : " steps, 32 bits: ")
                << 100.0 * right / N << " % right\n";
    }
    for (int i = 0; i < 3 && step == 300; ++i) {
      const Tensor t = w[i]->value;
      const auto found = quant::choose_scales(t.flat(), t.rows(), t.cols(), spec,
                                              quant::RangeRule::mse, w[i]->name);
      ranges[i] = quant::anchor_ranges(t.flat(), found.at, spec);
    }
    store.zero_gradients();
    g.backward(cross_entropy(x, moon));
    optimizer.step(0.01);
  }
}
)";

std::string filled(std::string_view text, std::string_view blank, std::string_view with) {
  std::string out(text);
  for (auto at = out.find(blank); at != out.npos; at = out.find(blank, at + with.size())) {
    out.replace(at, blank.size(), with);
  }
  return out;
}

/// Targets that CMake's generators make: add_executable refuses them.
constexpr std::string_view kTargets[] = {"all",     "clean",   "edit_cache",    "help",
                                         "install", "package", "rebuild_cache", "test"};

/// Where find_package finds the Notch of this program: its build directory, or beside its bin/.
std::string package_directory() {
  const fs::path here = binary_directory();
  if (fs::exists(here / "notch-config.cmake")) return here.string();
  return here.parent_path().string();
}

int new_command(const Args& args) {
  const fs::path named = fs::path(args.positionals[0]).lexically_normal();
  const std::string name = (named.has_filename() ? named : named.parent_path()).filename().string();
  const bool plain = std::ranges::all_of(name, [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  check(plain && !name.empty() && name[0] != '-', "notch new", "'", name,
        "' cannot name a program; use letters, digits, _ and -");
  check(std::ranges::find(kTargets, name) == std::end(kTargets), "notch new", "'", name,
        "' is a name that CMake keeps for itself; choose another");
  const fs::path out = new_directory(named);
  write_directory(out, [&](const fs::path& dir) {
    write_file(dir / "CMakeLists.txt",
               filled(filled(kCMake, "NAME", name), "PACKAGE", package_directory()));
    write_file(dir / "main.cpp", kMain);
  });
  const auto word = [](const fs::path& path) { return printable(shell_word(path.string())); };
  std::cout << "Written: " << printable((out / "main.cpp").string())
            << " and CMakeLists.txt. Build and run it:\n\n"
            << "  cmake -S " << word(out) << " -B " << word(out / "build") << " && cmake --build "
            << word(out / "build") << " && " << word(out / "build" / name) << '\n';
  return 0;
}

}  // namespace

Command new_verb() {
  return {
      {.name = "new",
       .summary = "a folder with a small program of your own that is linked against Notch",
       .examples = {"notch new mynet"},
       .positionals = {{.name = "DIR", .help = "the folder to write; its name is the program's"}}},
      new_command};
}

}  // namespace notch::experiments
