#include "experiments/machine/environment.h"

#include <sys/utsname.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/sha256.h"

#ifndef NOTCH_BUILD_FLAGS
#define NOTCH_BUILD_FLAGS ""
#endif

namespace notch::experiments {

namespace {

constexpr std::uint64_t kMaxGitFile = 16u << 20;

std::string trimmed(std::string text) {
  const auto last = text.find_last_not_of(" \t\r\n");
  text.resize(last == std::string::npos ? 0 : last + 1);
  return text;
}

/// The file's text without the line end, or "" when it cannot be read.
std::string text_of(const fs::path& file) {
  try {
    return trimmed(read_file(file, kMaxGitFile));
  } catch (const Error&) {
    return {};
  }
}

bool is_commit(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) && is_hex(text);
}

/// packed-refs has lines "<commit> <ref>".
std::string packed_ref(const fs::path& file, std::string_view ref) {
  std::istringstream lines(text_of(file));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    if (space != std::string::npos && trimmed(line.substr(space + 1)) == ref)
      return line.substr(0, space);
  }
  return {};
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    for (const std::string_view key : {"model name", "Model", "CPU part"}) {
      const std::size_t colon = line.find(':');
      if (line.starts_with(key) && colon != std::string::npos && colon + 2 <= line.size()) {
        return trimmed(line.substr(colon + 2));
      }
    }
  }
  return {};
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return {};
#endif
}

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  char text[32] = {};
  ::gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

fs::path binary_directory() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

std::string binary_sha256() {
  try {
    return sha256_file("/proc/self/exe");
  } catch (const Error&) {
    return {};
  }
}

std::string git_commit(const fs::path& directory) {
  std::error_code error;
  fs::path root = fs::absolute(directory, error);
  while (!fs::exists(root / ".git", error) && root != root.parent_path()) root = root.parent_path();
  fs::path git = root / ".git";
  if (!fs::is_directory(git, error)) {
    // A linked work tree: the file says "gitdir: <directory>".
    const std::string link = text_of(git);
    if (!link.starts_with("gitdir: ")) return {};
    git = root / link.substr(8);
  }
  const std::string head = text_of(git / "HEAD");
  if (is_commit(head)) return head;
  if (!head.starts_with("ref: ")) return {};
  const std::string ref = head.substr(5);
  const std::string common = text_of(git / "commondir");
  const fs::path shared = common.empty() ? git : git / common;
  for (const std::string& found :
       {text_of(git / ref), text_of(shared / ref), packed_ref(shared / "packed-refs", ref)}) {
    if (is_commit(found)) return found;
  }
  return {};
}

Json describe_environment(const EnvironmentInputs& inputs) {
  Json env = Json::object();
  env.set("time", now_utc());
  Json command = Json::array();
  for (const std::string& word : inputs.command_line) command.push(word);
  env.set("command_line", std::move(command));
  // Of the binary's own tree; a program that was installed elsewhere has none.
  env.set("git_commit", or_null(git_commit(binary_directory())));
  env.set("binary_sha256", or_null(binary_sha256()));
  env.set("compiler", or_null(compiler()));
  env.set("flags", or_null(NOTCH_BUILD_FLAGS));
  utsname system{};
  if (::uname(&system) == 0) {
    env.set("system", str(system.sysname, " ", system.release, " ", system.machine));
    env.set("host", system.nodename);
  }
  env.set("cpu", or_null(cpu_model()));
  env.set("cores", static_cast<int>(std::thread::hardware_concurrency()));
  env.set("threads", inputs.threads);
  env.set("products", or_null(inputs.products));
  Json openblas = Json::object();
  for (const auto& [key, value] : inputs.openblas) openblas.set(key, value);
  env.set("openblas", std::move(openblas));
  return env;
}

}  // namespace notch::experiments
