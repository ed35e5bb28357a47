#include "nn/checkpoint.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "nn/safetensors.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"

namespace checkpoint_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::put_file;
using notch::test::TemporaryDirectory;

// Two parts, with values whose bits a detour through decimal or float16 would lose.
struct Run {
  std::vector<real> w{real(1) / 3, std::numeric_limits<real>::denorm_min(), -real(0)};
  std::vector<real> b{std::numeric_limits<real>::infinity()};
  std::vector<real> moments{real(1e-30), 2, 3, 4};

  std::vector<CheckpointPart> parts() {
    return {{"model.safetensors", {{"w", {3}, w}, {"b", {1}, b}}},
            {"optimizer.safetensors", {{"m", {2, 2}, moments}}}};
  }
  bool operator==(const Run& other) const {
    const auto same = [](const std::vector<real>& x, const std::vector<real>& y) {
      return std::memcmp(x.data(), y.data(), sizeof(real) * x.size()) == 0;
    };
    return same(w, other.w) && same(b, other.b) && same(moments, other.moments);
  }
};

Run blank() {
  Run run;
  run.w.assign(3, 9);
  run.b.assign(1, 9);
  run.moments.assign(4, 9);
  return run;
}

Json state_of(std::int64_t step) { return Json::object().set("cursor", step); }

std::vector<std::string> entries(const fs::path& root) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(root)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("a checkpoint gives every bit and the state back") {
  const TemporaryDirectory dir;
  Run run;
  const fs::path path =
      save_checkpoint(dir / "deep/root", 500, run.parts(), Json::object().set("loss", 0.1), 2);
  CHECK(path == dir / "deep/root/step-000500");
  CHECK(entries(path) == std::vector<std::string>{"manifest.json", "model.safetensors",
                                                  "optimizer.safetensors", "state.json"});
  Run back = blank();
  const Json state = load_checkpoint(path, back.parts());
  CHECK(back == run);
  CHECK(state.at("loss", "").as_number("") == 0.1);
  const LatestCheckpoint latest = latest_checkpoint(dir / "deep/root");
  CHECK(latest.path == path);
  CHECK(latest.step == 500);
  CHECK(latest.skipped.empty());
}

TEST_CASE("the parameters of a store are a part") {
  ParamStore store;
  store.add("a", {2, 1});
  store.add("b", {1});
  store.allocate_values();
  const CheckpointPart part = checkpoint_part("p.safetensors", store);
  REQUIRE(part.tensors.size() == 2);
  CHECK(part.tensors[0].name == "a");
  CHECK(part.tensors[0].values.data() == store.params()[0].value.data);
}

TEST_CASE("any flipped bit of any file is noticed, and nothing is filled") {
  const TemporaryDirectory dir;
  Run run;
  const fs::path path = save_checkpoint(dir.path(), 1, run.parts(), state_of(1), 1);
  for (const std::string& name : entries(path)) {
    const std::string good = read_file(path / name);
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      put_file(path / name, bad);
      Run back = blank();
      const ErrorParts e = error_of([&] { load_checkpoint(path, back.parts()); });
      REQUIRE(e.fault == Fault::input);
      REQUIRE(back == blank());
    }
    write_file(path / name, good);
  }
  Run back = blank();
  load_checkpoint(path, back.parts());
  CHECK(back == run);
}

TEST_CASE("a missing or shortened file is noticed") {
  const TemporaryDirectory dir;
  Run run;
  const fs::path path = save_checkpoint(dir.path(), 1, run.parts(), state_of(1), 1);
  for (const std::string& name : entries(path)) {
    const std::string good = read_file(path / name);
    fs::remove(path / name);
    CHECK(error_of([&] { load_checkpoint(path, run.parts()); }).fault == Fault::io);
    CHECK(latest_checkpoint(dir.path()).skipped.size() == 1);
    write_file(path / name, good.substr(0, good.size() - 1));
    const bool harmless = name == "manifest.json";  // its last byte is a newline
    CHECK(latest_checkpoint(dir.path()).path.has_value() == harmless);
    write_file(path / name, "");
    CHECK(error_of([&] { load_checkpoint(path, run.parts()); }).fault == Fault::input);
    write_file(path / name, good);
  }
  CHECK(error_of([&] { load_checkpoint(dir / "absent", run.parts()); }).fault == Fault::io);
}

