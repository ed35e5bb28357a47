// notch advise: what it recommends follows from a run's rows, and its command makes that model.
#include <set>

#include "tests/experiments/program.h"

namespace notch::advise_cli_test {

using test::check_refused;
using test::Outcome;
using test::Program;
using test::rows_of;
using test::value;

/// What stands after a word in the answer.
std::string after(const Outcome& outcome, const std::string& word) {
  INFO(outcome.out);
  const std::size_t at = outcome.out.find("\n" + word);
  REQUIRE(at != std::string::npos);
  const std::size_t begin = at + 1 + word.size();
  return outcome.out.substr(begin, outcome.out.find('\n', begin) - begin);
}

struct Measured : Program {
  Measured() {
    const Outcome run = notch(
        "run tiny.toml train.steps=60 quant.bits=8,4,2 quant.methods=rtn,rtn-mse "
        "quant.embedding=fp32 quant.scale=f16 -q");
    INFO(run.err);
    REQUIRE(run.code == 0);
  }
};

TEST_CASE("advice is one of the run's rows and its command makes it") {
  const Measured program;
  const std::vector<Json> rows = rows_of(program.notch("advise run --memory 1GiB -o json"));
  REQUIRE(rows.size() == 7);
  const std::string text = read_file(program / "text.txt");
  const auto vocabulary = double(std::set<char>(text.begin(), text.end()).size());
  for (const Json& row : rows) {
    const std::string name = row.at("row", "row").as_string("row");
    INFO(name);
    const double bytes =
        double(fs::file_size(program / str("run/models/", name, "-seed1337/model.safetensors")));
    CHECK(value(row, "bytes") == bytes);
    // 2 blocks and 2 heads of 8 channels: keys of 8 positions in a block of 16, values of 8 channels in
    // one of 16. And of 8 tokens two states and twice the 64 channels inside the MLP, a row of logits.
    const double cache = 2 * 2 * (16 * 8 + 8 * 16) * 4;
    const double live = 4 * (8 * (2 * 16 + 2 * 64) + vocabulary);
    CHECK(value(row, "memory") == bytes + cache + live);
  }
  for (std::size_t i = 1; i < rows.size(); ++i)
    CHECK(value(rows[i - 1], "loss") <= value(rows[i], "loss"));

  // Just enough for the smallest: that is the one, and it is made again to the bit.
  double least = value(rows[0], "memory");
  for (const Json& row : rows) least = std::min(least, value(row, "memory"));
  const Outcome tight = program.notch("advise run --memory " + std::to_string(int(least)) + "B");
  const std::string name = after(tight, "use      ").substr(0, after(tight, "use      ").find(':'));
  CHECK(name.ends_with("-int2"));
  CHECK(after(tight, "not      ").find("speed of 7 of 7") != std::string::npos);
  const Outcome made = program.shell(after(tight, "made by  ") + " -q");
  INFO(made.err);
  REQUIRE(made.code == 0);
  const std::string weights = "/models/" + name + "-seed1337/model.safetensors";
  CHECK(read_file(program / ("advised" + weights)) == read_file(program / ("run" + weights)));

  // The same of a model in the run; speeds where they were measured.
  CHECK(after(program.notch("advise run/models/fp32-seed1337 -m 1GiB"), "use      ") ==
        after(program.notch("advise run -m 1GiB"), "use      "));
  REQUIRE(program.notch("bench run --batch 1 -r 1 -q").code == 0);
  int fast = 0;
  for (const Json& row : rows_of(program.notch("advise run --memory 1GiB -o json"))) {
    const Json* speed = row.find("tokens_per_second");
    if (speed && !speed->is_null()) fast += value(row, "tokens_per_second") > 0;
  }
  CHECK(fast == 4);  // fp32 and one of each width
}

TEST_CASE("advice for another program is a model that it holds") {
  const Measured program;
  const Outcome gptq = program.notch("advise run --memory 1GiB --target gptq");
  INFO(gptq.err);
  REQUIRE(gptq.code == 0);
  const Outcome exported = program.shell(after(gptq, "then     "));
  INFO(exported.err);
  CHECK(exported.code == 0);
  // Rows of 16 channels fill no block of llama.cpp's: what is left is fp32.
  const Outcome gguf = program.notch("advise run --memory 1GiB --target llama.cpp");
  INFO(gguf.err);
  CHECK(after(gguf, "use      ").starts_with("fp32"));
  CHECK(gguf.out.find("passed over: rtn-int4") != std::string::npos);
  CHECK(program.shell(after(gguf, "then     ")).code == 0);
  const Outcome nowhere =
      program.shell("TMPDIR=/nowhere notch advise run --memory 1GiB --target gptq");
  CHECK(nowhere.code == 4);
  CHECK(nowhere.err.find("TMPDIR=/nowhere: ") != std::string::npos);
  check_refused(program.notch("advise run --memory 100B"), 2);
  check_refused(program.notch("advise run --memory 2GiBs"), 2);
  check_refused(program.notch("advise run --memory -1MB"), 2);
  check_refused(program.notch("advise run"), 2);
  check_refused(program.notch("advise run -m 1GB --target tpu"), 2);
  REQUIRE(program.shell("cp -r run/models/fp32-seed1337 alone").code == 0);
  const Outcome unmeasured = program.notch("advise alone -m 1GB");
  check_refused(unmeasured, 3);
  std::string command = unmeasured.err.substr(unmeasured.err.find('`') + 1);
  command.resize(command.find('`'));
  command.replace(command.find("TEXT"), 4, "text.txt");
  const Outcome measures = program.shell(command + " --out measured -q");
  INFO(command << ": " << measures.err);
  CHECK(measures.code == 0);
  REQUIRE(program.shell("rm -r run/models").code == 0);
  check_refused(program.notch("advise run -m 1GB"), 3);
}

}  // namespace notch::advise_cli_test
