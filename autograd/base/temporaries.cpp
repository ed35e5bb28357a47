#include "autograd/base/temporaries.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <system_error>
#include <thread>

#include "autograd/base/error.h"
#include "autograd/base/file_steps.h"
#include "autograd/base/sha256.h"

namespace notch {
namespace {

namespace fs = std::filesystem;

constexpr char kBootMark = '@';  // in no host_in_names

int open_to_lock(const fs::path& path) {
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  // NFS gives no exclusive lock on a file that is open for reading alone.
  const int fd = ::open(path.c_str(), O_RDWR | kFlags);
  return fd >= 0 ? fd : ::open(path.c_str(), O_RDONLY | kFlags);
}

/// Locks what has just been made. Who looks whether there is a lock has one for a moment: only another
/// writer, that has taken the name since, has it for longer than two seconds; false.
bool lock_new(int fd) {
  for (int i = 0; i < 2000; ++i) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK && errno != EINTR) return true;  // there are no locks
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "unknown-host";
}

std::string host_in_names(std::string_view host) {
  constexpr std::size_t kMost = 16, kDigest = 8;
  std::string name(host);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && c != '_') c = '-';
  }
  if (name.size() <= kMost) return name;
  return str(name.substr(0, kMost - kDigest - 1), '-', sha256(host).substr(0, kDigest));
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id(8, '\0');
  const bool whole = file.read(id.data(), static_cast<std::streamsize>(id.size())).good();
  return whole && is_hex(id) ? id : "";
}

std::string temporary_host() { return str(host_in_names(host_name()), kBootMark, boot_id()); }

fs::path temporary_of(const fs::path& path, pid_t number) {
  fs::path temporary = path;
  temporary += kTemporaryMark;
  temporary += temporary_host() + "-" + std::to_string(number);
  return temporary;
}

std::optional<TemporaryName> parse_temporary_name(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789";
  TemporaryName out;
  out.aside = name.ends_with(kAside);
  if (out.aside) name.remove_suffix(kAside.size());
  const std::size_t mark = name.rfind(kTemporaryMark);
  if (mark == name.npos || mark == 0) return std::nullopt;
  out.base = name.substr(0, mark);
  name.remove_prefix(mark + kTemporaryMark.size());
  const std::size_t last = name.rfind('-');
  const bool has_host = last != name.npos;
  if (has_host) out.host = name.substr(0, last);
  if (const std::size_t at = out.host.find(kBootMark); at != out.host.npos) {
    out.boot = out.host.substr(at + 1);
    out.host.resize(at);
  }
  out.number = name.substr(has_host ? last + 1 : 0);
  if (has_host && out.host.empty()) return std::nullopt;
  if (out.number.empty() || out.number.find_first_not_of(kDigits) != out.number.npos)
    return std::nullopt;
  return out;
}

void Temporaries::forget(const fs::path& path) {
  const auto gone = begun.extract(path);
  if (!gone.empty() && gone.mapped() >= 0) ::close(gone.mapped());
}

Temporaries& temporaries() {
  static Temporaries& all = *new Temporaries;
  return all;
}

Claim::Claim(const fs::path& path) {
  std::error_code error;
  if (fs::is_symlink(path, error)) {
    held_ = true;
    return;
  }
  fd_ = open_to_lock(path);
  if (fd_ < 0) return;
  // Any other error leaves open who has it.
  const bool free = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno == ENOLCK ||
                    errno == EOPNOTSUPP || errno == ENOSYS;
  held_ = free && names(path, fd_);
  if (!held_) ::close(release());
}

bool Claim::is_at(const fs::path& path) const { return held_ && (fd_ < 0 || names(path, fd_)); }

Claim::~Claim() {
  if (fd_ >= 0) ::close(fd_);
}

Begun begin_temporary(const fs::path& path, const std::function<int(const fs::path&)>& make) {
  std::map<fs::path, int>& begun = temporaries().begun;
  Begun made{};
  for (pid_t number = ::getpid();; number += kAbovePids) {
    made.path = temporary_of(path, number);
    const bool last = number > std::numeric_limits<pid_t>::max() - kAbovePids;
    errno = EEXIST;
    made.fd = begun.contains(made.path) ? -1 : make(made.path);
    if (made.fd < 0 && errno == EEXIST && !begun.contains(made.path)) {
      if (const Claim left(made.path); left) {
        std::error_code error;
        fs::remove_all(made.path, error);
      }
      made.fd = make(made.path);
    }
    if (made.fd < 0) {
      if (errno == EEXIST && !last) continue;
      return made;
    }
    if (lock_new(made.fd) && names(made.path, made.fd)) break;
    ::close(std::exchange(made.fd, -1));  // taken for a killed writer's before it had its lock
    errno = EEXIST;
    if (last) return made;
  }
  // Of its own, since a file is closed before it is renamed.
  const int kept = ::fcntl(made.fd, F_DUPFD_CLOEXEC, 0);
  try {
    begun.emplace(made.path, kept);
  } catch (...) {  // without memory nobody would know of it
    std::remove(made.path.c_str());
    if (kept >= 0) ::close(kept);
    ::close(made.fd);
    throw;
  }
  return made;
}

}  // namespace notch
