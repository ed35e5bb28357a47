// The tape that `notch graph` prints and draws.
#include <algorithm>

#include "tests/experiments/program.h"

namespace graph_cli_test {

using namespace notch;
using test::Outcome;
using test::Program;

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST_CASE("the tape is printed with gradient norms, and drawn") {
  const Program program;
  const std::string model = program.train();
  const Outcome whole = program.notch("graph " + model);
  const Outcome start = program.notch("graph tiny.toml");
  REQUIRE(whole.code == 0);
  REQUIRE(start.code == 0);
  CHECK(count(whole.out, "\n") == count(start.out, "\n"));
  for (const char* layer : {"wte", "h.0.attn.c_attn", "h.1.mlp.c_proj", "head_loss", "|grad|"}) {
    CAPTURE(layer);
    CHECK(whole.out.find(layer) != std::string::npos);
  }
  const Outcome block = program.notch("graph " + model + " --block 1 --dot b.dot");
  REQUIRE(block.code == 0);
  CHECK(block.out.find("h.0.") == std::string::npos);
  CHECK(block.out.find("h.1.attn.c_proj") != std::string::npos);
  const std::string dot = read_file(program / "b.dot");
  CHECK(dot.starts_with("digraph"));
  CHECK(count(dot, "[") >= count(block.out, "\n"));
  CHECK(program.notch("graph " + model + " --block 2").code == 2);
}

TEST_CASE("the tape of a rounding step shows the rounded weights") {
  const Program program;
  const std::string model = program.train();
  CHECK(program.notch("graph " + model).out.find("fake_quant") == std::string::npos);
  for (const std::string method : {"ste", "lsq"}) {
    for (const std::string& subject : {model, std::string("tiny.toml")}) {
      const Outcome tape =
          program.notch("graph " + subject + " --recipe qat-" + method + " --dot t.dot");
      CAPTURE(tape.err);
      REQUIRE(tape.code == 0);
      // Four matrices in each of two blocks, and the table.
      const std::string op = "fake_quant_" + method;
      CHECK(count(tape.out, " " + op + " ") + count(tape.out, op + "  ") >= 8);
      const std::string dot = read_file(program / "t.dot");
      fs::remove(program / "t.dot");
      CHECK(count(dot, "label=\"" + op) >= 8);
      // 16 inputs, 64 outputs of an MLP's first matrix.
      CHECK(dot.find("label=\"" + op + "\\nh.0.mlp.c_fc\\n[64, 16]\"") != std::string::npos);
      CHECK(count(dot, "{") == count(dot, "}"));
      CHECK(tape.err.find(subject == model ? "int4" : "int8") != std::string::npos);
    }
  }
  const Outcome kd = program.notch("graph " + model + " --recipe qat-lsq-kd");
  CHECK(kd.code == 0);
  CHECK(kd.out != program.notch("graph " + model + " --recipe qat-lsq").out);
  const Outcome seq = program.notch(
      "graph tiny.toml --recipe qat-lsq quant.bits=2 "
      "'quant.at=[{bits=2, grid=\"seq\", set=[\"qat.ste=plain\"]}]'");
  CHECK(seq.code == 0);
  CHECK(seq.err.find("seq") != std::string::npos);
  const Outcome group = program.notch("graph " + model + " --recipe qat-lsq quant.group_size=8");
  CHECK(group.err.find("group 8") != std::string::npos);
  CHECK(program.notch("graph " + model + " --recipe gptq").code == 2);
  CHECK(program.notch("graph " + model + " quant.bits=2").code == 2);
  CHECK(program.notch("graph " + model + " --recipe qat-lsq model.n_layer=1").code == 2);
}

}  // namespace graph_cli_test
