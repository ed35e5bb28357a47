// File calls that fail: the test double of autograd/base/file_calls.h.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <map>
#include <ostream>
#include <string_view>
#include <utility>

#include "autograd/base/file_calls.h"
#include "tests/catch.h"

namespace notch::test {

/// While one lives, files are used through `calls`.
class OtherCalls {
 public:
  explicit OtherCalls(const FileCalls& calls) { use_file_calls(calls); }
  ~OtherCalls() { use_file_calls(system_file_calls()); }
  OtherCalls(const OtherCalls&) = delete;
  OtherCalls& operator=(const OtherCalls&) = delete;
};

/// The N-th call of a name fails, or is short: a write or read of half the bytes, as any may be.
struct FailingCall {
  std::string_view name{};  ///< a member of FileCalls; "": any
  int error = EIO;          ///< 0: short
  bool from_then_on = false;
  long number = 1;
};

inline std::ostream& operator<<(std::ostream& out, const FailingCall& call) {
  return out << (call.name.empty() ? "any" : call.name) << " number " << call.number
             << (call.error ? " fails with " : " is short: ") << call.error
             << (call.from_then_on ? " from then on" : "");
}

/// While one lives, files are used through it.
class FailingCalls {
 public:
  explicit FailingCalls(const FailingCall& failing) : failing_(failing) {
    now_ = this;
    use_file_calls(table());
  }
  ~FailingCalls() {
    use_file_calls(system_file_calls());
    now_ = nullptr;
  }
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;

  /// Whether there was an N-th call.
  bool struck() const { return seen_ >= failing_.number; }

  /// What a power failure leaves: of every file below `root` only what has been synced.
  void drop_unsynced(const std::filesystem::path& root) const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file() || entry.is_symlink()) continue;
      struct stat info {};
      REQUIRE(::stat(entry.path().c_str(), &info) == 0);
      const auto written = synced_.find({info.st_dev, info.st_ino});
      if (written != synced_.end() && written->second < info.st_size) {
        REQUIRE(::truncate(entry.path().c_str(), written->second) == 0);
      }
    }
  }

 private:
  bool fails(std::string_view name) {
    if (!failing_.name.empty() && failing_.name != name) return false;
    const long number = ++seen_;
    const bool hit =
        number == failing_.number || (failing_.from_then_on && number > failing_.number);
    if (hit) errno = failing_.error;
    return hit;
  }
  /// Of a call that moves bytes: what is left of them, or nothing.
  static std::pair<bool, std::size_t> moves(std::string_view name, std::size_t bytes) {
    if (!now_->fails(name)) return {true, bytes};
    return {now_->failing_.error == 0, (bytes + 1) / 2};
  }
  static void wrote(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) == 0) now_->synced_.try_emplace({info.st_dev, info.st_ino}, 0);
  }
  // No power fails here but ours: what counts as synced need not wait for the disk.
  static int sync(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return -1;
    now_->synced_[{info.st_dev, info.st_ino}] = info.st_size;
    return 0;
  }

  static const FileCalls& table() {
    static const FileCalls calls{
        .open = [](const char* path, int flags,
                   mode_t mode) { return now_->fails("open") ? -1 : ::open(path, flags, mode); },
        // A close that fails has closed.
        .close =
            [](int fd) {
              const bool fails = now_->fails("close");
              const int result = ::close(fd);
              if (fails) errno = now_->failing_.error;
              return fails ? -1 : result;
            },
        .read =
            [](int fd, void* to, std::size_t bytes) {
              const auto [goes, some] = moves("read", bytes);
              return goes ? ::read(fd, to, some) : -1;
            },
        .pread =
            [](int fd, void* to, std::size_t bytes, off_t offset) {
              const auto [goes, some] = moves("pread", bytes);
              return goes ? ::pread(fd, to, some, offset) : -1;
            },
        .write =
            [](int fd, const void* from, std::size_t bytes) {
              const auto [goes, some] = moves("write", bytes);
              wrote(fd);
              return goes ? ::write(fd, from, some) : -1;
            },
        .pwrite =
            [](int fd, const void* from, std::size_t bytes, off_t offset) {
              const auto [goes, some] = moves("pwrite", bytes);
              wrote(fd);
              return goes ? ::pwrite(fd, from, some, offset) : -1;
            },
        .fsync = [](int fd) { return now_->fails("fsync") ? -1 : sync(fd); },
        .rename = [](const char* from,
                     const char* to) { return now_->fails("rename") ? -1 : ::rename(from, to); },
        .rename_new =
            [](const char* from, const char* to) {
              return now_->fails("rename_new") ? -1 : system_file_calls().rename_new(from, to);
            },
        .link = [](const char* from,
                   const char* to) { return now_->fails("link") ? -1 : ::link(from, to); },
        .exchange =
            [](const char* a, const char* b) {
              return now_->fails("exchange") ? -1 : system_file_calls().exchange(a, b);
            },
        .mkdir = [](const char* path,
                    mode_t mode) { return now_->fails("mkdir") ? -1 : ::mkdir(path, mode); }};
    return calls;
  }

  static inline FailingCalls* now_ = nullptr;
  FailingCall failing_;
  std::atomic<long> seen_ = 0;  // several threads may read
  std::map<std::pair<dev_t, ino_t>, off_t>
      synced_{};  // of files that were written: bytes on the disk
};

