// The temporaries of this process: for the writers of autograd/base/files.h and what sweeps after them.
//
// Who has a temporary is told by a lock (flock) on it, since a process's number is that of others in other
// containers. A writer holds the lock from its first moment until the temporary has its name; who
// removes one that seems to be left holds it meanwhile, so that no two remove, and none removes what another
// has begun under the name. A file system without locks leaves the number as the only witness, and one that
// several hosts share (NFS) may keep the locks of each to itself: so the host's name is in a temporary's, and
// what another host has begun is taken for left only when a week has passed over it. Containers have names of
// their own but share a kernel and with it the locks: what tells them from hosts is the kernel's boot id, which
// is in the name too. (Whether a file system is a local one would not do: a host that exports its disk by NFS
// does not see the locks of those that write to it.)
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace notch {

inline constexpr std::string_view kTemporaryMark = ".tmp-", kAside = "-old";

/// More than any process's number (Linux's PID_MAX_LIMIT): added to a number that another writer has, so
/// that of the sum no process lives and the lock alone decides.
inline constexpr pid_t kAbovePids = pid_t{1} << 22;

/// What this host is called; "unknown-host" where nothing says it.
std::string host_name();

/// Of X.tmp-<host>@<boot>-<pid> or X.tmp-<host>@<boot>-<pid>-old.
struct TemporaryName {
  std::string base{};    ///< X
  std::string host{};    ///< as host_in_names; "" in names that earlier builds gave
  std::string boot{};    ///< as boot_id; "" where it is not known, and in such names
  std::string number{};  ///< decimal digits
  bool aside = false;    ///< ends in "-old"
};
std::optional<TemporaryName> parse_temporary_name(std::string_view name);

/// A host's name as temporaries carry it: letters, digits, '-' and '_'; '-' stands for anything else. At most 16
/// characters, the last of a longer one being of its digest: a file's name has room for 255 bytes (NAME_MAX).
std::string host_in_names(std::string_view host);
/// What this kernel drew when it started, so that all containers of a machine have it and no other machine: 8
/// hexadecimal digits, or "".
std::string boot_id();
/// Both, as they are in names: "<host>@<boot>".
std::string temporary_host();
/// The path's temporary of a process of that number here.
std::filesystem::path temporary_of(const std::filesystem::path& path, pid_t number);

/// What the writers have begun, each with the descriptor that holds its lock, or -1. Never destroyed: a
/// thread may abandon it while the program ends.
struct Temporaries {
  std::mutex mutex{};
  std::map<std::filesystem::path, int> begun{};

  /// No more: its lock ends.
  void forget(const std::filesystem::path& path);
};
Temporaries& temporaries();

/// A temporary that no living writer has, locked while this lives; false where one has it, or it cannot be
/// opened or is not there any more. A symbolic link, which has no lock, is nobody's.
class Claim {
 public:
  explicit Claim(const std::filesystem::path& path);
  ~Claim();
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  explicit operator bool() const { return held_; }
  bool is_at(const std::filesystem::path& path) const;  ///< whether that names what is claimed
  int release() { return std::exchange(fd_, -1); }      ///< the descriptor that has the lock, or -1

 private:
  bool held_ = false;
  int fd_ = -1;
};

struct Begun {
  std::filesystem::path path{};
  int fd = -1;  ///< what `make` gave; -1: errno says why not
};

/// Begins the temporary of `path` (temporary_of this process; where a living writer has that, a thread's or
/// one of another container, the same with kAbovePids added) and locks it. What killed writers left there goes.
/// `make` makes it where there is nothing and opens it: a descriptor, or -1 and errno.
Begun begin_temporary(const std::filesystem::path& path,
                      const std::function<int(const std::filesystem::path&)>& make);

}  // namespace notch
