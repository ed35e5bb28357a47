// The machine a command runs on: what `notch doctor` shows, and the first line of a run.
//
// OpenBLAS picks its kernels when it is loaded, and an environment variable that was set for
// another program can make it pick slow ones without a word. So every run says which it got.
//
// experiments/machine/ finds out what the machine is and can do.
// May include: quant/kernels, autograd.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace notch::experiments {

inline constexpr std::string_view kVersion = "0.1.0";

/// "notch 0.1.0 (96696fd)", without the commit where the program is not in its own work tree.
std::string version_text();

/// "notch 0.1.0 (96696fd) 1a2b3c4d5e6f": with the program's hash, as a commit can be built in many
/// ways.
const std::string& build_text();

/// What a build began and another one finished: "first, then last"; one of them where they are the
/// same. An empty `first` is a build that did not say which it is.
std::string then_build(std::string first, const std::string& last);
inline constexpr std::string_view kThenBuild = ", then ";

/// "notch 0.1.0 (96696fd)  2 threads  OpenBLAS 0.3.21 pthread SkylakeX". Loads nothing, but asks
/// OpenBLAS.
std::string banner();

/// The words this program was started with; empty where Linux does not say.
std::vector<std::string> command_line();

/// A line of `file`, "<key> <number> kB", in bytes; 0 where there is none: /proc/meminfo,
/// /proc/self/status.
double proc_bytes(const std::string& file, std::string_view key);

/// What makes OpenBLAS slower than it could be on this machine, each with its remedy; normally
/// empty.
std::vector<std::string> openblas_warnings();

/// For env.json: OpenBLAS's description, kernels, flavour and the variables that steer it.
std::vector<std::pair<std::string, std::string>> openblas_facts();

/// The processor as Linux describes it.
struct Cpu {
  std::string model{};               ///< "" where the kernel does not say
  std::vector<std::string> flags{};  ///< "avx2", "avx512_vnni", "asimddp", …
  bool has(std::string_view flag) const;
};
/// From the text of /proc/cpuinfo (x86: "flags", aarch64: "Features").
Cpu parse_cpuinfo(const std::string& text);
Cpu this_cpu();

/// The rule behind openblas_warnings: `core` is OpenBLAS's name for its kernels, `variable` gives
/// the value of an environment variable or "".
std::vector<std::string> openblas_warnings(
    std::string_view core, const Cpu& cpu,
    const std::function<std::string(const std::string& name)>& variable);

}  // namespace notch::experiments
