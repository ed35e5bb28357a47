// A model directory notices every flipped bit of every file, and what it cannot know it takes.
#include "nn/integrity.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "nn/llama.h"
#include "nn/manifest.h"
#include "nn/model_dir.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/flipped_bits.h"
#include "tests/nn/held_model.h"
#include "tests/nn/plain_file.h"

namespace integrity_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::put_file;
using notch::test::random_model;
using notch::test::small;
using notch::test::TemporaryDirectory;

// With files as a tokenizer leaves them.
void save(const fs::path& dir) {
  write_file(dir / "tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0}}}");
  write_file(dir / "vocab.json", "{\"a\": 0}\n");
  write_file(dir / "merges.txt", "#version: 0.2\n");
  save_model(*random_model(small()), dir);
}

std::vector<std::string> damaged(const fs::path& dir) {
  std::vector<std::string> names;
  for (const FileState& file : check_model(dir)) {
    if (file.damage) names.push_back(file.file);
  }
  return names;
}

using Names = std::vector<std::string>;

TEST_CASE("a flipped bit of any byte of a model's files is noticed") {
  const TemporaryDirectory dir;
  save(dir.path());
  const std::vector<FileState> states = check_model(dir.path());
  CHECK(states.size() == 6);
  CHECK(std::ranges::all_of(
      states, [](const FileState& s) { return s.digest == Digest::holds && !s.damage; }));
  test::check_flips_noticed(dir.path());
}

TEST_CASE("a flipped bit of a Llama's files or of half floats is noticed") {
  const Llama llama({.vocab_size = 5,
                     .block_size = 4,
                     .n_layer = 1,
                     .n_head = 2,
                     .n_kv_head = 1,
                     .n_embd = 8,
                     .n_inner = 8});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const TemporaryDirectory dir;
    save_model(llama, dir.path(), Json::object(), dtype);
    test::check_flips_noticed(dir.path());
  }
}

