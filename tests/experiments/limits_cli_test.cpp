// The program at the system's limits, and what it shows of names that hold more than text.
#include <string>
#include <utility>

#include "autograd/base/temporaries.h"
#include "tests/catch.h"
#include "tests/experiments/program.h"

namespace notch::test::limits_cli_test {

#ifndef NOTCH_SANITIZED  // whose shadow memory needs more address space than the limits give

TEST_CASE("a stack that is too short is told of") {
  const Program program;
  const std::string model = program.train();
  for (const char* limit : {"128", "256", "511"}) {
    const Outcome outcome =
        program.shell(str("ulimit -s ", limit, " && notch eval ", model, " --text text.txt -q"));
    check_refused(outcome, 4);
    CHECK(outcome.err.find("ulimit -s") != std::string::npos);
    CHECK(outcome.err.find(str(limit, " KiB")) != std::string::npos);
  }
  // Products of every kind, in the main thread and in others: gradients of weights are packed.
  const std::string wide = "model.n_embd=64 model.block_size=64 train.batch_size=8 train.steps=2 ";
  for (const std::string& command :
       {"run tiny.toml --force " + wide + "quant.methods=gptq,qat-lsq qat.steps=1 -q",
        "run tiny.toml --force " + wide + "train.products=portable -q", std::string("doctor -q")}) {
    CAPTURE(command);
    const Outcome outcome = program.shell("ulimit -s 512 && notch " + command + " -t 3");
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
  }
}

TEST_CASE("without memory the program ends with code 4, at once") {
  const Program program;
  const std::string model = program.train();
  // GPTQ calls OpenBLAS, whose buffer takes 128 MiB. 127: not even the libraries could be loaded.
  const std::string gptq = " timeout -s KILL 60 \"$NOTCH\" quantize " + model +
                           " -b 4 --method gptq --text text.txt --out q -q ";
  const Outcome outcome = program.shell(
      "for v in 40000 60000 80000 100000 130000 160000 200000 250000 300000 400000 600000; do\n"
      "  (ulimit -v $v;" +
      gptq +
      "-t 2 >/dev/null 2>&1)\n"
      "  code=$?; rm -rf q\n"
      "  case $code in 0|4|127) ;; *) echo \"$v KiB: $code\";; esac\n"
      "done\n"
      "(ulimit -v 100000;" +
      gptq + "-t 1)");
  CHECK(outcome.out.empty());
  CHECK(outcome.code == 4);
  CHECK(outcome.err.find("error: ") != std::string::npos);
}

TEST_CASE("memory that ends after the first products ends the run") {
  const Program program;
  // OpenBLAS would try for ever to get a buffer for a thread that multiplies for the first time.
  const std::string train =
      " timeout -s KILL 60 \"$NOTCH\" train tiny.toml --force -q -t 2 model.n_embd=256 "
      "model.n_layer=3 train.steps=2 train.warmup=1 train.eval_every=0 >/dev/null 2>&1";
  const Outcome outcome = program.shell(
      "for v in 330000 350000 370000 390000 410000 430000 450000; do\n"
      "  (ulimit -v $v;" +
      train +
      ")\n"
      "  code=$?; case $code in 0|4) ;; *) echo \"$v KiB: $code\";; esac\n"
      "done");
  CAPTURE(outcome.out);
  CHECK(outcome.out.empty());
}

#endif

TEST_CASE("a closed stdin or stdout is an error, never another file") {
  const Program program;
  const std::string model = program.train();
  const auto before = program.entries();
  const std::string verbs[] = {"inspect " + model, "tokenize " + model + " --text text.txt",
                               "sample " + model + " -n 5", "help", "config"};
  for (const std::string& verb : verbs) {
    for (const char* closed : {">&-", "<&- >&-", "<&- >&- 2>&-"}) {
      CAPTURE(verb, closed);
      const Outcome outcome = program.shell("timeout -s KILL 60 \"$NOTCH\" " + verb + ' ' + closed);
      CHECK(outcome.code == 4);
      if (std::string_view(closed).find("2>") == std::string_view::npos)
        CHECK(outcome.err.find("stdout cannot be written") != std::string::npos);
    }
  }
  for (const char* closed : {"<&-", "<&- 2>&-"}) {
    CAPTURE(closed);
    const Outcome outcome =
        program.shell("timeout -s KILL 60 \"$NOTCH\" eval " + model + " --text - " + closed);
    CHECK(outcome.code == 4);
  }
  CHECK(program.entries() == before);
  CHECK(
      program.shell("timeout -s KILL 60 \"$NOTCH\" run tiny.toml --out other <&- 2>&- >log").code ==
      0);
}

TEST_CASE("a text that no configuration can name is refused") {
  const Program program;
  const Outcome outcome = program.shell(
      "name=$(printf 'd\\377.txt'); cp text.txt \"$name\"; notch run \"$name\" --out r");
  check_refused(outcome, 2);
  CHECK(outcome.err.find("data.path: is not UTF-8") != std::string::npos);
  CHECK(outcome.err.find("d\\xFF.txt") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "r"));
}

