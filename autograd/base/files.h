// Files: whole-file reads with a limit, and writes that are complete or absent.
//
// A file or directory is written beside its destination (`<name>.tmp-<host>@<boot>-<pid>`), fsynced, then renamed,
// and the parent directory is fsynced: after a crash at any instant the destination holds the complete old
// or the complete new content. A writer that may not replace anything is told by the renaming itself, so of
// several that write one path at once the first has it and the others are refused. No writer follows a
// symbolic link that has the file's own name: it is replaced, or refused by a writer that may not, and
// what it points to is left alone, since the directory may have been made by others.
// Leftover temporaries are removed by remove_stale_temporaries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/utf8.h"

namespace notch {

namespace fs = std::filesystem;

/// The bytes of a regular file. Throws Fault::io (missing, unreadable, a directory or device) or
/// Fault::input (larger than `max_bytes`).
std::string read_file(const fs::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 40);

/// The same of what a user names to be read once: a file or, to its end, a pipe; "-" is stdin.
std::string read_input(const fs::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 40);

/// What a writer does where there is something already.
enum class Existing : std::uint8_t {
  replace,
  refuse,  ///< refuse_existing, at the beginning and, where another writer was faster, at the end
};

/// Throws Fault::usage: `path` exists.
[[noreturn]] void refuse_existing(const fs::path& path);
/// The same where `path` names anything at all, a link that leads nowhere too.
void require_absent(const fs::path& path);

/// Makes `bytes` the file `path`, atomically and durably. Throws Fault::io with the needed and free bytes.
void write_file(const fs::path& path, std::string_view bytes,
                Existing existing = Existing::replace);

/// Makes a directory and what is above it, where it is not there yet; those that this call has made, and no
/// other process, are added to `made`, upper ones first. Throws Fault::io.
void make_directories(const fs::path& directory, std::vector<fs::path>* made = nullptr);

/// Where a path that a user has named leads, if it is a symbolic link, also to what is not there yet; else
/// itself. For outputs of the command line, where writing through a link is what is meant.
fs::path behind_link(const fs::path& path);

/// Appends and flushes to the OS; for line logs (metrics.jsonl). Fault::io for a symbolic link, a
/// FIFO or a socket.
void append_file(const fs::path& path, std::string_view bytes);

/// A file being written piece by piece to a temporary; `commit` makes it appear. Destroying it
/// without commit removes the temporary. One that replaces nothing removes what killed writers of the
/// path left when it commits: until then a command may still be refused, which changes nothing.
class FileWriter {
 public:
  explicit FileWriter(fs::path path, Existing existing = Existing::replace);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void write(std::string_view bytes);
  void write(const void* data, std::size_t bytes);
  /// Replaces bytes that have been written: what only the rest of the file could tell.
  void overwrite(std::uint64_t offset, std::string_view bytes);
  void commit();
  std::uint64_t bytes_written() const { return bytes_; }

 private:
  fs::path path_, temporary_;
  Existing existing_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
};

/// A directory being filled in a temporary; `commit` renames it over `path` (an existing directory of
/// that name is replaced: renamed aside first, removed after; an empty one by those that replace nothing
/// else). Destroyed without commit: removed. What killed writers of the path left goes when it begins, of
/// one that replaces nothing when it commits.
class DirectoryWriter {
 public:
  explicit DirectoryWriter(fs::path path, Existing existing = Existing::replace);
  ~DirectoryWriter();
  DirectoryWriter(const DirectoryWriter&) = delete;
  DirectoryWriter& operator=(const DirectoryWriter&) = delete;
  const fs::path& temporary() const { return temporary_; }  ///< write the files here
  void commit();

 private:
  fs::path path_, temporary_;
  Existing existing_;
  bool committed_ = false;
};

/// Whether `name` is a writer's temporary, X.tmp-<host>@<boot>-<pid> or the same and -old (earlier builds left
/// the boot id out, or the host as well); X is stored in `base`.
bool is_temporary_name(std::string_view name, std::string& base);

/// Removes the temporaries directly below `directory` that earlier processes left of what `ours`
/// says this program writes there; what a living writer holds locked stays. A directory that was
/// renamed aside comes back where there is no other; Fault::io where it cannot. For a directory that
/// one process at a time writes: whose number and host a name has is not asked (orphans.h does).
void remove_stale_temporaries(const fs::path& directory,
                              const std::function<bool(std::string_view base)>& ours);

/// Removes what the writers of this process have not committed, and makes every later commit and
/// new writer wait: for the moment before the process is ended from outside.
void abandon_temporaries();

}  // namespace notch
