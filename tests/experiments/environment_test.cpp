#include "experiments/machine/environment.h"

#include <fstream>

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace environment_test {

using namespace notch;
using namespace notch::experiments;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

const std::string kCommit(40, 'a');
const std::string kOther(40, 'b');

TEST_CASE("the commit is read from any head, also of a linked tree") {
  const test::TemporaryDirectory scratch;
  const fs::path root = scratch / "repo";
  const fs::path inside = root / "build/deep";
  fs::create_directories(inside);
  CHECK(git_commit(inside).empty());
  write(root / ".git/HEAD", "ref: refs/heads/main\n");
  CHECK(git_commit(inside).empty());  // a branch without a commit
  write(root / ".git/packed-refs", "# pack-refs with: peeled\n" + kOther + " refs/heads/other\n" +
                                       kCommit + " refs/heads/main\n^" + kOther + "\n");
  CHECK(git_commit(inside) == kCommit);
  write(root / ".git/refs/heads/main", kOther + "\n");
  CHECK(git_commit(inside) == kOther);
  write(root / ".git/HEAD", kCommit + "\n");
  CHECK(git_commit(inside) == kCommit);

  const fs::path linked = scratch / "linked";
  write(linked / ".git", "gitdir: " + (root / ".git/worktrees/linked").string() + "\n");
  write(root / ".git/worktrees/linked/HEAD", "ref: refs/heads/main\n");
  write(root / ".git/worktrees/linked/commondir", "../..\n");
  CHECK(git_commit(linked) == kOther);
}

TEST_CASE("a damaged .git gives no commit and no error") {
  const test::TemporaryDirectory scratch;
  write(scratch / "repo/.git/HEAD", "ref: refs/heads/main");
  write(scratch / "repo/.git/refs/heads/main", "zzz");
  CHECK(git_commit(scratch / "repo").empty());
  write(scratch / "other/.git", "nothing");
  CHECK(git_commit(scratch / "other").empty());
  CHECK(git_commit("/nonexistent/x").empty());
}

TEST_CASE("the environment names machine, compiler and binary") {
  const Json env = describe_environment({.command_line = {"notch", "run"},
                                         .threads = 2,
                                         .products = "portable",
                                         .openblas = {{"core", "Haswell"}}});
  CHECK(env.at("products", "").as_string("") == "portable");
  CHECK(env.at("threads", "").as_int("") == 2);
  CHECK(env.at("openblas", "").at("core", "").as_string("") == "Haswell");
  CHECK(env.at("command_line", "").as_array("").size() == 2);
  CHECK(env.at("binary_sha256", "").as_string("").size() == 64);
  CHECK_FALSE(env.at("compiler", "").as_string("").empty());
  CHECK(env.at("time", "").as_string("").size() == std::string("2026-01-01T00:00:00Z").size());
  for (const char* key : {"git_commit", "flags", "cpu", "cores", "system", "host"})
    CHECK(env.find(key));
}

}  // namespace environment_test
