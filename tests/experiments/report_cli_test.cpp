// notch report: a run's report again, and one report of the parts of a run.
#include "tests/experiments/program.h"

using namespace notch;
using test::check_refused;
using test::Outcome;
using test::Program;

namespace {

constexpr const char* kFiles[] = {"report.html", "results.md",    "results.svg",
                                  "results.csv", "results.jsonl", "pairs.csv"};

/// Seconds differ from run to run; nothing else does.
std::string without_seconds(const Program& program, const std::string& run) {
  return program
      .shell("cut -d, -f1-12 " + run + "/results.csv && sed -n '/^hash/p' " + run + "/results.md")
      .out;
}

}  // namespace

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
  check_refused(nothing, 3);
  CHECK(nothing.err.find("error: c: ") == 0);
  const Outcome unfinished = program.notch("report a b --out all");
  check_refused(unfinished, 3);
  CHECK(unfinished.err.find("b: seed 3 lacks 1 of 2 rows, rtn-int8 first") != std::string::npos);
  CHECK(unfinished.err.find("b/config.resolved.toml --resume") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "all"));
  REQUIRE(program.notch("report a b seeds=1,2 --out all -q").code == 0);
}
