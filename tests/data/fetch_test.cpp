// data/fetch.sh, run on a copy with a table of its own, so that no test needs the network.
#include <sys/wait.h>

#include <cstdlib>
#include <iostream>

#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace fetch_test {

using namespace notch;

constexpr const char* kContent = "a small corpus\n";

struct Fetch {
  test::TemporaryDirectory d;
  fs::path shelf = d.path() / "shelf";  // stands for $NOTCH_DATA
  fs::path dest = d.path() / "out.txt";

  explicit Fetch(const std::string& url) {
    fs::create_directories(d.path() / "data");
    fs::create_directories(shelf);
    fs::copy_file(test::source_dir() / "data" / "fetch.sh", d.path() / "data" / "fetch.sh");
    write_file(d.path() / "data" / "corpora.toml",
               str("[small]\nfile    = \"small.txt\"\nurl     = \"", url,
                   "\"\nbytes   = ", std::string(kContent).size(), "\nsha256  = \"",
                   sha256(kContent), "\"\nnames   = \"other.txt\"\n"));
  }

  /// The exit code of `fetch.sh arguments`.
  int run(const std::string& arguments) const {
    const std::string command =
        str("NOTCH_DATA='", shelf.string(), "' sh '", (d.path() / "data" / "fetch.sh").string(),
            "' ", arguments, " >'", (d.path() / "log").string(), "' 2>&1");
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  int run_to_dest() const { return run("small '" + dest.string() + "'"); }

  bool nothing_left() const {
    for (const auto& entry : fs::directory_iterator(d.path())) {
      if (entry.path().filename().string().find("out.txt") == 0) return false;
    }
    return true;
  }
};

constexpr const char* kNowhere = "http://127.0.0.1:9/small.txt";

TEST_CASE("fetch.sh takes a local file of the right hash under any name") {
  for (const char* name : {"small.txt", "other.txt"}) {
    const Fetch f(kNowhere);
    write_file(f.shelf / name, kContent);
    CHECK(f.run_to_dest() == 0);
    CHECK(read_file(f.dest) == kContent);
  }
}

TEST_CASE("fetch.sh ignores a local file of the wrong hash") {
  const Fetch f(kNowhere);
  write_file(f.shelf / "small.txt", "A small corpus\n");
  CHECK(f.run_to_dest() == 4);
  CHECK(f.nothing_left());
}

TEST_CASE("fetch.sh refuses a download with other content") {
  if (std::system("command -v curl >/dev/null") != 0) {
    std::cout << "skipped: fetch.sh refuses a download with other content (no curl)\n";
    return;
  }
  test::TemporaryDirectory server;
  write_file(server.path() / "x", kContent);
  const Fetch good("file://" + (server.path() / "x").string());
  CHECK(good.run_to_dest() == 0);
  CHECK(read_file(good.dest) == kContent);
  for (const char* content : {"A small corpus\n", "a small", ""}) {
    write_file(server.path() / "x", content);
    const Fetch f("file://" + (server.path() / "x").string());
    CHECK(f.run_to_dest() == 3);
    CHECK(f.nothing_left());
  }
}

TEST_CASE("fetch.sh answers wrong usage with 2") {
  const Fetch f(kNowhere);
  CHECK(f.run("") == 2);
  CHECK(f.run("unknown") == 2);
  CHECK(f.run("small a b") == 2);
}

}  // namespace fetch_test
