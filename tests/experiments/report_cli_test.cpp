// notch report: a run's report again, and one report of the parts of a run.
#include "tests/experiments/program.h"

namespace report_cli_test {

using namespace notch;
using test::check_refused;
using test::Outcome;
using test::Program;

constexpr const char* kFiles[] = {"report.html", "results.md",    "results.svg",
                                  "results.csv", "results.jsonl", "pairs.csv"};

/// Seconds differ from run to run; nothing else does.
std::string without_seconds(const Program& program, const std::string& run) {
  return program
      .shell("sed 's/,[^,]*$//' " + run + "/results.csv && sed -n '/^hash/p' " + run +
             "/results.md")
      .out;
}

TEST_CASE("a report made again has the same bytes") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  REQUIRE(program.shell("cp -r run before && rm run/re*.* run/pairs.csv").code == 0);
  const Outcome again = program.notch("report run");
  CAPTURE(again.err);
  REQUIRE(again.code == 0);
  CHECK(again.out.find("run/report.html") != std::string::npos);
  for (const char* file : kFiles) {
    CAPTURE(file);
    CHECK(program.shell(std::string("cmp before/") + file + " run/" + file).code == 0);
  }
  // Elsewhere too: a page does not say where its run lies.
  REQUIRE(program.notch("report run --out other -q").code == 0);
  for (const char* file : kFiles) {
    CAPTURE(file);
    CHECK(program.shell(std::string("cmp before/") + file + " other/" + file).code == 0);
  }
}

TEST_CASE("seeds run apart make the report of the whole run") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml seeds=1,2 --out whole -q && "
                     "notch run tiny.toml seeds=1 --out a -q && "
                     "notch run tiny.toml seeds=2 --out b -q")
              .code == 0);
  check_refused(program.notch("report a b"), 2);
  const Outcome merged = program.notch("report a b --out all");
  CAPTURE(merged.err);
  REQUIRE(merged.code == 0);
  CHECK(without_seconds(program, "all") == without_seconds(program, "whole"));
  CHECK(program.shell("cmp all/config.resolved.toml whole/config.resolved.toml").code == 0);
  CHECK(program.shell("cmp all/metrics.jsonl whole/metrics.jsonl").code == 0);
  CHECK(program.notch("report all -q").code == 0);
  // What only one of them has is a part of the whole as well.
  const Outcome one = program.notch("report whole seeds=2 --out one");
  CAPTURE(one.err);
  REQUIRE(one.code == 0);
  CHECK(without_seconds(program, "one") == without_seconds(program, "b"));
}

TEST_CASE("rows that were run apart make the report of all rows") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml quant.methods=rtn,gptq --out whole -q && "
                     "notch run tiny.toml quant.methods=rtn --out a -q && "
                     "notch run tiny.toml quant.methods=gptq gptq.damp=0.01 --out b -q && "
                     "notch run tiny.toml quant.methods=gptq gptq.damp=0.1 --out c -q")
              .code == 0);
  REQUIRE(program.notch("report a b --out all -q").code == 0);
  CHECK(without_seconds(program, "all") == without_seconds(program, "whole"));
  const Outcome other = program.notch("report b c --out both");
  check_refused(other, 6);
  CHECK(other.err.find("gptq.damp") != std::string::npos);
}

TEST_CASE("parts of other configurations are refused by key") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml seeds=1 --out a -q && "
                     "notch run tiny.toml seeds=2 train.lr=2e-2 --out b -q")
              .code == 0);
  const Outcome refused = program.notch("report a b --out all");
  check_refused(refused, 6);
  CHECK(refused.err.find("train.lr") != std::string::npos);
  CHECK(refused.err.find("0.02") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "all"));
  check_refused(program.notch("report a train.lr=1"), 2);
}

