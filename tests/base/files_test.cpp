// Files are complete or absent, and refusals of the operating system arrive as Fault::io. The
// failures are real ones that also hit root: a missing directory, /proc, /dev/full, a file-size
// limit.
#include "autograd/base/files.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "autograd/base/temporaries.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace files_test {

using namespace notch;
using test::error_of;
using test::TemporaryDirectory;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

std::string temporary_name(const std::string& name) {
  return temporary_of(name, ::getpid()).string();
}

// Writes beyond `bytes` fail with EFBIG while this lives (after a short write up to the limit).
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_CASE("what is written is read back: empty, binary and large contents") {
  const TemporaryDirectory dir;
  for (const std::string& bytes :
       {std::string(), std::string("a\0b\xff\r\n", 6), std::string(300000, 'z')}) {
    write_file(dir / "f", bytes);
    CHECK(read_file(dir / "f") == bytes);
  }
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("read_file keeps to its limit and says both sizes") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "12345");
  CHECK(read_file(dir / "f", 5) == "12345");
  const ErrorParts parts = error_of([&] { read_file(dir / "f", 4); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.where == (dir / "f").string());
  CHECK(parts.found == "5 bytes");
  CHECK(parts.expected == "at most 4 bytes");
}

TEST_CASE("read_file refuses all but regular files and waits for no FIFO") {
  const TemporaryDirectory dir;
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  for (const fs::path& path :
       {dir.path(), dir / "fifo", dir / "absent", fs::path("/dev/zero"), fs::path()}) {
    CHECK(error_of([&] { read_file(path); }).fault == Fault::io);
  }
}

TEST_CASE("read_file reads files whose size is not known beforehand") {
  CHECK(read_file("/proc/self/status").find("Pid:") != std::string::npos);
  CHECK(error_of([] { read_file("/proc/self/status", 10); }).fault == Fault::input);
}

TEST_CASE("a file writer changes nothing before commit") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  FileWriter writer(dir / "f");
  writer.write("new ");
  const int number = 0x01020304;
  writer.write(&number, sizeof number);
  CHECK(writer.bytes_written() == 8);
  CHECK(read_file(dir / "f") == "old");
  CHECK(names_in(dir.path()) == Names{"f", temporary_name("f")});
  writer.commit();
  CHECK(read_file(dir / "f").substr(0, 4) == "new ");
  CHECK(read_file(dir / "f").size() == 8);
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("an abandoned file writer leaves the old file and no temporary") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  { FileWriter(dir / "f").write("half"); }
  CHECK(read_file(dir / "f") == "old");
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("a temporary left by a killed process is replaced, not followed") {
  const TemporaryDirectory dir;
  write_file(dir / "other", "untouched");
  fs::create_symlink(dir / "other", dir / temporary_name("f"));
  write_file(dir / "f", "new");
  CHECK(read_file(dir / "f") == "new");
  CHECK(read_file(dir / "other") == "untouched");
  CHECK(names_in(dir.path()) == Names{"f", "other"});
}

TEST_CASE("a symbolic link is replaced, and what it points to is left alone") {
  const TemporaryDirectory dir;
  write_file(dir / "target", "old");
  fs::create_directory(dir / "folder");
  write_file(dir / "folder/kept", "old");
  fs::create_symlink("target", dir / "file");
  fs::create_symlink("absent", dir / "dangling");
  fs::create_symlink("folder", dir / "directory");
  write_file(dir / "file", "new");
  write_file(dir / "dangling", "new");
  DirectoryWriter writer(dir / "directory");
  write_file(writer.temporary() / "inside", "new");
  writer.commit();
  CHECK_FALSE(fs::is_symlink(dir / "file"));
  CHECK(read_file(dir / "file") == "new");
  CHECK(read_file(dir / "target") == "old");
  CHECK(read_file(dir / "folder/kept") == "old");
  CHECK(read_file(dir / "directory/inside") == "new");
  CHECK(names_in(dir.path()) == Names{"dangling", "directory", "file", "folder", "target"});
}

