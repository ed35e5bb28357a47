#include "experiments/machine/machine.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "experiments/machine/environment.h"

namespace notch::experiments {
namespace {

constexpr const char* kVariables[] = {"OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS",
                                      "OPENBLAS_L2_SIZE"};

std::string environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// Vector width that kernels of this name use: 512, 256, or 128 for everything older; 0 for names
/// that are not x86's, about which nothing is known here.
int width_of_core(std::string_view core) {
  static constexpr std::string_view k512[] = {"skylakex", "cooperlake", "sapphirerapids"};
  static constexpr std::string_view k256[] = {"haswell", "zen", "excavator"};
  static constexpr std::string_view k128[] = {
      "katmai", "coppermine", "northwood",  "prescott",    "banias",     "atom", "core2",
      "penryn", "dunnington", "nehalem",    "athlon",      "opteron",    "nano", "barcelona",
      "bobcat", "bulldozer",  "piledriver", "steamroller", "sandybridge"};
  const std::string name = lower(core);
  if (std::ranges::find(k512, name) != std::end(k512)) return 512;
  if (std::ranges::find(k256, name) != std::end(k256)) return 256;
  if (std::ranges::find(k128, name) != std::end(k128) || name.starts_with("opteron")) return 128;
  return 0;
}

/// "OpenBLAS 0.3.21" of OpenBLAS's own description.
std::string first_two_words(const std::string& text) {
  std::istringstream in(text);
  std::string first, second;
  in >> first >> second;
  return first + " " + second;
}

}  // namespace

bool Cpu::has(std::string_view flag) const { return std::ranges::find(flags, flag) != flags.end(); }

Cpu parse_cpuinfo(const std::string& text) {
  Cpu cpu;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    const std::string value = begin == std::string::npos ? "" : line.substr(begin);
    if (cpu.model.empty() && key == "model name") cpu.model = value;
    if (cpu.flags.empty() && (key == "flags" || key == "Features")) {
      std::istringstream words(value);
      for (std::string word; words >> word;) cpu.flags.push_back(word);
    }
  }
  return cpu;
}

double proc_bytes(const std::string& file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string text; std::getline(lines, text);) {
    if (text.starts_with(key)) return 1024 * std::strtod(text.c_str() + key.size(), nullptr);
  }
  return 0;
}

Cpu this_cpu() {
  std::ifstream file("/proc/cpuinfo");
  return parse_cpuinfo({std::istreambuf_iterator<char>(file), {}});
}

std::vector<std::string> openblas_warnings(
    std::string_view core, const Cpu& cpu,
    const std::function<std::string(const std::string& name)>& variable) {
  check(static_cast<bool>(variable), "openblas warnings", "nothing gives the variables");
  std::vector<std::string> warnings;
  const std::string chosen = variable("OPENBLAS_CORETYPE");
  const int able = cpu.has("avx512f") && cpu.has("avx512dq") ? 512 : cpu.has("avx2") ? 256 : 128;
  const int used = width_of_core(core);
  if (used > 0 && used < able) {
    const std::string_view better = able == 512 ? "SkylakeX" : "Haswell";
    const std::string_view name = able == 512 ? "AVX-512" : "AVX2";
    warnings.push_back(
        str("OpenBLAS uses its ", core, " kernels, but this CPU has ", name, ": ",
            chosen.empty() ? str("this version does not know it; try OPENBLAS_CORETYPE=", better,
                                 " or a newer OpenBLAS")
                           : str("unset OPENBLAS_CORETYPE (it is ", chosen, ")")));
  } else if (lower(core) == "armv8" && chosen.empty()) {
    warnings.push_back(
        "OpenBLAS uses its ARMV8 kernels, those for a CPU it does not know: try "
        "OPENBLAS_CORETYPE=NEOVERSEN1 or a newer OpenBLAS");
  } else if (!chosen.empty()) {
    warnings.push_back(str("OPENBLAS_CORETYPE=", chosen,
                           " fixes OpenBLAS's kernels: unset it unless you want exactly these"));
  }
  const std::string l2 = variable("OPENBLAS_L2_SIZE");
  if (!l2.empty()) {
    warnings.push_back(str("OPENBLAS_L2_SIZE=", l2,
                           " overrides the size of the cache that OpenBLAS found: unset it"));
  }
  const std::string threads = variable("OPENBLAS_NUM_THREADS");
  if (!threads.empty()) {
    warnings.push_back(str("OPENBLAS_NUM_THREADS=", threads,
                           " has no effect here: use --threads, the results do not depend on it"));
  }
  return warnings;
}

std::vector<std::string> openblas_warnings() {
  return openblas_warnings(kernels::blas_info().corename, this_cpu(), environment_variable);
}

std::vector<std::pair<std::string, std::string>> openblas_facts() {
  const kernels::BlasInfo blas = kernels::blas_info();
  std::vector<std::pair<std::string, std::string>> facts = {
      {"config", blas.config}, {"core", blas.corename}, {"parallel", blas.parallel}};
  for (const char* name : kVariables) {
    const std::string value = environment_variable(name);
    if (!value.empty()) facts.emplace_back(name, value);
  }
  return facts;
}

std::string version_text() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const std::string commit = error ? std::string{} : git_commit(program.parent_path());
  return str("notch ", kVersion, commit.empty() ? "" : " (" + commit.substr(0, 7) + ")");
}

const std::string& build_text() {
  constexpr std::size_t kDigits = 12;
  static const std::string text = str(version_text(), ' ', binary_sha256().substr(0, kDigits));
  return text;
}

std::string then_build(std::string first, const std::string& last) {
  if (first.empty()) first = "unknown";
  const std::string added = str(kThenBuild, last);
  return first == last || first.ends_with(added) ? first : first + added;
}

std::vector<std::string> command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

std::string banner() {
  const kernels::BlasInfo blas = kernels::blas_info();
  const int n = threads();
  return str(version_text(), "  ", n, n == 1 ? " thread  " : " threads  ",
             first_two_words(blas.config), " ", blas.parallel, " ", blas.corename);
}

}  // namespace notch::experiments
