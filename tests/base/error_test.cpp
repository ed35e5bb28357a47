// The text of errors and the suggestions for misspelt words.
#include "autograd/base/error.h"

#include <array>

#include "tests/catch.h"

namespace error_test {

using namespace notch;

TEST_CASE("an error's text has its parts in order and omits empty ones") {
  const Error all({.fault = Fault::input,
                   .where = "a.json:3:1",
                   .what = "wrong type",
                   .field = "bits",
                   .found = "a string",
                   .expected = "an integer",
                   .hint = "write 4"});
  CHECK(std::string(all.what()) ==
        "a.json:3:1: bits: wrong type; expected an integer, found a string\nhint: write 4");
  CHECK(std::string(Error({.what = "plain"}).what()) == "plain");
  CHECK(std::string(Error({.where = "w", .what = "x", .found = "7"}).what()) == "w: x; found 7");
  CHECK(std::string(Error({.where = "w", .what = "x", .expected = "8"}).what()) ==
        "w: x; expected 8");
}

TEST_CASE("faults are the program's exit codes") {
  CHECK(static_cast<int>(Fault::usage) == 2);
  CHECK(static_cast<int>(Fault::input) == 3);
  CHECK(static_cast<int>(Fault::io) == 4);
  CHECK(static_cast<int>(Fault::numeric) == 5);
  CHECK(static_cast<int>(Fault::mismatch) == 6);
}

TEST_CASE("words are joined by commas and a last word of its own") {
  using Words = std::vector<std::string>;
  CHECK(joined(Words{}).empty());
  CHECK(joined(Words{"a"}, ", ", " or ") == "a");
  CHECK(joined(Words{"a", "b"}, ", ", " or ") == "a or b");
  CHECK(joined(Words{"a", "b", "c"}, ", ", " or ") == "a, b or c");
  CHECK(joined(std::array{1, 2, 3}) == "1, 2, 3");
}

TEST_CASE("check throws a usage error with its text only when it fails") {
  CHECK_NOTHROW(check(true, "linear", "unused"));
  const ErrorParts parts = test::error_of([] { check(false, "linear", "x has ", 3, " rows"); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.where == "linear");
  CHECK(parts.what == "x has 3 rows");
}

TEST_CASE("did_you_mean finds the nearest word or says nothing") {
  const std::vector<std::string> keys = {"steps", "seed", "lr", "batch_size", "weight_decay"};
  CHECK(did_you_mean("stpes", keys) == "steps");  // two substitutions
  CHECK(did_you_mean("batchsize", keys) == "batch_size");
  CHECK(did_you_mean("seed", keys) == "seed");
  CHECK(did_you_mean("weight_decays", keys) == "weight_decay");
  CHECK(did_you_mean("momentum", keys).empty());
  CHECK(did_you_mean("", keys).empty());
  CHECK(did_you_mean("x", {}).empty());
}

TEST_CASE("did_you_mean finds a compound by its words and whatever the case") {
  const std::vector<std::string> keys = {"granularity", "group_size", "min_lr", "warmup"};
  CHECK(did_you_mean("group", keys) == "group_size");
  CHECK(did_you_mean("lr_min", keys) == "min_lr");
  CHECK(did_you_mean("warmup_iters", keys) == "warmup");
  CHECK(did_you_mean("GPTQ", {"rtn", "gptq"}) == "gptq");
  CHECK(did_you_mean("kd", {"qat-ste", "qat-lsq-kd"}) == "qat-lsq-kd");
  CHECK(did_you_mean("_", keys).empty());
}

TEST_CASE("did_you_mean accepts a distance of half the length and not more") {
  CHECK(did_you_mean("abcd", {"abxy"}) == "abxy");
  CHECK(did_you_mean("abcd", {"axyz"}).empty());
}

TEST_CASE("a field that the place already names is not said again") {
  const auto text = [](std::string where, std::string field) {
    return std::string(
        Error({.where = std::move(where), .what = "wrong", .field = std::move(field)}).what());
  };
  CHECK(text("text", "text") == "text: wrong");
  CHECK(text("a.txt: text: byte offset 5", "text") == "a.txt: text: byte offset 5: wrong");
  CHECK(text("a.txt: byte offset 5", "text") == "a.txt: byte offset 5: text: wrong");
  CHECK(text("my text", "text") == "my text: text: wrong");
  CHECK(text("", "text") == "text: wrong");
}

}  // namespace error_test