TEST_CASE("a missing or unfinished part is named") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml seeds=1 --out a -q && "
                     "notch run tiny.toml seeds=2,3 --out b -q && rm b/seed-3/rows/rtn-int8.json")
              .code == 0);
  const Outcome nothing = program.notch("report a c --out all");
  check_refused(nothing, 4);  // as other verbs say of a directory that is not there
  CHECK(nothing.err.find("error: c: ") == 0);
  check_refused(program.notch("report . --out all"), 3);  // which is there, and no run
  const Outcome unfinished = program.notch("report a b --out all");
  check_refused(unfinished, 3);
  CHECK(unfinished.err.find("b: seed 3 lacks 1 of 2 rows, rtn-int8 first") != std::string::npos);
  CHECK(unfinished.err.find("b/config.resolved.toml --resume") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "all"));
  REQUIRE(program.notch("report a b seeds=1,2 --out all -q").code == 0);
  // A seed that was never to be made is not missing work: --resume would not make it.
  for (const auto& [what, of] : {std::pair{"a", "of 1"}, {"a b --out more", "of 1,2,3"}}) {
    CAPTURE(what);
    const Outcome other = program.notch(str("report seeds=4 ", what));
    check_refused(other, 2);
    CHECK(other.err.find(of) != std::string::npos);
    CHECK(other.err.find("--resume") == std::string::npos);
    CHECK(other.err.find("seeds=4 --out NEW") != std::string::npos);
  }
}

TEST_CASE("a report says which directory it cannot make") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  REQUIRE(program.notch("run tiny.toml model.n_embd=8 --out small -q").code == 0);
  for (const char* how : {"run --out", "run --methods rtn --out", "run small --sizes --out"}) {
    CAPTURE(how);
    const Outcome refused = program.notch(std::string("report ") + how + " text.txt/below");
    check_refused(refused, 4);
    CHECK(refused.err.find("text.txt: cannot create") != std::string::npos);
  }
}

TEST_CASE("shards made side by side are the whole run, byte for byte") {
  const Program program;
  const std::string run =
      "run tiny.toml seeds=1,2 quant.methods=rtn,qat-ste qat.steps=4 "
      "quant.control=true -q";
  REQUIRE(program.notch(run + " --out whole").code == 0);
  const Outcome shards =
      program.shell("seq 1 4 | xargs -P 2 -I I \"$NOTCH\" " + run + " --out cut --shard I/4");
  CAPTURE(shards.err);
  REQUIRE(shards.code == 0);
  REQUIRE(program.notch("report cut-shard-*-of-4 --out all -q").code == 0);
  for (const char* file :
       {"config.resolved.toml", "metrics.jsonl", "inputs.json", "seed-1/layers.json"}) {
    CAPTURE(file);
    CHECK(program.shell(std::string("cmp all/") + file + " whole/" + file).code == 0);
  }
  // Seconds are those of each run; everything that is made of the rest is the same.
  REQUIRE(program
              .shell("sed -i -e 's/\"seconds\": *[0-9.e+-]*/\"seconds\":0/' "
                     "-e 's/, *\"digest\": *\"[0-9a-f]*\"//' all/seed-*/rows/*.json "
                     "whole/seed-*/rows/*.json && notch report all -q && notch report whole -q")
              .code == 0);
  for (const char* file : kFiles) {
    CAPTURE(file);
    CHECK(program.shell(std::string("cmp all/") + file + " whole/" + file).code == 0);
  }
  // Each shard made its own rows: the second of a seed no control, as no row is made of it there.
  CHECK(program.shell("ls cut-shard-1-of-4/seed-1/rows").out ==
        "control-rtn-int8.json\nfp32-continue.json\nfp32.json\nrtn-int8.json\n");
  CHECK(program.shell("ls cut-shard-4-of-4/seed-2/rows").out == "fp32.json\nqat-ste-int8.json\n");
  CHECK(program.shell("ls cut-shard-4-of-4").out.find("report.html") == std::string::npos);
}

