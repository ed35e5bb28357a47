// Runs that go on: where they lie now, and by the command that is printed.
#include "tests/experiments/program.h"

namespace resume_cli_test {

using namespace notch;
using test::check_refused;
using test::Outcome;
using test::Program;

TEST_CASE("the program resumes a moved folder, but not another text") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  const Outcome moved = program.shell(
      "mkdir moved texts && cp -r run moved/run && cp tiny.toml moved/renamed.toml && "
      "cp text.txt texts/book.txt && cd moved && "
      "notch run renamed.toml data.path=../texts/book.txt --resume -q -o json");
  CAPTURE(moved.err);
  CHECK(moved.code == 0);
  program.shell("sed -i s/0/1/ text.txt");
  const auto before = program.entries();
  check_refused(program.notch("run tiny.toml --resume -q"), 6);
  CHECK(program.entries() == before);
}

TEST_CASE("a run that goes on keeps what it did not write") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q quant.bits=8,4").code == 0);
  program.shell(
      "cd run && mkdir -p seed-1337/ckpt/mine models/rtn-int4 && "
      "touch seed-1337/ckpt/mine/notes seed-1337/rows/notes.txt seed-1337/rows/mine.json "
      "seed-1337/rows/rtn-int4.txt seed-1337/ckpt/notes models/rtn-int4/notes");
  const auto before = program.entries();
  REQUIRE(program.notch("run tiny.toml --resume -q quant.bits=8,4").code == 0);
  CHECK(program.entries() == before);
  // Other settings make a row again, and that alone.
  const fs::path row = program / "run/seed-1337/rows/rtn-int4.json";
  const std::string was = read_file(row);
  REQUIRE(program.notch("run tiny.toml --resume -q quant.bits=8,4 quant.scale=f16").code == 0);
  CHECK(program.entries() == before);
  CHECK(read_file(row) != was);
}

TEST_CASE("the file that a resumed run lacks is named") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  program.shell("rm run/config.resolved.toml");
  const Outcome refused = program.notch("run tiny.toml --resume -q");
  check_refused(refused, 2);
  CHECK(refused.err.find("no config.resolved.toml") != std::string::npos);
}

TEST_CASE("a run that goes on removes nothing behind a link") {
  const Program program;
  REQUIRE(program.notch("run tiny.toml -q").code == 0);
  program.shell(
      "mkdir there && mv run/seed-1337/rows there && ln -s ../../there/rows run/seed-1337");
  REQUIRE(program.notch("run tiny.toml --resume -q").code == 0);
  const auto before = program.entries();
  check_refused(program.notch("run tiny.toml --resume -q quant.scale=f16"), 2);
  CHECK(program.entries() == before);
  CHECK(fs::exists(program / "there/rows/rtn-int8.json"));
}

TEST_CASE("a run goes on where its file lies, whatever that says") {
  const Program program;
  const Outcome first = program.notch("run tiny.toml -q");
  REQUIRE(first.code == 0);
  const std::string file = "there/config.resolved.toml";
  program.shell("mv run there");
  CHECK(read_file(program / file).find("\nout = \"\"\n") != std::string::npos);
  const std::string other = (program / "other").string();
  for (const std::string& out : {std::string(), other, std::string("../elsewhere")}) {
    CAPTURE(out);
    program.shell("sed -i 's|^out = .*|out = \"" + out + "\"|' " + file);
    const Outcome again = program.notch("run " + file + " -q");
    CAPTURE(again.err);
    CHECK(again.code == 0);
    CHECK(again.out == program.shell("notch run ./there/../" + file + " -q").out);
    program.shell("sed -i 's|^out = .*|out = \"" + out + "\"|' " + file);
    const Outcome more =
        program.notch("run " + file + " quant.bits=8,4 train.log_every=2 --resume -q -o json");
    CAPTURE(more.err);
    CHECK(more.code == 0);
    CHECK(fs::exists(program / "there/models/rtn-int4-seed1337"));
    program.shell("notch run " + file +
                  " quant.bits=8 --resume -q && rm -r there/models/rtn-int4*");
  }
  for (const char* place : {"run", "runs", "other", "elsewhere", "there/runs"}) {
    CAPTURE(place);
    CHECK_FALSE(fs::exists(program / place));
  }
  CHECK(program.notch("run " + file + " --out again -q").code == 0);
  CHECK(fs::exists(program / "again/results.csv"));
}

