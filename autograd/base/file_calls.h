// The system calls that files are read and written by, as a table: a test puts another in its place
// (tests/base/failing_calls.h) whose N-th call fails.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace notch {

/// System calls as POSIX has them: -1 and errno. `rename_new` is renameat2 with RENAME_NOREPLACE,
/// `exchange` with RENAME_EXCHANGE.
struct FileCalls {
  int (*open)(const char* path, int flags, mode_t mode) = nullptr;
  int (*close)(int fd) = nullptr;
  ssize_t (*read)(int fd, void* to, std::size_t bytes) = nullptr;
  ssize_t (*pread)(int fd, void* to, std::size_t bytes, off_t offset) = nullptr;
  ssize_t (*write)(int fd, const void* from, std::size_t bytes) = nullptr;
  ssize_t (*pwrite)(int fd, const void* from, std::size_t bytes, off_t offset) = nullptr;
  int (*fsync)(int fd) = nullptr;
  int (*rename)(const char* from, const char* to) = nullptr;
  int (*rename_new)(const char* from, const char* to) = nullptr;
  int (*link)(const char* from, const char* to) = nullptr;
  int (*exchange)(const char* a, const char* b) = nullptr;
  int (*mkdir)(const char* path, mode_t mode) = nullptr;
};

/// The ones in use.
const FileCalls& file_calls();
/// The system's.
const FileCalls& system_file_calls();
/// Puts `calls` in use, which must outlive it; while no other thread uses files.
void use_file_calls(const FileCalls& calls);

}  // namespace notch
