// Training, validation and test: which text is read for what.
#include <fstream>
#include <set>

#include "autograd/base/sha256.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"
#include "tests/experiments/tiny_experiment.h"

namespace notch::experiments::splits_test {

using namespace test;

ExperimentConfig text_experiment(const fs::path& file) {
  ExperimentConfig config = tiny_experiment();
  config.data.kind = "text";
  config.data.path = file.string();
  config.data.val_fraction = 0.2;
  return config;
}

std::string numbered_lines(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += str("line ", i, " of the text\n");
  return text;
}

TEST_CASE("the table is on the test split, or on validation to tune") {
  ExperimentConfig config = tiny_experiment();
  const auto scored = [&] {
    const Data data = load_data(config, {});
    const ScoredText text = scored_text(config, data);
    const data::TokenData& t = data.source.tokens;
    const bool is_test = text.tokens.data() == t.test.data();
    CHECK(text.name == (is_test ? "test" : "validation"));
    CHECK(text.bytes_per_token == (is_test ? t.test_bytes_per_token : t.val_bytes_per_token));
    CHECK((is_test || text.tokens.data() == t.val.data()));
    return std::vector<std::int32_t>(text.tokens.begin(), text.tokens.end());
  };
  const std::vector<std::int32_t> last_tenth = scored();
  config.data.test_fraction = 0.1;
  CHECK(scored() == last_tenth);
  config.data.score = "val";
  const std::vector<std::int32_t> before = scored();
  CHECK(before != last_tenth);
  CHECK(std::ssize(before) == Approx(std::ssize(last_tenth)).margin(1));
}

TEST_CASE("the hash of a scored text is that of its ids") {
  ExperimentConfig config = tiny_experiment();
  config.data.test_fraction = 0;
  Data data;
  data.source.tokens.val = {1, 258};
  data.source.tokens.vocab_size = 65536;  // in 16 bits, as stored runs have it, little-endian
  CHECK(scored_hash(config, data) == sha256(std::string("\x01\x00\x02\x01", 4)));
  data.source.tokens.vocab_size = 65537;
  CHECK(scored_hash(config, data) == sha256(std::string("\x01\x00\x00\x00\x02\x01\x00\x00", 8)));
}

TEST_CASE("questions to tune by are not asked in the final table") {
  ExperimentConfig config = tiny_experiment();
  config.data.task_examples = 200;
  const auto prompts = [&] {
    std::set<std::string> out;
    for (const data::TenseExample& e : load_data(config, {}).task) out.insert(e.prompt);
    return out;
  };
  const std::set<std::string> without_test = prompts();
  config.data.test_fraction = 0.1;
  const std::set<std::string> last = prompts();
  CHECK(last == without_test);
  config.data.score = "val";
  const std::set<std::string> tuning = prompts();
  CHECK(tuning.size() > 150);
  for (const std::string& p : tuning) CHECK_FALSE(last.contains(p));
}

TEST_CASE("scored text that is also trained on is refused") {
  const TemporaryDirectory directory;
  const fs::path file = directory / "text.txt";
  const ExperimentConfig config = text_experiment(file);
  std::ofstream(file, std::ios::binary) << numbered_lines(200);
  CHECK_NOTHROW(load_data(config, {}));
  std::ofstream(file, std::ios::binary) << numbered_lines(200) << numbered_lines(200);
  const ErrorParts e = error_of([&] { load_data(config, {}); });
  CHECK(e.fault == Fault::input);
  CHECK(e.where == "text.txt");
  CHECK_FALSE(e.hint.empty());
}

TEST_CASE("a split that leaves no training text is refused") {
  ExperimentConfig config = tiny_experiment();
  config.data.val_fraction = 0.5;
  config.data.test_fraction = 0.5;
  CHECK(error_of([&] { validate(config); }).field == "data.test_fraction");
}

TEST_CASE("the test split scores the same in table and eval") {
  const Program program;
  const std::string run = "run tiny.toml -q -o json data.test_fraction=0.25 ";
  const Json scored = first_row(program.notch(run));
  const std::string eval =
      "eval run/models/fp32-seed1337 --text text.txt -q -o json "
      "--test-fraction 0.25 --split ";
  const Json test = first_row(program.notch(eval + "test"));
  const Json val = first_row(program.notch(eval + "val"));
  CHECK(value(scored, "loss") == value(test, "loss"));
  CHECK(read_file(program / "run/results.md").find(" test tokens scored") != std::string::npos);
  const Json tuned = first_row(program.notch(run + "data.score=val --force"));
  CHECK(value(tuned, "loss") == value(val, "loss"));
  CHECK(read_file(program / "run/results.md").find(" validation tokens scored") !=
        std::string::npos);
  CHECK(value(test, "loss") != value(val, "loss"));
}

}  // namespace notch::experiments::splits_test
