#include "autograd/base/orphans.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "autograd/base/file_steps.h"
#include "autograd/base/temporaries.h"

namespace notch {
namespace {

constexpr auto kForeign = std::chrono::hours(7 * 24);  // after which another host's has been left

/// Whether the process of that number, in decimal digits, has ended here.
bool has_ended(std::string_view digits) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  return error == std::errc() && pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

/// When something was last written there; now, where that cannot be read.
fs::file_time_type last_written(const fs::path& path) {
  const fs::file_time_type now = fs::file_time_type::clock::now();
  std::error_code error;
  fs::file_time_type last = fs::last_write_time(path, error);
  if (error) return now;
  if (!fs::is_directory(path, error)) return last;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    last = std::max(last, at->last_write_time(error));
  }
  return error ? now : last;
}

bool seems_left(const fs::path& path, const TemporaryName& name) {
  const bool shares_locks = !name.boot.empty() && name.boot == boot_id();
  if (shares_locks || name.host == host_in_names(host_name())) return has_ended(name.number);
  return fs::file_time_type::clock::now() - last_written(path) > kForeign;
}

/// Removes the temporaries in `folder` for which left(entry, name) holds, unless a living writer has
/// them; put_back(from, to) takes what is aside where there is no other.
template <class Left, class PutBack>
void remove_each(const fs::path& folder, const Left& left, const PutBack& put_back) {
  std::error_code error;
  std::vector<std::pair<fs::path, TemporaryName>> found;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (auto name = parse_temporary_name(at->path().filename().native()))
      found.emplace_back(at->path(), std::move(*name));
  }
  for (const auto& [entry, name] : found) {
    if (!left(entry, name)) continue;
    const Claim claim(entry);
    if (!claim) continue;
    const fs::path original = folder / name.base;
    if (name.aside && !fs::exists(fs::symlink_status(original, error))) {
      put_back(entry, original);
    } else {
      fs::remove_all(entry, error);
    }
  }
}

}  // namespace

bool is_temporary_name(std::string_view name, std::string& base) {
  const std::optional<TemporaryName> found = parse_temporary_name(name);
  if (found) base = found->base;
  return found.has_value();
}

void remove_orphans(const fs::path& path) {
  remove_each(
      parent_of(path),
      [&](const fs::path& entry, const TemporaryName& name) {
        return name.base == path.filename() && seems_left(entry, name);
      },
      [](const fs::path& from, const fs::path& to) {
        std::error_code ignored;
        fs::rename(from, to, ignored);
      });
}

void remove_stale_temporaries(const fs::path& directory,
                              const std::function<bool(std::string_view base)>& ours) {
  remove_each(
      directory, [&](const fs::path&, const TemporaryName& name) { return ours(name.base); },
      rename_checked);
}

}  // namespace notch