TEST_CASE("a manifest that says more, less or elsewhere is refused") {
  const TemporaryDirectory dir;
  Run run;
  const fs::path path = save_checkpoint(dir / "root", 1, run.parts(), state_of(1), 1);
  const Json good = Json::parse(read_file(path / "manifest.json"), "manifest");
  const Json& files = good.at("files", "");
  const auto refused = [&](const Json& manifest) {
    put_file(path / "manifest.json", manifest.dump());
    CHECK(error_of([&] { load_checkpoint(path, run.parts()); }).fault == Fault::input);
  };
  Json bad = good;
  refused(bad.set("more", 1));
  bad = good;
  refused(bad.set("version", 2));
  refused(Json::object().set("version", 1));
  refused(Json::object().set("version", 1).set("files", Json::object()));
  // A sound file outside the checkpoint.
  fs::copy_file(path / "state.json", dir / "outside");
  Json elsewhere = files;
  elsewhere.set("../../outside", files.at("state.json", ""));
  bad = good;
  refused(bad.set("files", elsewhere));
}

TEST_CASE("a checkpoint of another model is refused by tensor, filling none") {
  const TemporaryDirectory dir;
  Run run;
  const fs::path path = save_checkpoint(dir.path(), 1, run.parts(), state_of(1), 1);
  Run back = blank();
  const auto refusal = [&](const std::vector<CheckpointPart>& parts) {
    ErrorParts e = error_of([&] { load_checkpoint(path, parts); });
    CHECK(e.fault == Fault::input);
    CHECK(back == blank());
    return e;
  };
  std::vector<CheckpointPart> parts = back.parts();
  parts[1].tensors[0].shape = {4};
  const ErrorParts shape = refusal(parts);
  CHECK(shape.field == "m");
  CHECK(shape.found == "[2, 2]");
  CHECK(shape.expected == "[4]");
  parts = back.parts();
  parts[1].tensors[0].name = "v";
  CHECK(refusal(parts).field == "v");
  parts = back.parts();
  parts[0].tensors.pop_back();
  CHECK(refusal(parts).field == "b");
  parts = back.parts();
  parts[0].file = "other.safetensors";
  CHECK(refusal(parts).field == "other.safetensors");
}

TEST_CASE("the latest checkpoint is the newest sound one, bad ones are told") {
  const TemporaryDirectory dir;
  CHECK_FALSE(latest_checkpoint(dir / "absent").path.has_value());
  CHECK_FALSE(latest_checkpoint(dir.path()).path.has_value());
  Run run;
  for (const std::int64_t step : {9, 10, 1'000'000, 1'000'001}) {
    save_checkpoint(dir.path(), step, run.parts(), state_of(step), 10);
  }
  CHECK(latest_checkpoint(dir.path()).step == 1'000'001);
  append_file(dir / "step-1000001" / "model.safetensors", "x");
  fs::remove(dir / "step-1000000" / "manifest.json");
  fs::create_directory(dir / "step-2000000");
  fs::create_directory(dir / "step-0000000011");  // not a name we write
  write_file(dir / "step-000012", "a file");
  const LatestCheckpoint latest = latest_checkpoint(dir.path());
  CHECK(latest.step == 10);
  REQUIRE(latest.skipped.size() == 3);
  CHECK(latest.skipped[0].path == dir / "step-2000000");
  CHECK(latest.skipped[1].path == dir / "step-1000001");
  CHECK(latest.skipped[2].path == dir / "step-1000000");
  CHECK_FALSE(latest.skipped[1].reason.empty());
}