TEST_CASE("a lock that cannot be written goes again") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  const auto before = program.entries();
  const Outcome outcome = program.shell("(ulimit -f 0; notch report run 2>&1) | cat >&2");
  CHECK(outcome.err.find("run.lock: ") != std::string::npos);
  CHECK(program.entries() == before);
}

TEST_CASE("a dump beside one that fails is not left") {
  const Program program;
  const std::string model = program.train();
  const auto before = program.entries();
  // In blocks of 512 bytes: more than one window's logits take, less than the gradients.
  const Outcome outcome = program.shell("ulimit -f 20; notch eval " + model +
                                        " --text text.txt --dump-logits l --dump-grads g -q");
  check_refused(outcome, 4);
  CHECK(outcome.err.find("ulimit -f") != std::string::npos);
  CHECK(program.entries() == before);
  CHECK(program.shell("ulimit -f 20; notch eval " + model + " --text text.txt --dump-logits l -q")
            .code == 0);
}

TEST_CASE("a file at its size limit is an error that says so") {
  const Program program;
  const Outcome outcome = program.shell("ulimit -f 8; notch train tiny.toml -q");
  CHECK(outcome.code == 4);
  CHECK(outcome.err.find("error: ") != std::string::npos);
  CHECK(outcome.err.find("ulimit -f") != std::string::npos);
}

TEST_CASE("a report is whole or not there") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  REQUIRE(program.notch("run tiny.toml model.n_embd=8 --out small -q").code == 0);
  const auto before = program.entries();
  for (const char* how : {"run --out", "run --methods rtn --out", "run small --sizes --out"}) {
    CAPTURE(how);
    // In blocks of 512 bytes: less than the page takes, more than the tables.
    const Outcome outcome = program.shell(str("ulimit -f 40; notch report ", how, " all"));
    check_refused(outcome, 4);
    CHECK(program.entries() == before);
  }
}

TEST_CASE("directories are written below new ones, not below files") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  const std::string model = "run/models/fp32-seed1337";
  int n = 0;
  for (const std::string& verb :
       {"export " + model + " --format f16", "quantize " + model + " --method rtn --bits 4",
        "narrow " + model + " --text text.txt --inner 32", std::string("report run")}) {
    CAPTURE(verb);
    const std::string folder = str("new", ++n);
    CHECK(program.notch(verb + " --out " + folder + "/below/it").code == 0);
    CHECK_FALSE(fs::is_empty(program / (folder + "/below/it")));
    const Outcome outcome = program.notch(verb + " --out text.txt/it");
    check_refused(outcome, 4);
    CHECK(outcome.err.find("a folder that can be written") != std::string::npos);
  }
  // Those above what is refused go again.
  check_refused(program.notch("export " + model + " --format coded --out gone/below/it"), 3);
  CHECK_FALSE(fs::exists(program / "gone"));
}

