#include "experiments/program/args.h"

#include "experiments/program/shared_flags.h"
#include "tests/catch.h"

namespace args_test {

using namespace notch;
using namespace notch::experiments;

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {
      {.name = "run",
       .summary = "train, quantize and compare",
       .examples = {"notch run experiments/quick.toml train.steps=300"},
       .positionals = {{.name = "EXP.toml", .help = "the experiment"}},
       .flags = {output_flag(),
                 threads_flag(),
                 {.name = "out", .value = "DIR", .help = "where to"},
                 {.name = "resume", .value = "[DIR]", .help = "continue"},
                 {.name = "force", .help = "start over"},
                 {.name = "temp", .value = "X", .help = "temperature", .fallback = "1"}},
       .overrides = true},
      {.name = "eval",
       .summary = "score models",
       .positionals = {{.name = "MODEL"}, {.name = "MORE", .required = false, .repeated = true}}},
      {.name = "doctor", .summary = "look at this machine"},
  };
  return all;
}

Args parse(const std::vector<std::string>& words) { return parse_args(verbs(), words); }
ErrorParts error(const std::vector<std::string>& words) {
  return test::error_of([&] { parse(words); });
}

TEST_CASE("a setting is given once, as a flag is") {
  const ErrorParts twice = error({"run", "x.toml", "quant.bits=4", "a=1", "quant.bits =3"});
  CHECK(twice.fault == Fault::usage);
  CHECK(twice.field == "quant.bits");
  CHECK(parse({"run", "x.toml", "quant.bits=4", "quant.bit=4"}).overrides.size() == 2);
}

TEST_CASE("flags, overrides and positionals may come in any order") {
  const Args args = parse({"run", "-o", "csv", "train.lr=1e-3", "--threads=4", "x.toml", "--temp",
                           "-0.5", "quant.bits=[8, 4]", "--resume", "-q"});
  CHECK(args.verb == "run");
  CHECK(args.positionals == std::vector<std::string>{"x.toml"});
  CHECK(args.overrides == std::vector<std::string>{"train.lr=1e-3", "quant.bits=[8, 4]"});
  CHECK(args.value("output") == "csv");
  CHECK(args.integer("threads", 0, 0, 64) == 4);
  CHECK(args.number("temp", 1, between(-1, 1)) == -0.5);
  CHECK(args.has("quiet"));
  CHECK(args.value("resume") == "");
  CHECK_FALSE(args.has("force"));
  CHECK_FALSE(args.value("force").has_value());
  CHECK(args.integer("missing", 7, 0, 1) == 7);
  CHECK(parse({"run", "x", "--resume=dir"}).value("resume") == "dir");
}

TEST_CASE("after two dashes all is positional, some paths have '='") {
  CHECK(parse({"eval", "--", "-strange", "a=b"}).positionals ==
        std::vector<std::string>{"-strange", "a=b"});
  CHECK(parse({"eval", "a=b"}).positionals == std::vector<std::string>{"a=b"});
  CHECK(parse({"run", "./dir/x=1.toml"}).positionals == std::vector<std::string>{"./dir/x=1.toml"});
  CHECK(parse({"eval", "a", "b", "c"}).positionals.size() == 3);
}

TEST_CASE("a value may begin with dashes unless it is a flag") {
  for (const char* value : {"-- He", "--", "--He", "-x", "-", "---", "--nothing=1"}) {
    CAPTURE(value);
    CHECK(parse({"run", "x", "--temp", value}).value("temp") == value);
    CHECK(parse({"run", "x", str("--temp=", value)}).value("temp") == value);
  }
  CHECK(parse({"run", "x", "--temp=--force"}).value("temp") == "--force");
  CHECK(error({"run", "x", "--temp", "--force"}).hint.find("--temp=X") != std::string::npos);
  CHECK(error({"run", "x", "--temp", "--threads=2"}).field == "--temp");
}

TEST_CASE("unknown, missing, doubled and surplus arguments are named") {
  struct Case {
    std::vector<std::string> words{};
    std::string where{}, field{}, hint{};
  };
  const std::vector<Case> cases = {
      {{"runn"}, "notch", "runn", "notch run"},
      {{"--resume"}, "notch", "--resume", ""},
      {{"run", "x", "--treads", "4"}, "notch run", "--treads", "--threads"},
      {{"run", "x", "-z"}, "notch run", "-z", ""},
      {{"run", "x", "--threads"}, "notch run", "--threads", "N"},
      {{"run", "x", "--threads", "--force"}, "notch run", "--threads", "N"},
      {{"run", "x", "--force=1"}, "notch run", "--force", ""},
      {{"run", "x", "-o", "csvv"}, "notch run", "--output", "csv"},
      {{"run", "x", "-o", "/tmp/runs"}, "notch run", "--output", "--out /tmp/runs"},
      {{"run", "x", "-q", "--quiet"}, "notch run", "--quiet", ""},
      {{"run"}, "notch run", "EXP.toml", "notch run experiments/quick.toml"},
      {{"run", "x", "y"}, "notch run", "y", ""},
      {{"doctor", "x"}, "notch doctor", "x", ""},
      {{"eval"}, "notch eval", "MODEL", ""},
  };
  for (const Case& c : cases) {
    INFO(c.words.back());
    const ErrorParts parts = error(c.words);
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.where == c.where);
    CHECK(parts.field == c.field);
    CHECK(parts.hint.find(c.hint) != std::string::npos);
  }
}

TEST_CASE("a flag's number is checked against its range") {
  const auto threads = [](const char* value) {
    return test::error_of([&] {
      parse({"run", "x", "--threads", value}).integer("threads", 0, 0, 64);
    });
  };
  for (const char* bad : {"many", "", "4x", "65", "-1", "1e1"}) {
    CHECK(threads(bad).field == "--threads");
    CHECK(threads(bad).found == bad);
  }
  CHECK(test::error_of([] {
          parse({"run", "x", "--temp", "nan"}).number("temp", 1, between(0, 9));
        }).found == "nan");
}

TEST_CASE("an amount of bytes has a unit of 1000 or of 1024") {
  const auto bytes = [](const char* value) {
    return parse({"run", "x", "--temp", value}).bytes("temp", 7);
  };
  CHECK(parse({"run", "x"}).bytes("temp", 7) == 7);
  CHECK(bytes("65536") == 65536);
  CHECK(bytes("25kB") == 25000);
  CHECK(bytes("25KB") == 25000);
  CHECK(bytes("1.5 MB") == 1500000);
  CHECK(bytes("2KiB") == 2048);
  CHECK(bytes("2GiB") == 2147483648.0);
  for (const char* bad : {"many", "-1", "0", "0.5", "nan", "inf", "1e999", "2kb", "2 GiBs", "B"}) {
    CHECK(test::error_of([&] { bytes(bad); }).found == bad);
  }
}

TEST_CASE("help begins with an example and lists flags with defaults") {
  CHECK(parse({"run", "-h", "--nonsense"}).help());
  CHECK(parse({"--help"}).help());
  CHECK(parse({}).verb.empty());
  const std::string text = help_text(verbs()[0]);
  CHECK(text.find("notch run experiments/quick.toml") == 0);
  for (const char* flag :
       {"--output", "--threads", "--resume[=DIR]", "--force", "-q", "-h", "default: 1"}) {
    INFO(flag);
    CHECK(text.find(flag) != std::string::npos);
  }
  const std::string all = help_text(verbs());
  for (const Verb& verb : verbs()) CHECK(all.find(verb.summary) != std::string::npos);
}

}  // namespace args_test