TEST_CASE("only the newest are kept, and a history that was given up goes") {
  const TemporaryDirectory dir;
  Run run;
  for (std::int64_t step = 1; step <= 5; ++step) {
    save_checkpoint(dir.path(), step, run.parts(), state_of(step), 2);
  }
  CHECK(entries(dir.path()) == std::vector<std::string>{"step-000004", "step-000005"});
  // Resumed from 4 because 5 was damaged: 5 must not come back.
  append_file(dir / "step-000005" / "state.json", "x");
  CHECK(latest_checkpoint(dir.path()).step == 4);
  run.w[0] = 17;
  save_checkpoint(dir.path(), 4, run.parts(), state_of(4), 2);
  CHECK(entries(dir.path()) == std::vector<std::string>{"step-000004"});
  Run back = blank();
  load_checkpoint(dir / "step-000004", back.parts());
  CHECK(back == run);
}

TEST_CASE("who goes on from a checkpoint keeps it and the ones before it") {
  const TemporaryDirectory dir;
  Run run;
  for (std::int64_t step = 1; step <= 5; ++step) {
    save_checkpoint(dir.path(), step, run.parts(), state_of(step), 9);
  }
  keep_checkpoints(dir.path(), 4, 2);
  CHECK(entries(dir.path()) == std::vector<std::string>{"step-000003", "step-000004"});
}

TEST_CASE("bad requests are refused before anything is written") {
  const TemporaryDirectory dir;
  Run run;
  const auto refused = [&](const std::vector<CheckpointPart>& parts, std::int64_t step, int keep) {
    const auto save = [&] { save_checkpoint(dir.path(), step, parts, Json::object(), keep); };
    CHECK(error_of(save).fault == Fault::usage);
    CHECK(entries(dir.path()).empty());
  };
  refused(run.parts(), -1, 1);
  refused(run.parts(), 1, 0);
  for (const char* file : {"", "state.json", "../x.safetensors", "a/b.safetensors"}) {
    refused({{file, {}}}, 1, 1);
  }
  refused({{"a.safetensors", {}}, {"a.safetensors", {}}}, 1, 1);
  refused({{"a.safetensors", {{"w", {4}, run.w}}}}, 1, 1);
  refused({{"a.safetensors", {{"w", {3}, run.w}, {"w", {3}, run.w}}}}, 1, 1);
}

TEST_CASE("a writer killed at any byte leaves a whole checkpoint") {
  const TemporaryDirectory dir;
  Run first;
  save_checkpoint(dir.path(), 1, first.parts(), state_of(1), 2);
  Run second;
  second.moments[1] = -5;
  int killed = 0;
  for (rlim_t limit = 0; limit < 700; limit += 50) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // SIGXFSZ kills the writer at the first byte of a file beyond the limit.
      const struct rlimit bytes { limit, limit }, none{0, 0};
      ::signal(SIGXFSZ, SIG_DFL);
      ::setrlimit(RLIMIT_CORE, &none);
      ::setrlimit(RLIMIT_FSIZE, &bytes);
      try {
        save_checkpoint(dir.path(), 2, second.parts(), state_of(2), 2);
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    const bool was_killed = WIFSIGNALED(status);
    killed += was_killed;
    const LatestCheckpoint latest = latest_checkpoint(dir.path());
    CHECK(latest.skipped.empty());
    REQUIRE(latest.path.has_value());
    CHECK(latest.step == (was_killed ? 1 : 2));
    Run back = blank();
    load_checkpoint(*latest.path, back.parts());
    CHECK(back == (was_killed ? first : second));
    if (!was_killed) break;
  }
  CHECK(killed >= 5);
  CHECK(entries(dir.path()) == std::vector<std::string>{"step-000001", "step-000002"});
}

}  // namespace checkpoint_test