TEST_CASE("a shard missing, cut otherwise or unfinished is named") {
  const Program program;
  const std::string run = "notch run tiny.toml seeds=1,2,3 -q --out cut --shard ";
  REQUIRE(program.shell(run + "1/3 && " + run + "3/3").code == 0);
  const Outcome missing = program.notch("report cut-shard-1-of-3 cut-shard-3-of-3 --out all");
  check_refused(missing, 3);
  CHECK(missing.err.find("missing: shard 2/3") != std::string::npos);
  CHECK(missing.err.find("--shard 2/3 --out cut") != std::string::npos);
  check_refused(program.notch("report cut-shard-1-of-3 --out all"), 3);
  REQUIRE(program.shell(run + "2/3 && rm cut-shard-2-of-3/seed-2/rows/rtn-int8.json").code == 0);
  const Outcome unfinished = program.notch("report cut-shard-3-of-3 cut-shard-[12]-of-3 --out all");
  check_refused(unfinished, 3);
  CHECK(unfinished.err.find("cut-shard-2-of-3: seed 2 lacks 1 of 2 rows") != std::string::npos);
  CHECK(unfinished.err.find("--resume --shard 2/3 --out cut") != std::string::npos);
  // What the hint says mends it.
  REQUIRE(
      program.notch("run cut-shard-2-of-3/config.resolved.toml --resume --shard 2/3 --out cut -q")
          .code == 0);
  CHECK(program.notch("report cut-shard-3-of-3 cut-shard-[12]-of-3 --out all -q").code == 0);
  const Outcome otherwise = program.shell(
      "notch run tiny.toml seeds=1,2,3 -q --out cut --shard 1/2 && "
      "notch report cut-shard-1-of-3 cut-shard-1-of-2 --out both");
  CHECK(otherwise.code == 6);
  CHECK(otherwise.err.find("cut-shard-1-of-2") != std::string::npos);
  check_refused(program.notch("run tiny.toml --shard 2/2 --out cut"), 2);  // one seed, one row
  check_refused(program.notch("run tiny.toml --shard 3/2 --out cut"), 2);
}

TEST_CASE("a report of some rows compares these alone") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml quant.methods=rtn,rtn-mse,gptq,qat-ste quant.bits=4,3 "
                     "quant.control=true qat.steps=2 --out run -q && cp -r run before")
              .code == 0);
  const auto lines = [&](const std::string& command) {
    return program.shell(command + " | wc -l").out;
  };
  const Outcome some = program.notch("report run --methods 'rtn*,gptq' --output csv");
  CAPTURE(some.err);
  REQUIRE(some.code == 0);
  CHECK(some.out.find("\nrtn-mse,") != std::string::npos);
  CHECK(some.out.find("\ngptq,") != std::string::npos);
  CHECK(some.out.find("\nfp32,") != std::string::npos);
  CHECK(some.out.find("qat-ste") == std::string::npos);
  // Nothing was written, and elsewhere Holm counts the pairs of what is left: one at each of two widths.
  CHECK(program.shell("diff -r before run").code == 0);
  REQUIRE(program.notch("report run --methods gptq --out some -q").code == 0);
  CHECK(program.shell("grep -c qat some/pairs.csv").code == 1);
  CHECK(lines("tail -n +2 some/pairs.csv") ==
        lines("printf 'a\nb\n'"));  // gptq, and of the control
  CHECK(program.shell("test -e some/seed-1 -o -e some/config.resolved.toml").code == 1);
  const Outcome refused = program.notch("report run --methods 'gtpq,rtn'");
  check_refused(refused, 2);
  CHECK(refused.err.find("gtpq") != std::string::npos);
}

TEST_CASE("names reach results.md as words") {
  const Program program;
  program.shell("cp text.txt 'a|b<i>&.txt'");
  REQUIRE(program.notch("run tiny.toml 'data.path=a|b<i>&.txt' -q").code == 0);
  const std::string text = read_file(program / "run/results.md");
  CHECK(text.find("a\\|b&lt;i>&amp;.txt (") != std::string::npos);
  CHECK(text.find("<i>") == std::string::npos);
}

TEST_CASE("a report of parts names the damaged file where it lies") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  program.write("run/env.json", "{");
  const Outcome refused = program.notch("report run --out all");
  check_refused(refused, 3);
  CHECK(refused.err.find("run/env.json") != std::string::npos);
  CHECK(refused.err.find(".tmp-") == std::string::npos);
}

}  // namespace report_cli_test