TEST_CASE("what a user names may be a link") {
  const TemporaryDirectory dir;
  write_file(dir / "target", "old");
  fs::create_symlink("target", dir / "link");
  fs::create_symlink("absent", dir / "dangling");
  write_file(behind_link(dir / "link"), "new");
  CHECK(fs::is_symlink(dir / "link"));
  CHECK(read_file(dir / "target") == "new");
  CHECK(behind_link(dir / "target") == dir / "target");
  fs::create_symlink(dir / "dangling", dir / "twice");
  fs::create_symlink("endless", dir / "endless");
  CHECK(behind_link(dir / "twice") == dir / "absent");
  CHECK(behind_link(dir / "endless") == dir / "endless");
}

TEST_CASE("nothing is appended through a link or to what is no file") {
  const TemporaryDirectory dir;
  write_file(dir / "target", "old");
  fs::create_symlink("target", dir / "link");
  fs::create_symlink("absent", dir / "dangling");
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  for (const char* name : {"link", "dangling", "fifo"}) {
    CAPTURE(name);
    const ErrorParts parts = error_of([&] { append_file(dir / name, "new"); });
    CHECK(parts.fault == Fault::io);
    CHECK(parts.where == dir / name);
  }
  CHECK(read_file(dir / "target") == "old");
  CHECK_FALSE(fs::exists(dir / "absent"));
}

