#include "autograd/base/orphans.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <system_error>
#include <vector>

namespace notch {
namespace {

/// Whether the process of that number, in decimal digits, has ended here.
bool has_ended(std::string_view digits) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  return error == std::errc() && pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

/// Whether a process holds a lock on the file or directory, or one cannot be asked for.
bool is_locked(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return true;
  // A file system without locks leaves the number as the only witness.
  const bool locked = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return locked;
}

}  // namespace

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
    digits.erase(0, digits.rfind("tmp-") + 4);
    const std::size_t after = digits.find('-');  // of "-old"
    const bool aside = after != digits.npos;
    if (!has_ended(digits.substr(0, after)) || is_locked(entry)) continue;
    if (aside && !fs::exists(fs::symlink_status(path, error))) {
      fs::rename(entry, path, error);
    } else {
      fs::remove_all(entry, error);
    }
  }
}

}  // namespace notch