TEST_CASE("the file that differs is named, with what was written") {
  const TemporaryDirectory dir;
  save(dir.path());
  // As long as before; what is no JSON, in any length.
  for (const auto& [name, was, is] :
       {std::tuple{"config.json", "\"vocab_size\": 11", "\"vocab_size\": 12"},
        {"vocab.json", "0", "1"},
        {"merges.txt", "\n", ""}}) {
    const std::string good = read_file(dir / name);
    const std::size_t at = good.find(was);
    REQUIRE(at != std::string::npos);
    put_file(dir / name, std::string(good).replace(at, std::strlen(was), is));
    CAPTURE(name);
    CHECK(damaged(dir.path()) == Names{name});
    const ErrorParts parts = error_of([&] { require_intact(dir.path()); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.where == dir / name);
    CHECK(parts.hint.find("--no-verify") != std::string::npos);
    put_file(dir / name, good);
  }
  fs::remove(dir / "merges.txt");
  CHECK(damaged(dir.path()) == Names{"merges.txt"});
  // Nobody changed a file that is not there.
  const ErrorParts absent = error_of([&] { require_intact(dir.path()); });
  CHECK(absent.fault == Fault::io);
  CHECK(absent.hint.find("on purpose") == std::string::npos);
  // What cannot be opened is none of that: no change on purpose, and --no-verify would not help.
  put_file(dir / "model.safetensors", "x");
  const ErrorParts parts = error_of([&] { require_intact(dir.path()); });
  CHECK(parts.where == dir / "model.safetensors");
  CHECK_FALSE(parts.hint.empty());
  CHECK(parts.hint.find("--no-verify") == std::string::npos);
}

TEST_CASE("a damaged hash is the manifest's damage, not the file's") {
  const TemporaryDirectory dir;
  save(dir.path());
  const std::string good = read_file(dir / "manifest.json");
  const std::size_t at = good.find("sha256\"");
  REQUIRE(at != std::string::npos);
  const std::size_t digits = good.find('"', at + std::strlen("sha256\"")) + 1;
  for (int bit = 0; bit < 7; ++bit) {
    std::string other = good;
    other[digits] = static_cast<char>(other[digits] ^ 1 << bit);
    CAPTURE(bit, other[digits]);
    put_file(dir / "manifest.json", other);
    const ErrorParts parts = error_of([&] { require_intact(dir.path()); });
    CHECK(parts.fault == Fault::input);
    CHECK(fs::path(parts.where).filename().string().starts_with("manifest.json"));
  }
  put_file(dir / "manifest.json", good);
  CHECK(require_intact(dir.path()).empty());
}

TEST_CASE("a file that was renamed is missing, and its new name is named") {
  const TemporaryDirectory dir;
  save(dir.path());
  // The last is what one flipped bit of the manifest's name would leave: c is 0x63, b 0x62.
  for (const auto& [other, fault] : {std::pair{"vocab.json.bak", Fault::io},
                                     {"vocab.jsob", Fault::io},
                                     {"uocab.jsoo", Fault::io},
                                     {"vobab.json", Fault::input}}) {
    CAPTURE(other);
    fs::rename(dir / "vocab.json", dir / other);
    const ErrorParts parts = error_of([&] { require_intact(dir.path()); });
    CHECK(parts.fault == fault);
    CHECK(parts.where == dir / (fault == Fault::io ? "vocab.json" : "manifest.json"));
    CHECK((parts.hint + parts.expected).find(other) != std::string::npos);
    fs::rename(dir / other, dir / "vocab.json");
  }
  CHECK(require_intact(dir.path()).empty());
}

TEST_CASE("what was edited and is whole is taken, and said") {
  const TemporaryDirectory dir;
  save(dir.path());
  CHECK(require_intact(dir.path()).empty());
  const std::string config = read_file(dir / "config.json"),
                    vocabulary = read_file(dir / "vocab.json");
  put_file(dir / "config.json", config + " ");
  put_file(dir / "vocab.json", "{\"a\": 0, \"<pad>\": 1}\n");
  CHECK(require_intact(dir.path()) == Names{"config.json", "vocab.json"});
  CHECK_FALSE(is_intact(dir.path()));
  // Python's json writes what JSON has no word for; the key is not read.
  put_file(dir / "config.json", "{\"task_params\": {\"limit\": Infinity}, " + config.substr(1));
  CHECK(require_intact(dir.path()) == Names{"config.json", "vocab.json"});
  // Cut off is not edited, and neither is a manifest that names another size.
  put_file(dir / "config.json", config.substr(0, config.size() / 2));
  put_file(dir / "vocab.json", vocabulary);
  CHECK(damaged(dir.path()) == Names{"config.json"});
  put_file(dir / "config.json", config);
  std::string manifest = read_file(dir / kManifestFile);
  const std::size_t at = manifest.find("\"bytes\": ") + 9;
  manifest.insert(at, "1");
  put_file(dir / kManifestFile, manifest);
  CHECK(damaged(dir.path()).size() == 1);
}

TEST_CASE("without the manifest, or with another program's, a model is taken") {
  const TemporaryDirectory dir;
  save(dir.path());
  fs::remove(dir / kManifestFile);
  put_file(dir / "config.json", read_file(dir / "config.json") + " ");
  CHECK(damaged(dir.path()).empty());
  CHECK_NOTHROW(require_intact(dir.path()));
  // Weights of another program.
  put_file(dir / kManifestFile, "{\"of\": \"another program\"}");
  put_file(dir / kWeightsFile,
           std::string("\x40\0\0\0\0\0\0\0", 8) +
               "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}" +
               std::string(11, ' ') + "data");
  const std::vector<FileState> states = check_model(dir.path());
  REQUIRE(states.size() == 1);
  CHECK(states[0].digest == Digest::none);
  CHECK_FALSE(states[0].damage);
}

}  // namespace integrity_test