TEST_CASE("the command that resumes a stopped run is one for a shell") {
  const Program program;
  const Outcome stopped = program.shell(R"(mkdir "my runs"; cp tiny.toml "it's \$HOME.toml"
exec "$NOTCH" train "it's \$HOME.toml" train.steps=1000000 train.checkpoint_every=1 \
  'quant.layers=[{pattern="h.0.*", bits=8}]' --out "my runs/a;b" -q & pid=$!
until ls -d "my runs/a;b"/seed-1337/ckpt/fp32/step-*[0-9] >ls.log 2>&1; do
  kill -0 $pid 2>kill.log || break; done
kill -TERM $pid; wait $pid)");
  CAPTURE(stopped.err);
  REQUIRE(stopped.code == 143);
  const std::string before = "Resume with: ";
  const std::size_t at = stopped.err.find(before);
  REQUIRE(at != std::string::npos);
  const Outcome words = program.shell("notch() { printf '%s\\n' \"$@\"; }; " +
                                      stopped.err.substr(at + before.size()));
  CHECK(words.out == str("train\nit's $HOME.toml\ntrain.steps=1000000\ntrain.checkpoint_every=1\n"
                         "quant.layers=[{pattern=\"h.0.*\", bits=8}]\n--resume\n--out\n",
                         (program / "my runs/a;b").string(), "\n"));
}

TEST_CASE("a run without its curves says so, and so does its report") {
  const Program program;
  const std::string run =
      "run tiny.toml -q quant.methods=rtn,qat-ste qat.steps=3 quant.control=true seeds=1,2 ";
  REQUIRE(program.notch(run).code == 0);
  const std::string whole = read_file(program / "run/results.md");
  CHECK(whole.find("No curve") == std::string::npos);
  const Outcome kept = program.notch(run + "--resume");
  CHECK(kept.err.find("metrics.jsonl") == std::string::npos);
  SECTION("none is left") {
    program.shell("rm run/metrics.jsonl");
    const std::string all = "fp32, fp32-continue, qat-ste-int8";
    const Outcome resumed =
        program.shell("notch " + run.substr(0, 13) + run.substr(16) + "--resume");
    CAPTURE(resumed.err);
    CHECK(resumed.code == 0);
    CHECK(resumed.err.find("warning  " + (program / "run/metrics.jsonl").string() +
                           " has no line of " + all + ":") != std::string::npos);
    CHECK(read_file(program / "run/results.md").find("no line of it: " + all + ".\n") !=
          std::string::npos);
    CHECK(read_file(program / "run/report.html").find("no line of it: " + all) !=
          std::string::npos);
  }
  SECTION("those of a seed are left") {
    program.shell("grep -v seed-2/qat run/metrics.jsonl >cut; mv cut run/metrics.jsonl");
    REQUIRE(program.notch("report run -q").code == 0);
    CHECK(read_file(program / "run/results.md").find("no line of it: qat-ste-int8 of seed 2.\n") !=
          std::string::npos);
  }
}

TEST_CASE("a training whose earlier lines are lost says so") {
  const Program program;
  const std::string train =
      "train tiny.toml train.steps=1000000 train.checkpoint_every=5 train.log_every=1 --out run";
  // Stopped in its second step or later.
  const Outcome stopped =
      program.shell("exec \"$NOTCH\" " + train +
                    " & pid=$!; until [ -s run/metrics.jsonl ]; do "
                    "kill -0 $pid 2>/dev/null || break; done; kill -TERM $pid; wait $pid; code=$?; "
                    "rm run/metrics.jsonl; exit $code");
  CHECK(stopped.code == 143);
  CHECK(stopped.err.find("the state is saved. Resume with: notch train tiny.toml") !=
        std::string::npos);
  const Outcome resumed =
      program.shell("exec \"$NOTCH\" " + train +
                    " --resume & pid=$!; until [ -s run/metrics.jsonl ]; do "
                    "kill -0 $pid 2>/dev/null || break; done; kill -TERM $pid; wait $pid");
  CAPTURE(resumed.err);
  CHECK(resumed.err.find("run/metrics.jsonl has no line of seed-1337/fp32: its curve begins at") !=
        std::string::npos);
}

TEST_CASE("a stopped run says what there is to go on from") {
  const Program program;
  const std::string model = program.train();
  const Outcome stopped = program.shell(
      "exec \"$NOTCH\" run tiny.toml -q model.from=" + model +
      " train.steps=0 quant.bits=8,7,6,5,4,3,2 quant.methods=gptq,adaround --out r & pid=$!; "
      "until [ -e r/config.resolved.toml ]; do kill -0 $pid 2>/dev/null || break; done; "
      "kill -TERM $pid; wait $pid; code=$?; find r/seed-1337 -name '*.json' 2>/dev/null; exit "
      "$code");
  CAPTURE(stopped.out, stopped.err);
  CHECK(stopped.code == 143);
  const bool saved =
      stopped.err.find("the state is saved. Resume with: notch run") != stopped.err.npos;
  const bool began =
      stopped.err.find("before anything was made. Begin again with: notch run") != stopped.err.npos;
  CHECK(saved == !stopped.out.empty());
  CHECK(began == stopped.out.empty());
  CHECK(stopped.err.find("--resume --out") != stopped.err.npos);
}

}  // namespace resume_cli_test