/// Everything that a disk or a system may do, as often as a sweep wants it: the first call of each kind
/// fails, then the second, and so on until there is no such call, once and from then on.
/// `attempt(calls)` must throw Fault::io with a place, or succeed; `check(failed)` looks at what is there.
template <class Attempt, class Check>
void sweep_failing_calls(const Attempt& attempt, const Check& check, long stride = 1) {
  const FailingCall kinds[] = {
      {.name = "open", .error = EACCES},    {.name = "open", .error = EMFILE},
      {.name = "read", .error = EIO},       {.name = "read", .error = 0},
      {.name = "pread", .error = EIO},      {.name = "pread", .error = 0},
      {.name = "write", .error = ENOSPC},   {.name = "write", .error = EIO},
      {.name = "write", .error = 0},        {.name = "write", .error = EINTR},
      {.name = "pwrite", .error = ENOSPC},  {.name = "fsync", .error = EIO},
      {.name = "close", .error = EIO},      {.name = "rename", .error = EIO},
      {.name = "exchange", .error = EIO},   {.name = "exchange", .error = EINVAL},
      {.name = "rename_new", .error = EIO}, {.name = "rename_new", .error = EINVAL},
      {.name = "mkdir", .error = ENOSPC},   {.name = "", .error = EIO}};
  for (FailingCall failing : kinds) {
    for (const bool from_then_on : {false, true}) {
      failing.from_then_on = from_then_on;
      if (failing.from_then_on && (failing.error == 0 || failing.error == EINTR)) continue;
      bool struck = true;
      for (failing.number = 1; struck; failing.number += stride) {
        INFO(failing);
        bool failed = false;
        {
          FailingCalls calls(failing);
          try {
            attempt();
          } catch (const Error& e) {
            failed = true;
            CAPTURE(e.what());
            REQUIRE(e.fault() == Fault::io);
            REQUIRE_FALSE(e.parts().where.empty());
          }
          struck = calls.struck();
          if (!struck) REQUIRE_FALSE(failed);
        }
        check(failed);
      }
    }
  }
}

/// The power fails at every call in turn: from then on nothing works, and what was not synced is lost.
template <class Attempt, class Check>
void sweep_power_failures(const std::filesystem::path& root, const Attempt& attempt,
                          const Check& check, long stride = 1) {
  bool struck = true;
  for (FailingCall failing{.from_then_on = true}; struck; failing.number += stride) {
    INFO(failing);
    FailingCalls calls(failing);
    try {
      attempt();
    } catch (const Error& e) {
      REQUIRE(e.fault() == Fault::io);
    }
    struck = calls.struck();
    calls.drop_unsynced(root);
    use_file_calls(system_file_calls());  // the next start
    check();
  }
}

}  // namespace notch::test
