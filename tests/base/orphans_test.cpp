// What killed writers left goes, what a living one has begun stays: also of one whose number says nothing.
#include "autograd/base/orphans.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "autograd/base/file_calls.h"
#include "autograd/base/temporaries.h"
#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace orphans_test {

using namespace notch;
using test::OtherCalls;
using test::TemporaryDirectory;

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}
using Names = std::set<std::string>;

/// The number of a process that has ended by SIGKILL: in `work`, or after it.
template <class Work>
std::string killed_after(const Work& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  return std::to_string(child);
}

/// The name beside `name` of a writer whose process's number has `times` 2^22 added.
std::string temporary_name(const std::string& name, long times = 0) {
  return temporary_of(name, static_cast<pid_t>(::getpid() + times * 4194304)).string();
}

/// As another process has one: of a descriptor of its own.
class Lock {
 public:
  explicit Lock(const fs::path& path, int kind = LOCK_EX)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
    got_ = ::flock(fd_, kind | LOCK_NB) == 0;
  }
  ~Lock() { ::close(fd_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool got() const { return got_; }

 private:
  int fd_;
  bool got_ = false;
};

// What the calls below have done; they are plain functions.
int calls_seen = 0, locks_seen = 0;
std::optional<std::thread> looking;

TEST_CASE("a writer leaves what another of its process's number has begun") {
  const TemporaryDirectory dir;
  const auto write_both = [&] {
    FileWriter file(dir / "f");
    file.write("new");
    DirectoryWriter model(dir / "model");
    write_file(model.temporary() / "weights", "new");
    const Names begun = names_in(dir.path());
    file.commit();
    model.commit();
    return begun;
  };
  fs::create_directory(dir / temporary_name("model"));
  for (const std::string& name : {temporary_name("f"), temporary_name("model") + "/weights"})
    write_file(dir / name, "half");
  const Names of_other = names_in(dir.path()),
              next{temporary_name("f"), temporary_name("f", 1), temporary_name("model"),
                   temporary_name("model", 1)};
  for (const int kind : {LOCK_EX, LOCK_SH}) {
    const Lock file(dir / temporary_name("f"), kind), model(dir / temporary_name("model"), kind);
    CHECK(write_both() == next);
    CHECK(read_file(dir / temporary_name("f")) == "half");
    CHECK(read_file(dir / temporary_name("model") / "weights") == "half");
    CHECK(read_file(dir / "f") == "new");
    CHECK(read_file(dir / "model/weights") == "new");
    fs::remove(dir / "f");
    fs::remove_all(dir / "model");
  }
  CHECK(names_in(dir.path()) == of_other);
  // Once its writer is no more, it is what a killed process of that number left.
  CHECK(write_both() == of_other);
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("two writers of one path both end, and the later one has it") {
  const TemporaryDirectory dir;
  FileWriter first(dir / "f"), second(dir / "f");
  DirectoryWriter one(dir / "model"), two(dir / "model");
  first.write("first");
  second.write("second");
  write_file(one.temporary() / "weights", "first");
  write_file(two.temporary() / "weights", "second");
  first.commit();
  second.commit();
  one.commit();
  two.commit();
  CHECK(read_file(dir / "f") == "second");
  CHECK(read_file(dir / "model/weights") == "second");
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("a temporary of no process goes unless it is locked") {
  const TemporaryDirectory dir;
  const std::string name = temporary_name("f", 3);
  write_file(dir / name, "half");
  {
    const Lock writer(dir / name);
    remove_orphans(dir / "f");
    CHECK(names_in(dir.path()) == Names{name});
  }
  remove_orphans(dir / "f");
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("a new temporary is locked although others look at it") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  SECTION("one that looks has it locked for a moment") {
    calls.open = [](const char* path, int flags, mode_t mode) {
      const int fd = ::open(path, flags, mode);
      const int own = ::open(path, O_RDONLY);
      if (::flock(own, LOCK_SH | LOCK_NB) == 0) ++locks_seen;
      looking.emplace([own] { ::close(own); });
      return fd;
    };
  }
  SECTION("one that looked before it was locked removes it") {
    calls.open = [](const char* path, int flags, mode_t mode) {
      const int fd = ::open(path, flags, mode);
      if (++calls_seen == 1) ::unlink(path);
      return fd;
    };
  }
  calls_seen = locks_seen = 0;
  std::optional<FileWriter> file;
  {
    const OtherCalls others(calls);
    file.emplace(dir / "f");
  }
  CHECK(calls_seen + locks_seen >= 1);
  if (looking) looking->join();
  looking.reset();
  const Names begun = names_in(dir.path());
  REQUIRE(begun.size() == 1);
  CHECK_FALSE(Lock(dir / *begun.begin()).got());
  file->write("new");
  file->commit();
  CHECK(read_file(dir / "f") == "new");
  CHECK(Lock(dir / "f").got());
}

TEST_CASE("what is renamed is locked until it is there or gone") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  calls.rename = [](const char* from, const char* to) {
    ++calls_seen;
    const std::string aside = std::string(from) + "-old";
    for (const std::string& path : {std::string(from), aside}) {
      if (fs::exists(path) && !Lock(path).got()) ++locks_seen;
    }
    return ::rename(from, to);
  };
  const auto locks_of = [&](const auto& commit) {
    calls_seen = locks_seen = 0;
    const OtherCalls others(calls);
    commit();
    return locks_seen;
  };
  const auto replace = [&] {
    DirectoryWriter model(dir / "model");
    model.commit();
  };
  CHECK(locks_of([&] { write_file(dir / "f", "new"); }) == 1);
  CHECK(calls_seen == 1);
  CHECK(locks_of(replace) == 1);
  CHECK(calls_seen == 1);
  // Without exchange: the old one aside, then the new one while the old one waits there.
  calls.exchange = [](const char*, const char*) {
    errno = EINVAL;
    return -1;
  };
  CHECK(locks_of(replace) == 1 + 2);
  CHECK(calls_seen == 2);
  // With it, the old one has the temporary's name.
  calls.exchange = [](const char* a, const char* b) {
    const int result = system_file_calls().exchange(a, b);
    if (!Lock(a).got()) ++locks_seen;
    return result;
  };
  CHECK(locks_of(replace) == 1);
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("a directory that another writer puts there meanwhile is replaced") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  calls.rename = [](const char* from, const char* to) {
    if (++calls_seen == 1) {
      fs::create_directory(to);
      fs::create_directory(fs::path(to) / "theirs");
    }
    return ::rename(from, to);
  };
  calls_seen = 0;
  {
    DirectoryWriter model(dir / "model");
    fs::create_directory(model.temporary() / "mine");
    const OtherCalls others(calls);
    model.commit();
  }
  CHECK(calls_seen == 1);
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(names_in(dir / "model") == Names{"mine"});
}

TEST_CASE("what killed writers of a path left is removed, and nothing else") {
  const TemporaryDirectory dir;
  const std::string pid = killed_after([&] {
    FileWriter file(dir / "f"), other(dir / "g");
    file.write("half");
    DirectoryWriter directory(dir / "model");
    write_file(directory.temporary() / "weights", "half");
    ::kill(::getpid(), SIGKILL);
  });
  const std::string here = ".tmp-" + temporary_host() + "-", f = "f" + here + pid,
                    model = "model" + here + pid;
  write_file(dir / "f.tmp-notes", "text");
  write_file(dir / ("f" + here + "0"), "of no process");
  write_file(dir / ("f" + here + "1" + pid + "000000000"), "of none either");
  const Names others = names_in(dir.path());
  REQUIRE(others.contains(f));
  const auto without = [&](const Names& gone) {
    Names left = others;
    for (const std::string& name : gone) left.erase(name);
    return left;
  };
  remove_orphans(dir / "f");
  CHECK(names_in(dir.path()) == without({f}));
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == without({f, model}));
  CHECK_NOTHROW(remove_orphans(dir / "absent/f"));
}

TEST_CASE("a directory that a killed writer had renamed aside comes back") {
  const TemporaryDirectory dir;
  const std::string pid = killed_after([] {});
  const auto make_aside = [&] {
    const fs::path aside = dir / ("model.tmp-" + temporary_host() + "-" + pid + "-old");
    fs::create_directory(aside);
    write_file(aside / "weights", "old");
  };
  make_aside();
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(read_file(dir / "model/weights") == "old");
  make_aside();
  write_file(dir / "model/weights", "new");
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(read_file(dir / "model/weights") == "new");
}

TEST_CASE("a living writer keeps what it has begun") {
  const TemporaryDirectory dir;
  std::optional<FileWriter> file;
  std::optional<DirectoryWriter> directory;
  file.emplace(dir / "f");
  directory.emplace(dir / "model");
  const Names begun = names_in(dir.path());
  const auto remove_both = [&] {
    remove_orphans(dir / "f");
    remove_orphans(dir / "model");
    return names_in(dir.path());
  };
  CHECK(remove_both() == begun);
  const auto remove_stale = [&] {
    remove_stale_temporaries(dir.path(), [](std::string_view) { return true; });
    return names_in(dir.path());
  };
  CHECK(remove_stale() == begun);
  // Of another container: here its number is that of no process.
  const std::string none = ".tmp-" + temporary_host() + "-" + killed_after([] {});
  for (const std::string name : {"f", "model"})
    fs::rename(dir / temporary_name(name), dir / (name + none));
  CHECK(remove_both() == Names{"f" + none, "model" + none});
  CHECK(remove_stale() == Names{"f" + none, "model" + none});
  file.reset();
  directory.reset();
  CHECK(remove_both().empty());
}

TEST_CASE("another host's temporaries stay until a week has passed") {
  const TemporaryDirectory dir;
  // A number of no process here, and of one that lives.
  const std::string dead = killed_after([] {}), alive = std::to_string(::getpid());
  const std::string theirs = ".tmp-far-away-" + dead, earlier = ".tmp-" + dead;
  const auto make_all = [&] {
    for (const std::string& name : {"f" + theirs, "f.tmp-far-away-" + alive, "f" + earlier})
      write_file(dir / name, "half");
    fs::create_directories(dir / ("model" + theirs));
    write_file(dir / ("model" + theirs) / "weights", "half");
    fs::create_directories(dir / ("model" + theirs + "-old"));
  };
  const auto remove_both = [&] {
    remove_orphans(dir / "f");
    remove_orphans(dir / "model");
    return names_in(dir.path());
  };
  const auto age = [&](const std::string& name, int hours) {
    fs::last_write_time(dir / name, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  make_all();
  const Names all = names_in(dir.path());
  REQUIRE(all.size() == 5);
  CHECK(remove_both() == all);
  for (const std::string& name : all) age(name, 7 * 24 - 1);
  CHECK(remove_both() == all);
  for (const std::string& name : all) age(name, 7 * 24 + 1);
  {
    const Lock writer(dir / ("f" + theirs));  // where locks reach other hosts
    // A file below is written yet; what was renamed aside comes back.
    CHECK(remove_both() == Names{"f" + theirs, "model", "model" + theirs});
  }
  age("model" + theirs + "/weights", 7 * 24 + 1);
  age("model" + theirs, 7 * 24 + 1);
  CHECK(remove_both() == Names{"model"});
}

TEST_CASE("another container's temporaries go once they are not locked") {
  const TemporaryDirectory dir;
  const std::string boot = boot_id();
  if (boot.empty()) return;  // the kernel does not say
  const std::string other = (boot[0] == '0' ? "1" : "0") + boot.substr(1),
                    dead = killed_after([] {});
  const std::string theirs = "f.tmp-3fa9c1d2e4b5@", name = theirs + boot + "-" + dead,
                    far = theirs + other + "-" + dead, nameless = theirs + "-" + dead;
  for (const std::string& each : {name, far, nameless}) write_file(dir / each, "half");
  {
    const Lock writer(dir / name);
    remove_orphans(dir / "f");
    CHECK(names_in(dir.path()) == Names{name, far, nameless});
  }
  remove_orphans(dir / "f");
  CHECK(names_in(dir.path()) == Names{far, nameless});
}

TEST_CASE("a host's name takes little of a file's and stays its own") {
  CHECK(host_in_names("node_7") == "node_7");
  CHECK(host_in_names("3fa9c1d2e4b5") == "3fa9c1d2e4b5");  // a container's
  CHECK(host_in_names("a.b c@d") == "a-b-c-d");
  const std::string domain = ".a-region-somewhere.compute.internal",
                    one = host_in_names("ip-10-0-0-1" + domain),
                    other = host_in_names("ip-10-0-0-2" + domain);
  CHECK(one.starts_with("ip-10-0-"));
  CHECK(one.size() == 16);
  CHECK(one != other);
  CHECK(host_in_names("0123456789abcdef") == "0123456789abcdef");
  const std::string mine = temporary_of("", std::numeric_limits<pid_t>::max()).string() + "-old";
  CHECK(mine.size() <= 45);
  const TemporaryDirectory dir;
  const std::string longest(255 - 45, 'n');
  write_file(dir / longest, "text");
  { DirectoryWriter(dir / (longest.substr(1) + "d")).commit(); }
  { DirectoryWriter(dir / (longest.substr(1) + "d")).commit(); }
  CHECK(names_in(dir.path()) == Names{longest, longest.substr(1) + "d"});
}

TEST_CASE("a temporary's name says of what, whose and which it is") {
  const auto parts = [](std::string_view name) -> std::vector<std::string> {
    const auto found = parse_temporary_name(name);
    if (!found) return {};
    return {found->base, found->host, found->boot, found->number, found->aside ? "aside" : ""};
  };
  using Parts = std::vector<std::string>;
  CHECK(parts("f.tmp-node-7@1a2b-12") == Parts{"f", "node-7", "1a2b", "12", ""});
  CHECK(parts("f.tmp-node-7@1a2b-12-old") == Parts{"f", "node-7", "1a2b", "12", "aside"});
  CHECK(parts("f.tmp-node-7@-12") == Parts{"f", "node-7", "", "12", ""});
  CHECK(parts("f.tmp-node-7-12") == Parts{"f", "node-7", "", "12", ""});
  CHECK(parts("f.tmp-an-old-3") == Parts{"f", "an-old", "", "3", ""});
  CHECK(parts("f.tmp-1.tmp-h-2") == Parts{"f.tmp-1", "h", "", "2", ""});
  CHECK(parts("f.tmp-12-old") == Parts{"f", "", "", "12", "aside"});
  for (const char* other :
       {"f", "f.tmp-", "f.tmp-notes", "f.tmp--3", "f.tmp-@1a-3", "f.tmp-h-", ".tmp-h-3", "-old"})
    CHECK(parts(other).empty());
  CHECK(parts(temporary_of("d/f", 9).filename().string()) ==
        Parts{"f", host_in_names(host_name()), boot_id(), "9", ""});
}

}  // namespace orphans_test