TEST_CASE("a missing or read-only directory is an I/O error for writers") {
  const TemporaryDirectory dir;
  for (const fs::path& path : {dir / "absent/f", fs::path("/proc/notch-test")}) {
    CHECK(error_of([&] { write_file(path, "x"); }).fault == Fault::io);
    CHECK(error_of([&] { append_file(path, "x"); }).fault == Fault::io);
    CHECK(error_of([&] { DirectoryWriter writer(path); }).fault == Fault::io);
  }
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("no file replaces a directory or device, no directory a file") {
  const TemporaryDirectory dir;
  fs::create_directory(dir / "d");
  write_file(dir / "f", "x");
  CHECK(error_of([&] { write_file(dir / "d", "x"); }).fault == Fault::io);
  CHECK(error_of([] { write_file("/dev/null", "x"); }).fault == Fault::io);
  CHECK(error_of([&] { DirectoryWriter writer(dir / "f"); }).fault == Fault::io);
  CHECK(fs::is_directory(dir / "d"));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("a full disk is reported with the needed and the free bytes") {
  const ErrorParts parts = error_of([] { append_file("/dev/full", "twelve bytes"); });
  CHECK(parts.fault == Fault::io);
  CHECK(parts.where == "/dev/full");
  CHECK(parts.expected.find("12") != std::string::npos);
  CHECK_FALSE(parts.found.empty());
  CHECK_FALSE(parts.hint.empty());
}

TEST_CASE("a write that fails halfway leaves the old file and no temporary") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  {
    const FileSizeLimit limit(1000);
    const ErrorParts parts = error_of([&] { write_file(dir / "f", std::string(5000, 'x')); });
    CHECK(parts.fault == Fault::io);
    // The disk has room, so that freeing some would not help.
    CHECK(parts.hint.find("ulimit -f") != std::string::npos);
    CHECK(parts.found.find("free") == std::string::npos);
  }
  CHECK(read_file(dir / "f") == "old");
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("what the rest of a file tells takes its place, and no more") {
  const TemporaryDirectory dir;
  FileWriter file(dir / "f");
  file.write("length ???, then text");
  file.overwrite(7, "021");
  CHECK(error_of([&] { file.overwrite(20, "xx"); }).fault == Fault::usage);
  CHECK(error_of([&] { file.overwrite(22, ""); }).fault == Fault::usage);
  file.commit();
  CHECK(read_file(dir / "f") == "length 021, then text");
}

TEST_CASE("append_file creates the file and adds to its end") {
  const TemporaryDirectory dir;
  append_file(dir / "log", "one\n");
  append_file(dir / "log", "two\n");
  CHECK(read_file(dir / "log") == "one\ntwo\n");
}

TEST_CASE("a directory is replaced whole with all its files at commit") {
  const TemporaryDirectory dir;
  for (const std::string content : {"first", "second"}) {
    DirectoryWriter writer(dir / "ckpt/");
    CHECK(writer.temporary() == dir / temporary_name("ckpt"));
    write_file(writer.temporary() / content, content);
    fs::create_directory(writer.temporary() / "sub");
    write_file(writer.temporary() / "sub" / "f", content);
    if (content == "first") {
      CHECK_FALSE(fs::exists(dir / "ckpt"));
    } else {
      CHECK(names_in(dir / "ckpt") == Names{"first", "sub"});
    }
    writer.commit();
    CHECK(names_in(dir / "ckpt") == Names{content, "sub"});
    CHECK(read_file(dir / "ckpt" / "sub" / "f") == content);
    CHECK(names_in(dir.path()) == Names{"ckpt"});
  }
}

TEST_CASE("an abandoned directory writer leaves the old one as it was") {
  const TemporaryDirectory dir;
  fs::create_directory(dir / "ckpt");
  write_file(dir / "ckpt/f", "old");
  {
    DirectoryWriter writer(dir / "ckpt");
    write_file(writer.temporary() / "f", "new");
  }
  CHECK(read_file(dir / "ckpt/f") == "old");
  CHECK(names_in(dir.path()) == Names{"ckpt"});
}

TEST_CASE("a process killed while writing leaves the old content") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    FileWriter file(dir / "f");
    file.write("half");
    DirectoryWriter directory(dir / "ckpt");
    write_file(directory.temporary() / "model", "half");
    ::kill(::getpid(), SIGKILL);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(read_file(dir / "f") == "old");
  CHECK(names_in(dir.path()).size() == 3);
  remove_stale_temporaries(dir.path(),
                           [](std::string_view name) { return name == "f" || name == "ckpt"; });
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("only our temporaries are stale, a half-renamed directory returns") {
  const TemporaryDirectory dir;
  for (const char* name : {"keep.tmp-notes", "keep", "a.tmp-12", ".tmp-", ".tmp-3", "b.tmp-7-old",
                           "b", "notes.tmp-2024"}) {
    write_file(dir / name, name);
  }
  fs::create_directories(dir / "c.tmp-5/sub");
  fs::create_directories(dir / "d.tmp-5-old");
  fs::create_directories(dir / "d.tmp-5");
  const auto ours = [](std::string_view name) { return name != "notes"; };
  remove_stale_temporaries(dir.path(), ours);
  CHECK(names_in(dir.path()) ==
        Names{".tmp-", ".tmp-3", "b", "d", "keep", "keep.tmp-notes", "notes.tmp-2024"});
  CHECK_NOTHROW(remove_stale_temporaries(dir / "absent", ours));
}

TEST_CASE("an ended process abandons what it has not committed, no more") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    FileWriter half(dir / "f"), whole(dir / "g");
    half.write("half");
    whole.write("whole");
    whole.commit();
    DirectoryWriter directory(dir / "ckpt"), committed(dir / "model");
    write_file(directory.temporary() / "weights", "half");
    write_file(committed.temporary() / "weights", "whole");
    committed.commit();
    abandon_temporaries();
    ::_exit(0);
  }
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(names_in(dir.path()) == Names{"f", "g", "model"});
  CHECK(read_file(dir / "f") == "old");
  CHECK(read_file(dir / "model/weights") == "whole");
}

TEST_CASE("an input may be a pipe, with the size limit of a file") {
  const TemporaryDirectory dir;
  const fs::path pipe = dir / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const std::string text = std::string(200'000, 'x') + "end";  // more than a pipe holds
  const auto piped = [&](std::uint64_t max_bytes) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGPIPE, SIG_IGN);
      std::ofstream(pipe) << text << std::flush;  // or as much as the reader takes
      ::_exit(0);
    }
    const auto wait = [&] { ::waitpid(child, nullptr, 0); };
    try {
      const std::string got = read_input(pipe, max_bytes);
      wait();
      return got;
    } catch (const Error& e) {
      wait();
      return str("fault ", static_cast<int>(e.fault()));
    }
  };
  CHECK(piped(1 << 20) == text);
  CHECK(piped(1000) == "fault 3");
  write_file(dir / "file", text);
  CHECK(read_input(dir / "file") == text);
  CHECK(error_of([&] { read_file(pipe); }).fault == Fault::io);
  for (const fs::path& bad : {dir.path(), fs::path("/dev/null"), dir / "absent"}) {
    CHECK(error_of([&] { read_input(bad); }).fault == Fault::io);
  }
}

}  // namespace files_test
