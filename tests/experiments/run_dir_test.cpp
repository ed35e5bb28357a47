#include "experiments/run/run_dir.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "autograd/base/files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace run_dir_test {

using namespace notch;
using namespace notch::experiments;

/// Runs `body` in a child process and returns what it wrote back before it was killed.
template <class Body>
pid_t child_that_holds(const Body& body) {
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      const auto held = body();
      if (::write(ready[1], "x", 1) == 1) ::pause();
    } catch (...) {
    }
    ::_exit(1);
  }
  char byte = 0;
  ::close(ready[1]);
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  return child;
}

void kill_and_wait(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

std::string host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

TEST_CASE("a second run on a locked directory is told the owner") {
  const test::TemporaryDirectory scratch;
  const pid_t child = child_that_holds([&] { return std::make_unique<RunLock>(scratch.path()); });
  const ErrorParts parts = test::error_of([&] { RunLock second(scratch.path()); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.found == "pid " + std::to_string(child) + " on " + host());
  kill_and_wait(child);
  // The lock file is still there, its owner is dead.
  CHECK(fs::exists(scratch / "run.lock"));
  CHECK_NOTHROW(RunLock(scratch.path()));
  CHECK_FALSE(fs::exists(scratch / "run.lock"));
}

TEST_CASE("locks in one process exclude each other until released") {
  const test::TemporaryDirectory scratch;
  {
    const RunLock first(scratch.path());
    CHECK(test::error_of([&] { RunLock second(scratch.path()); }).fault == Fault::usage);
  }
  CHECK_NOTHROW(RunLock(scratch.path()));
}

TEST_CASE("the lock file's text decides without the kernel's lock") {
  const test::TemporaryDirectory scratch;
  const auto locks = [&](const std::string& text) {
    std::ofstream(scratch / "run.lock", std::ios::trunc) << text;
    try {
      const RunLock lock(scratch.path());
      return true;
    } catch (const Error& e) {
      CHECK(e.fault() == Fault::usage);
      return false;
    }
  };
  const std::string parent = std::to_string(::getppid());
  CHECK_FALSE(locks(parent + " " + host() + "\n"));  // alive
  CHECK(locks(parent + " " + host() + " 1\n"));      // its pid, but started at another time
  CHECK_FALSE(locks("1 some-other-host 5\n"));       // cannot be told from here
  CHECK(locks("999999999 " + host() + " 5\n"));      // no such process
  CHECK(locks(""));                                  // killed before it wrote
  CHECK(locks("garbage\n"));
}

TEST_CASE("a lock in an unwritable directory is an I/O error") {
  CHECK(test::error_of([] { RunLock lock("/nonexistent"); }).fault == Fault::io);
}

TEST_CASE("a run directory is replaced only on request") {
  const test::TemporaryDirectory scratch;
  const fs::path path = scratch / "a/b";
  const auto open = [&](Earlier earlier) { return RunDir(path, earlier); };
  CHECK(test::error_of([&] { open(Earlier::resume); }).fault == Fault::usage);
  {
    const RunDir run = open(Earlier::refuse);
    run.write_config("lr = 1\n");
    run.write_env(Json::object());
    CHECK(run.inputs().is_null());
    run.write_inputs(Json::object());
    run.metrics().append("fp32", 1, Json::object());
    CHECK(run.model("rtn-w4") == path / "models/rtn-w4");
    CHECK(run.checkpoints(7) == path / "seed-7/ckpt");
    CHECK(test::error_of([&] { open(Earlier::resume); }).field == "run.lock");
  }
  CHECK(test::error_of([&] { open(Earlier::refuse); }).fault == Fault::usage);
  CHECK_FALSE(fs::exists(path / "run.lock"));
  open(Earlier::resume);
  CHECK(fs::exists(path / "metrics.jsonl"));
  fs::create_directories(path / "models/x-seed1");
  fs::create_directories(path / "seed-1/ckpt");
  std::ofstream(path / "notes.txt") << "mine";
  open(Earlier::replace);
  CHECK(fs::exists(path / "notes.txt"));
  for (const char* gone :
       {"models", "seed-1", "metrics.jsonl", "config.resolved.toml", "inputs.json", "env.json"}) {
    CHECK_FALSE(fs::exists(path / gone));
  }
}

TEST_CASE("a directory with files of something else is left alone") {
  const test::TemporaryDirectory scratch;
  std::ofstream(scratch / "thesis.tex") << "x";
  for (const Earlier earlier : {Earlier::refuse, Earlier::resume, Earlier::replace}) {
    CHECK(test::error_of([&] { RunDir run(scratch.path(), earlier); }).fault == Fault::usage);
  }
  CHECK(fs::exists(scratch / "thesis.tex"));
  CHECK_FALSE(fs::exists(scratch / "run.lock"));
  CHECK(test::error_of([&] { RunDir run(scratch / "thesis.tex", Earlier::refuse); }).fault ==
        Fault::io);
}

TEST_CASE("a lock that is a link is refused, and its file kept") {
  const test::TemporaryDirectory scratch;
  write_file(scratch / "precious", "text");
  const auto refused = [&](const char* directory, const auto& place) {
    CAPTURE(directory);
    fs::create_directory(scratch / directory);
    place(scratch / directory / "run.lock");
    const ErrorParts parts =
        test::error_of([&] { RunDir run(scratch / directory, Earlier::refuse); });
    CHECK(parts.fault == Fault::io);
    CHECK(parts.where == (scratch / directory / "run.lock").string());
    CHECK(read_file(scratch / "precious") == "text");
  };
  refused("symbolic", [&](const fs::path& at) { fs::create_symlink("../precious", at); });
  refused("dangling", [&](const fs::path& at) { fs::create_symlink("nowhere", at); });
  refused("hard", [&](const fs::path& at) { fs::create_hard_link(scratch / "precious", at); });
  refused("fifo", [&](const fs::path& at) { REQUIRE(::mkfifo(at.c_str(), 0600) == 0); });
  CHECK_FALSE(fs::exists(scratch / "dangling/nowhere"));
}

TEST_CASE("force removes what runs write, what others put stays") {
  const test::TemporaryDirectory scratch;
  const fs::path path = scratch / "run";
  fs::create_directories(path / "seed-7/rows");
  fs::create_directories(path / "seed-8/ckpt/fp32");
  fs::create_directories(path / "seed-data");
  fs::create_directories(path / "models/rtn-int4-seed7");
  fs::create_directories(path / "models/rtn-int4-seed7.tmp-12");
  fs::create_directories(path / "models/mine");
  for (const char* file :
       {"config.resolved.toml", "seed-7/notes.txt", "seed-data/book.txt", "notes.tmp-2024",
        "env.json.tmp-12", "models/mine/model.safetensors", "results.csv"}) {
    write_file(path / file, "text");
  }
  { const RunDir run(path, Earlier::replace); }
  std::vector<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) left.push_back(fs::relative(entry.path(), path).string());
  }
  std::ranges::sort(left);
  CHECK(left == std::vector<std::string>{"models/mine/model.safetensors", "notes.tmp-2024",
                                         "seed-7/notes.txt", "seed-data/book.txt"});
  CHECK_FALSE(fs::exists(path / "seed-8"));
  CHECK_FALSE(fs::exists(path / "models/rtn-int4-seed7"));
}

