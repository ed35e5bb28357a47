// What verbs write: nothing is replaced, and of two commands that write one new name one has it.
#include <set>
#include <string>

#include "experiments/program/commands.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"

namespace notch::test::outputs_cli_test {

TEST_CASE("no verb replaces a file that it is told to write") {
  const Program program;
  program.write("mine", "text");
  program.shell("ln -s nowhere dangling");
  std::set<std::string> seen;
  for (const experiments::Command& command : experiments::commands()) {
    const experiments::Verb& verb = command.verb;
    for (const experiments::Flag& flag : verb.flags) {
      if (flag.path != experiments::PathUse::written) continue;
      seen.insert(str(verb.name, " --", flag.name));
      std::string arguments(verb.name);
      // Refused before anything is read.
      if (!verb.positionals.empty() && verb.positionals[0].required) arguments += " absent";
      for (const char* name : {"mine", "dangling"}) {
        const Outcome outcome = program.notch(str(arguments, " --", flag.name, " ", name));
        CAPTURE(arguments, flag.name, outcome.err);
        check_refused(outcome, 2);
        CHECK(outcome.err.starts_with(str("error: ", name, ": exists")));
      }
    }
  }
  CHECK(seen.contains("graph --dot"));
  CHECK(seen.contains("eval --dump-logits"));
  CHECK(seen.contains("eval --dump-grads"));
  CHECK(seen.contains("bench --svg"));
  CHECK(seen.contains("export --gguf"));
  CHECK(seen.contains("export --onnx"));
  CHECK(seen.contains("imatrix --out"));
  CHECK(read_file(program / "mine") == "text");
  CHECK(program.shell("ls -A").out == "dangling\nmine\ntext.txt\ntiny.toml\n");
}

TEST_CASE("no verb writes into a directory that holds something") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  const std::string model = "run/models/fp32-seed1337";
  program.shell("mkdir full && echo mine >full/index.html");
  const std::string verbs[] = {"quantize " + model + " --method rtn --bits 4 --out",
                               "export " + model + " --format f16 --out",
                               "narrow " + model + " --text text.txt --inner 32 --out",
                               "report run --methods fp32 --out",
                               "report run --out",
                               "run tiny.toml --out",
                               "train tiny.toml --force --out",
                               "lesson --html",
                               "new"};
  for (const std::string& verb : verbs) {
    const Outcome outcome = program.notch(verb + " full");
    CAPTURE(verb, outcome.err);
    check_refused(outcome, 2);
    CHECK(outcome.err.find("full") != std::string::npos);
    CHECK(program.shell("ls -A full; cat full/*").out == "index.html\nmine\n");
  }
}

TEST_CASE("of two commands that write one new name one has it") {
  const Program program;
  const std::string model = program.train();
  program.shell("mkfifo a b");
  const std::string verbs[] = {
      "quantize " + model + " --method gptq --bits 4 --out new --text",
      "narrow " + model + " --inner 32 --out new --text",
      "imatrix " + model + " --out new --text",
      "eval " + model + " --dump-logits new --text",
      "eval " + model + " --dump-grads new --text",
  };
  for (const std::string& verb : verbs) {
    // Both have looked whether it exists when they wait for their text.
    const Outcome outcome = program.shell(
        "\"$NOTCH\" " + verb + " a -q >a.out 2>a.err & a=$!; \"$NOTCH\" " + verb +
        " b -q >b.out 2>b.err & b=$!; exec 3>a 4>b; cat text.txt >&3; cat text.txt >&4; "
        "exec 3>&- 4>&-; wait $a; a=$?; wait $b; b=$?; cat a.err b.err; ls -d new*; "
        "rm [ab].out [ab].err; exit $((a + b))");
    CAPTURE(verb, outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.out == "error: new: exists\nhint: choose another name, or remove it\nnew\n");
    CHECK(program.notch("verify new").code == 0);
    program.shell("rm -r new");
  }
}

TEST_CASE("a lesson draws its picture again, not over another file") {
  const Program program;
  const Outcome first = program.notch("lesson 02");
  REQUIRE(first.code == 0);
  const Outcome again = program.notch("lesson 02");
  CHECK(again.code == 0);
  CHECK(again.out == first.out);
  const std::string picture = program.shell("ls *.svg").out;
  REQUIRE(picture.size() > 4);
  const std::string name = picture.substr(0, picture.size() - 1);
  program.write(name, "mine");
  CHECK(program.notch("lesson 02").code == 2);  // it has been read by then
  CHECK(read_file(program / name) == "mine");
}

TEST_CASE("pages and a new program go to an empty directory too") {
  const Program program;
  program.shell("mkdir pages mynet");
  CHECK(program.notch("lesson --html pages").code == 0);
  CHECK(program.shell("ls pages | wc -l").out == "5\n");
  check_refused(program.notch("lesson --html pages"), 2);
  CHECK(program.notch("new mynet").code == 0);
  CHECK(program.shell("ls mynet").out == "CMakeLists.txt\nmain.cpp\n");
  check_refused(program.notch("new mynet"), 2);
  CHECK(program.notch("-h").out.find("must not be there yet") != std::string::npos);
}

}  // namespace notch::test::outputs_cli_test
