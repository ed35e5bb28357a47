// Pipelines on the command line: refused before anything is trained, and resumed after a kill.
#include "tests/experiments/program.h"

namespace notch::pipeline_cli_test {

using test::check_refused;
using test::Outcome;
using test::Program;

TEST_CASE("a pipeline that cannot be is refused before training") {
  const Program program;
  const auto entries = program.entries();
  const Outcome order = program.notch("run tiny.toml 'row=[{pipeline=[\"gptq 4\", \"train\"]}]'");
  check_refused(order, 2);
  CHECK(order.err.find("qat-lsq 4") != std::string::npos);
  // What only the model of then can tell: blocks that are named and gone.
  const Outcome blocks = program.notch(
      "run tiny.toml 'row=[{pipeline=[\"prune layers 1\", \"rtn 4\"]}]' "
      "'quant.layers=[{pattern=\"h.1.*\", bits=8}]'");
  check_refused(blocks, 2);
  CHECK(blocks.err.find("h.1.*") != std::string::npos);
  CHECK(program.entries() == entries);
}

TEST_CASE("a pipeline that is killed resumes to the same hash") {
  const Program program;
  const std::string run =
      "run tiny.toml 'row=[{pipeline=[\"prune 2:4 magnitude\", \"train\", \"gptq 4\", \"qat-lsq "
      "4\"], "
      "label=\"x\"}]' qat.steps=300 train.checkpoint_every=20 -q ";
  const auto hash = [](const Outcome& outcome) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    const std::size_t at = outcome.out.find("hash ");
    REQUIRE(at != std::string::npos);
    return outcome.out.substr(at, outcome.out.find('\n', at) - at);
  };
  const std::string undisturbed = hash(program.notch(run + "--out whole"));
  for (const std::string stage : {"2", "4"}) {
    INFO(stage);
    const std::string out = "--out killed" + stage;
    program.shell("exec \"$NOTCH\" " + run + out + " & pid=$!; until ls -d killed" + stage +
                  "/seed-1337/ckpt/x-int4-stage" + stage +
                  "/step-*[0-9] >ls.log 2>&1; do kill -0 $pid 2>kill.log || break; done; "
                  "kill -9 $pid; wait $pid");
    CHECK(hash(program.notch(run + out + " --resume")) == undisturbed);
  }
  CHECK(hash(program.notch(run + "--out threads --threads 1")) == undisturbed);
}

}  // namespace notch::pipeline_cli_test
