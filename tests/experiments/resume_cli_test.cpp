// Runs that go on: where they lie now, and by the command that is printed.
#include "tests/experiments/program.h"

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