TEST_CASE("what was killed before it had begun is begun by --resume") {
  const test::TemporaryDirectory scratch;
  const fs::path run = scratch / "run";
  const auto fault = [&] {
    return test::error_of([&] { RunDir dir(run, Earlier::resume); }).fault;
  };
  CHECK(fault() == Fault::usage);  // not there: a name that was typed wrongly
  fs::create_directories(run);
  CHECK(fault() == Fault::usage);
  write_file(run / "run.lock", "");
  {
    const RunDir dir(run, Earlier::resume);
    CHECK_FALSE(dir.resumes());
  }
  write_file(run / "run.lock", "");
  write_file(run / "notes", "text");
  CHECK(fault() == Fault::usage);
  CHECK(fs::exists(run / "notes"));
}

TEST_CASE("names like a temporary's do not make a directory a run's") {
  const test::TemporaryDirectory scratch;
  write_file(scratch / "notes.tmp-2024", "text");
  CHECK(test::error_of([&] { RunDir run(scratch.path(), Earlier::refuse); }).fault == Fault::usage);
  CHECK(fs::exists(scratch / "notes.tmp-2024"));
}

TEST_CASE("resuming drops what was told after the checkpoint") {
  const test::TemporaryDirectory scratch;
  const fs::path file = scratch / "metrics.jsonl";
  const Metrics metrics(file);
  CHECK_NOTHROW(metrics.resume("a", 5));
  CHECK_FALSE(fs::exists(file));
  const auto line = [](const char* run, int step) {
    return "{\"run\":\"" + std::string(run) + "\",\"step\":" + std::to_string(step) +
           ",\"loss\":0.5}\n";
  };
  const auto resumed = [&](const std::string& text, const char* run, int step) {
    std::ofstream(file, std::ios::trunc) << text;
    metrics.resume(run, step);
    return read_file(file);
  };
  const std::string kept = line("a", 1) + line("a", 2) + line("b", 9);
  CHECK(resumed(kept, "b", 9) == kept);
  CHECK(resumed(kept + "{\"run\":\"b\",\"st", "b", 10) == kept);
  CHECK(resumed(kept + line("b", 10).substr(0, 10) + "\n" + line("b", 11), "b", 12) ==
        kept + line("b", 11));
  CHECK(resumed(kept + line("b", 10) + line("c", 1), "b", 9) == kept + line("c", 1));
  CHECK(resumed(kept + "[1]\n", "b", 9) == kept);
  CHECK(resumed(kept + "{\"run\":\"b\",\"step\":1.5}\n", "b", 9) == kept);
  CHECK(resumed(kept + "{\"run\":\"b\",\"step\":1,\"quantizer\":[1]}\n", "b", 9) == kept);
  // Finished trainings that are younger than one that is made again.
  CHECK(resumed(kept, "a", 0) == line("b", 9));
  CHECK(resumed(kept, "a", 1) == line("a", 1) + line("b", 9));
}

TEST_CASE("a resumed log has the bytes of an uninterrupted one") {
  const test::TemporaryDirectory scratch;
  const Metrics whole(scratch / "whole.jsonl"), cut(scratch / "cut.jsonl");
  const auto write = [](const Metrics& metrics, int from, int to) {
    Json fields = Json::object();
    for (int step = from; step <= to; ++step) {
      fields.set("loss", 1.0 / step);
      metrics.append("fp32", step, fields);
    }
  };
  write(whole, 1, 20);
  write(cut, 1, 13);
  append_file(scratch / "cut.jsonl", "{\"run\":\"fp3");
  cut.resume("fp32", 10);
  write(cut, 11, 20);
  CHECK(read_file(scratch / "cut.jsonl") == read_file(scratch / "whole.jsonl"));
}

}  // namespace run_dir_test
