// What killed writers left goes, what a living one has begun stays: also of one whose number says nothing.
#include "autograd/base/orphans.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <set>
#include <string>

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

using namespace notch;
using test::TemporaryDirectory;

namespace {

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

}  // namespace

TEST_CASE("what killed writers of a path left is removed, and nothing else") {
  const TemporaryDirectory dir;
  const std::string pid = killed_after([&] {
    FileWriter file(dir / "f"), other(dir / "g");
    file.write("half");
    DirectoryWriter directory(dir / "model");
    write_file(directory.temporary() / "weights", "half");
    ::kill(::getpid(), SIGKILL);
  });
  const std::string f = "f.tmp-" + pid, g = "g.tmp-" + pid, model = "model.tmp-" + pid;
  write_file(dir / "f.tmp-notes", "text");
  write_file(dir / "f.tmp-0", "of no process");
  write_file(dir / ("f.tmp-1" + pid + "000000000"), "of none either");
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
    fs::create_directory(dir / ("model.tmp-" + pid + "-old"));
    write_file(dir / ("model.tmp-" + pid + "-old") / "weights", "old");
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
  // Of another container: here its number is that of no process.
  const std::string own = std::to_string(::getpid()), none = killed_after([] {});
  for (const std::string name : {"f", "model"})
    fs::rename(dir / (name + ".tmp-" + own), dir / (name + ".tmp-" + none));
  CHECK(remove_both() == Names{"f.tmp-" + none, "model.tmp-" + none});
  file.reset();
  directory.reset();
  CHECK(remove_both().empty());
}
