// What the program reads: texts from files and pipes, models of other programs; and that it keeps
// what it reads.
#include "experiments/program/commands.h"
#include "tests/experiments/program.h"

namespace inputs_test {

using namespace notch;
using namespace notch::experiments;
using test::check_refused;
using test::Outcome;
using test::Program;

TEST_CASE("every path flag says what its verb does with the path") {
  for (const Command& command : commands()) {
    for (const Flag& flag : command.verb.flags) {
      CAPTURE(command.verb.name, flag.name);
      if (flag.value == "FILE") {
        CHECK(flag.path != PathUse::none);
        CHECK(flag.path != PathUse::filled);
      } else if (flag.value == "DIR" || flag.value == "MODEL_DIR") {
        CHECK((flag.path == PathUse::read || flag.path == PathUse::filled));
      } else {
        CHECK(flag.path == PathUse::none);
      }
    }
  }
}

TEST_CASE("no verb lets an output replace an input of its command") {
  const Program program;
  const std::string model = program.train();
  program.shell(
      "cp -r " + model +
      " m && cp -r m base && ln -s m link && mkdir d && "
      "ln -s ../m/config.json d/config && notch quantize m --method rtn -b 4 --out q4 -q");
  const std::string state = "find . -type f -o -type l | sort | xargs cat | cksum";
  const std::string before = program.shell(state).out;
  const auto refused = [&](const std::string& arguments) {
    CAPTURE(arguments);
    check_refused(program.notch(arguments), 2);
    CHECK(program.shell(state).out == before);
  };
  const std::string eval = "eval m --text text.txt -q ";
  for (const char* flag : {"--dump-logits ", "--dump-grads "}) {
    for (const char* file :
         {"m/model.safetensors", "./m/../m/config.json", "m/vocab.json", "m/merges.txt",
          "m/tokenizer.json", "m/tokenizer_config.json", "m/generation_config.json",
          "m/chat_template.jinja", "link/model.safetensors", "d/config", "text.txt"}) {
      refused(eval + flag + file);
    }
    refused(eval + "--base base " + flag + "base/model.safetensors");
  }
  refused(eval + "--dump-logits new --dump-grads ./d/../new");
  refused("graph m --dot m/config.json");
  refused("graph tiny.toml --dot tiny.toml");
  refused("graph link --dot m/model.safetensors");
  refused("bench m --svg m/model.safetensors -r 1 --batch 1");
  refused("bench m q4 --svg q4/config.json -r 1 --batch 1");
  refused("quantize m --method rtn -b 8 --out m");
  refused("quantize m --method rtn -b 8 --out link");
  refused("export q4 --format coded --out q4");
  refused("train run/config.resolved.toml --force");
  refused("run run/config.resolved.toml --force");
  refused(
      "train tiny.toml --force data.path=run/models/fp32-seed1337/vocab.json "
      "data.tokenizer=byte");

  // Other names are written, in the model's directory too.
  CHECK(program.notch(eval + "--dump-logits m/logits --dump-grads m/grads").code == 0);
  CHECK(program.notch("graph tiny.toml --dot tiny.dot").code == 0);
}

TEST_CASE("a text from a file, a pipe or stdin has the same result") {
  const Program program;
  const std::string eval = "eval " + program.train() + " -q -o csv --text ";
  const Outcome file = program.notch(eval + "text.txt");
  REQUIRE(file.code == 0);
  for (const std::string& script :
       {"notch " + eval + "- <text.txt", "cat text.txt | notch " + eval + "-",
        "cat text.txt | notch " + eval + "/dev/stdin",
        "mkfifo pipe; cat text.txt >pipe & notch " + eval + "pipe"}) {
    CAPTURE(script);
    const Outcome piped = program.shell(script);
    CHECK(piped.err.empty());
    CHECK(piped.out == file.out);
  }
  check_refused(program.shell("notch " + eval + "- </dev/null"), 4);
  check_refused(program.shell(": | notch " + eval + "-"), 3);
  CHECK(program.shell("cat text.txt | notch train tiny.toml data.path=- --out piped -q").code == 0);
  CHECK(program.shell("cmp run/models/*/model.safetensors piped/models/*/model.safetensors").code ==
        0);
}

TEST_CASE("a byte order mark changes no result and is spoken of") {
  const Program program;
  program.shell("{ printf '\\357\\273\\277'; cat text.txt; } > marked.txt");
  REQUIRE(fs::file_size(program / "marked.txt") == fs::file_size(program / "text.txt") + 3);
  const std::string model = program.train();
  const Outcome marked = program.notch("train tiny.toml data.path=marked.txt --out marked");
  CHECK(marked.err.find("byte order mark") != std::string::npos);
  CHECK(
      program.shell("cmp run/models/*/model.safetensors marked/models/*/model.safetensors").code ==
      0);
  const std::string eval = "eval " + model + " -o csv --text ";
  const Outcome scored = program.notch(eval + "marked.txt"),
                plain = program.notch(eval + "text.txt");
  CHECK(scored.out == plain.out);
  CHECK(scored.err.find("byte order mark") != std::string::npos);
  CHECK(plain.err.find("byte order mark") == std::string::npos);
}

TEST_CASE("a run says how much calibration text it has") {
  const Program program;
  const std::size_t train = 9 * fs::file_size(program / "text.txt") / 10;
  const std::string all = str((train - 1) / 8, " windows of ");
  const std::string rows = " quant.methods=rtn,gptq quant.bits=4";
  const Outcome some = program.notch("run tiny.toml --out some" + rows);
  CHECK(some.err.find("calib    4 windows of 8 tokens of the training split\n") !=
        std::string::npos);
  CHECK(read_file(program / "some/results.md").find("calibration: 4 windows of ") !=
        std::string::npos);
  const Outcome most = program.notch("run tiny.toml calib.windows=1000000 --out most" + rows);
  CAPTURE(most.err);
  CHECK(most.code == 0);
  CHECK(most.err.find("calib    " + all) != std::string::npos);
  CHECK(most.err.find("asks for 1000000") != std::string::npos);
  CHECK(read_file(program / "most/results.md").find("calibration: " + all) != std::string::npos);
  CHECK(program.notch("run tiny.toml").err.find("calib ") == std::string::npos);
}

TEST_CASE("a split that is too short names its share and the text") {
  const Program program;
  const std::string bytes = std::to_string(fs::file_size(program / "text.txt"));
  const Outcome outcome = program.notch("train tiny.toml data.val_fraction=0.004");
  check_refused(outcome, 3);
  CHECK(outcome.err.find("data.val_fraction: ") != std::string::npos);
  CHECK(outcome.err.find("of the text's " + bytes + " tokens") != std::string::npos);
  const std::size_t advice = outcome.err.find("data.val_fraction=");
  REQUIRE(advice != std::string::npos);
  const std::string share = outcome.err.substr(advice, outcome.err.find('\n', advice) - advice);
  CHECK(program.notch("train tiny.toml -q " + share).code == 0);
  const Outcome scored = program.notch(
      "eval run/models/fp32-seed1337 --text text.txt --split val --val-fraction 0.004");
  check_refused(scored, 3);
  CHECK(scored.err.find("--val-fraction") != std::string::npos);
  CHECK(scored.err.find("of the text's " + bytes + " bytes") != std::string::npos);
}

TEST_CASE("a missing text is not replaced by another of its name") {
  const Program program;
  const std::string eval = "eval " + program.train() + " -q -o csv --text ";
  program.shell("mkdir shelf && cp text.txt shelf/book.txt");
  const std::string shelf = "export NOTCH_DATA=$PWD/shelf; ";
  for (const char* path : {"/no/such/place/book.txt", "nowhere/book.txt", "./book.txt"}) {
    const Outcome refused = program.shell(shelf + "notch " + eval + path);
    check_refused(refused, 4);
    CHECK(refused.err.find("shelf/book.txt") != std::string::npos);
  }
  CHECK(program.shell(shelf + "notch " + eval + "book.txt").code == 0);
  // An experiment's own text may lie there, and the configuration then says so.
  program.shell("sed 's:text.txt:../corpora/book.txt:' tiny.toml > other.toml");
  const Outcome config = program.shell(shelf + "notch config other.toml");
  CHECK(config.out.find("/shelf/book.txt") != std::string::npos);
  CHECK(program.shell(shelf + "notch train other.toml --out other -q").code == 0);
  check_refused(
      program.shell(shelf + "notch train tiny.toml data.path=nowhere/book.txt --out x -q"), 4);
}

}  // namespace inputs_test
