// GGUF on the command line: out, in, compared as llama.cpp compares, weighed by an importance matrix.
#include "quant/store/gguf_encode.h"
#include "tests/experiments/program.h"

namespace gguf_cli_test {

using namespace notch;
using namespace notch::test;

double value_of(const std::vector<Json>& rows, std::string_view quantity) {
  for (const Json& row : rows) {
    if (row.at("quantity", "row").as_string("row") == quantity)
      return row.at("value", "row").as_number("row");
  }
  FAIL("no row " << quantity);
  return 0;
}

TEST_CASE("a model goes to GGUF and comes back with the same codes") {
  const Program program;
  const std::string shape = " model.n_embd=32 model.architecture=llama model.n_kv_head=1";
  REQUIRE(program.notch("train tiny.toml -q --out m" + shape).code == 0);
  const std::string model = "m/models/fp32-seed1337";
  REQUIRE(program.notch("quantize " + model + " --method rtn -q --format q4_0 --out q").code == 0);
  REQUIRE(program.notch("export q --gguf q.gguf").code == 0);
  CHECK(program.notch("inspect q.gguf").out.find("Q4_0") != std::string::npos);
  for (const char* command :
       {"inspect q.gguf --memory", "inspect q.gguf --svd", "graph q.gguf -q"}) {
    const Outcome outcome = program.notch(command);
    INFO(command << ": " << outcome.err);
    CHECK(outcome.code == 0);
  }
  REQUIRE(program.shell("mkdir alone && cp q.gguf alone").code == 0);
  CHECK(program.notch("eval alone --text text.txt").err.find("give alone/q.gguf itself") !=
        std::string::npos);

  const std::string llama = " --protocol llama --ctx 8 --text text.txt -o json";
  const auto same = rows_of(program.notch("eval q.gguf --kl-base q" + llama));
  CHECK(value_of(same, "KL, mean") == 0);
  CHECK(value_of(same, "same top, %") == 100);
  CHECK(value_of(same, "PPL") == value_of(same, "PPL(base)"));
  const auto other = rows_of(program.notch("eval q.gguf --kl-base " + model + llama));
  CHECK(value_of(other, "KL, mean") > 0);
  CHECK(value_of(other, "PPL") == value_of(same, "PPL"));
  CHECK(program.notch("tokenize q.gguf --text text.txt").out ==
        program.notch("tokenize q --text text.txt").out);

  REQUIRE(program.notch("imatrix " + model + " --text text.txt --out i.gguf").code == 0);
  const std::string encode = "export " + model + " --gguf-type Q4_0 -q --gguf ";
  REQUIRE(program.notch(encode + "plain.gguf").code == 0);
  REQUIRE(program.notch(encode + "weighed.gguf --imatrix i.gguf").code == 0);
  CHECK(fs::file_size(program / "plain.gguf") == fs::file_size(program / "weighed.gguf"));
  CHECK(read_file(program / "plain.gguf") != read_file(program / "weighed.gguf"));
  const std::string weigh = "export " + model + " --imatrix i.gguf --gguf ";
  REQUIRE(program.notch(weigh + "uneven.gguf --gguf-type IQ4_NL -q").code == 0);
  CHECK(program.notch("inspect uneven.gguf").out.find("IQ4_NL") != std::string::npos);
  const Outcome ternary = program.notch(weigh + "ternary.gguf --gguf-type TQ2_0");
  CHECK(ternary.code == 2);
  CHECK(ternary.err.find("do not weigh columns") != std::string::npos);
}

TEST_CASE("the help of export lists the types of --gguf-type") {
  const std::string help = Program().notch("export --help").out;
  for (const std::string_view name : notch::quant::encoder_names()) {
    CAPTURE(name);
    CHECK(help.find(name) != std::string::npos);
  }
}

TEST_CASE("what GGUF does not hold is refused or rounded once more") {
  const Program program;
  REQUIRE(program.notch("train tiny.toml -q --out m model.n_embd=32").code == 0);
  const std::string quantize = "quantize m/models/fp32-seed1337 --method rtn -q ";
  REQUIRE(program.notch(quantize + "--bits 4 --group 32 --out q").code == 0);
  const Outcome refused = program.notch("export q --gguf q.gguf --gguf-type Q8_0");
  CHECK(refused.code == 2);
  CHECK(refused.err.find("no half") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "q.gguf"));
  const Outcome again = program.notch("export q --gguf q.gguf --gguf-type Q8_0 --requantize");
  CHECK(again.code == 0);
  CHECK(again.out.find("h.1.mlp.c_proj.weight") != std::string::npos);
  CHECK(again.err.find("once more") != std::string::npos);

  const std::string eval = "eval m/models/fp32-seed1337 --text text.txt ";
  for (const std::string& wrong :
       {quantize + "--format q4_0 --bits 4 --out r", quantize + "--format q4_9 --out r",
        eval + "--ctx 9", eval + "--kl-base q", eval + "--protocol llama --split val",
        eval + "--protocol llama --ctx 9", std::string("imatrix q --text text.txt"),
        std::string("imatrix q --out i.gguf")}) {
    CAPTURE(wrong);
    CHECK(program.notch(wrong).code == 2);
  }
  // A format says its groups: the hint names those that fit, not another size.
  for (const std::string& large :
       {quantize + "--format q4_k --out r",
        std::string("config tiny.toml model.n_embd=32 quant.format=q4_k")}) {
    CAPTURE(large);
    const Outcome outcome = program.notch(large);
    CHECK(outcome.code == 2);
    CHECK(outcome.err.find("hint: formats whose groups do: q4_0, q4_1, q5_0, q8_0\n") !=
          std::string::npos);
  }
  // Rows of 16 are no blocks of 32: the hint names types that take any row.
  REQUIRE(program.notch("train tiny.toml -q --out thin").code == 0);
  const std::string thin = "export thin/models/fp32-seed1337 -q --gguf thin.gguf --gguf-type ";
  for (const char* type : {"Q8_0", "IQ4_NL", "TQ2_0"}) {
    CAPTURE(type);
    const Outcome blocks = program.notch(thin + type);
    CHECK(blocks.code == 2);
    CHECK(blocks.err.find("found rows of 16 weights") != std::string::npos);
    CHECK(blocks.err.find("hint: --gguf-type F32, F16 or BF16,") != std::string::npos);
    CHECK_FALSE(fs::exists(program / "thin.gguf"));
  }
  CHECK(program.notch(thin + "BF16").code == 0);
  // Of a file alone nothing was measured.
  REQUIRE(program.notch("export m/models/fp32-seed1337 -q --gguf m.gguf").code == 0);
  const Outcome advice = program.notch("advise m.gguf --memory 1GiB");
  CHECK(advice.code == 3);
  CHECK(advice.err.find("a GGUF file, of which nothing was measured") != std::string::npos);
}

}  // namespace gguf_cli_test
