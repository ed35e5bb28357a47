#include "autograd/base/orphans.h"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <system_error>
#include <vector>

#include "autograd/base/temporaries.h"

namespace notch {
namespace {

/// Whether the process of that number, in decimal digits, has ended here.
bool has_ended(std::string_view digits) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  return error == std::errc() && pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

bool is_temporary_name(std::string_view name, std::string& base) {
  if (name.ends_with(kAside)) name.remove_suffix(kAside.size());
  const std::size_t mark = name.rfind(kTemporaryMark);
  if (mark == name.npos) return false;
  const std::string_view pid = name.substr(mark + kTemporaryMark.size());
  base = name.substr(0, mark);
  return !base.empty() && !pid.empty() && pid.find_first_not_of("0123456789") == pid.npos;
}

void remove_orphans(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string base;
    const fs::path& entry = at->path();
    const bool named = is_temporary_name(entry.filename().native(), base);
    if (named && base == path.filename()) found.push_back(entry);
  }
  for (const fs::path& entry : found) {
    std::string digits = entry.filename().native().substr(path.filename().native().size());
    digits.erase(0, digits.rfind(kTemporaryMark) + kTemporaryMark.size());
    const std::size_t after = digits.find('-');  // of "-old"
    const bool aside = after != digits.npos;
    if (!has_ended(digits.substr(0, after))) continue;
    const Claim left(entry);
    if (!left) continue;
    if (aside && !fs::exists(fs::symlink_status(path, error))) {
      fs::rename(entry, path, error);
    } else {
      fs::remove_all(entry, error);
    }
  }
}

}  // namespace notch