TEST_CASE("what killed commands left goes with the next") {
  const Program program;
  const std::string model = program.train();
  const std::string here = ".tmp-" + temporary_host() + "-$dead";
  const auto made = [&](const std::string& verb, const std::string& out) {
    CAPTURE(verb, out);
    const Outcome outcome = program.shell(
        "sleep 1000 & dead=$!; kill -9 $dead; wait $dead; "
        "mkdir " +
        out + here + " other" + here + "; " + "notch " + verb + " " + out +
        " -q >log; code=$?; ls -d " + out + "*; rm -r other" + here + "; exit $code");
    CAPTURE(outcome.err);
    CHECK(outcome.code == 0);
    CHECK(outcome.out == out + "\n");
  };
  made("export " + model + " --format f16 --out", "half");
  made("quantize " + model + " --method rtn --bits 4 --out", "small");
  made("export " + model + " --gguf-type F16 --gguf", "model.gguf");
  made("export " + model + " --onnx", "model.onnx");
  made("graph " + model + " --dot", "graph.dot");
  made("imatrix " + model + " --text text.txt --out", "imatrix.gguf");
  made("eval " + model + " --text text.txt --dump-logits", "logits.safetensors");
  // Not with one that is refused, whether it writes a directory or a file, before the model is read or after.
  const std::pair<std::string, int> refusals[] = {
      {"export absent --format f16 --out", 4},
      {"export absent --gguf", 4},
      {"graph absent --dot", 4},
      {"imatrix absent --text text.txt --out", 4},
      {"export " + model + " --format coded --out", 3},
      {"export " + model + " --gguf-type Q4_K --gguf", 2},
      {"eval " + model + " --text text.txt --windows 1000000 --dump-logits", 2},
      {"quantize " + model +
           " --method rtn --bits 4,8 --target-bytes 1 --text text.txt --out q --sensitivity",
       2}};
  for (const auto& [verb, code] : refusals) {
    const Outcome outcome =
        program.shell("dead=$(sh -c 'echo $$'); mkdir mine" + here + "; notch " + verb +
                      " mine; code=$?; rmdir mine" + here + " || exit 99; exit $code");
    CAPTURE(verb, outcome.err);
    check_refused(outcome, code);
  }
}

TEST_CASE("an interrupted command leaves nothing it had begun") {
  const Program program;
  const std::string model = program.train();
  const auto before = program.entries();
  // Stopped in its first steps, wherever they are.
  program.shell(
      "for wait in 0.01 0.03 0.05 0.1 0.2; do\n"
      "  \"$NOTCH\" quantize " +
      model +
      " -b 4 --method gptq --calib-windows 64 --text text.txt --out q -q -t 1 &\n"
      "  pid=$!; sleep $wait; kill -TERM $pid 2>/dev/null; wait $pid; rm -rf q\n"
      "done");
  CHECK(program.entries() == before);
}

TEST_CASE("names are shown with what would steer a terminal escaped") {
  const Program program;
  for (const char* command : {"eval", "inspect", "verify", "sample", "config", "run", "graph"}) {
    const Outcome outcome = program.shell(
        str("name=$(printf 'x\\033[2J\\342\\200\\256y'); notch ", command, " \"$name\" ",
            std::string_view(command) == "eval" ? "--text text.txt" : ""));
    CAPTURE(command, outcome.err);
    CHECK(outcome.code != 1);
    const std::string& said = outcome.err;
    CHECK(outcome.code != 0);
    CHECK(said.find('\x1b') == std::string::npos);
    CHECK(said.find("\u202e") == std::string::npos);
    CHECK(said.find("\\u001B[2J\\u202Ey") != std::string::npos);
  }
  // What is printed about a directory of such a name, a line feed included.
  const std::string name = "name=$(printf 'x\\033[2J\\n\\342\\200\\256y'); ";
  for (const char* command : {"run tiny.toml --out \"$name\"", "report \"$name\"",
                              "inspect \"$name/models/fp32-seed1337\"", "new \"$name/n\""}) {
    const Outcome outcome = program.shell(name + "notch " + command);
    CAPTURE(command, outcome.out, outcome.err);
    CHECK(outcome.code == 0);
    const std::string said = outcome.out + outcome.err;
    CHECK(said.find('\x1b') == std::string::npos);
    CHECK(said.find("\u202e") == std::string::npos);
    CHECK(said.find("x\\u001B[2J\\n\\u202Ey") != std::string::npos);
  }
}

}  // namespace notch::test::limits_cli_test
