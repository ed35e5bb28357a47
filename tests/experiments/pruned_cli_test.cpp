// Pruned and narrowed models on the command line.
#include <cmath>

#include "tests/experiments/program.h"

namespace notch::pruned_cli_test {

using test::check_refused;
using test::first_row;
using test::Outcome;
using test::Program;
using test::rows_of;
using test::value;

TEST_CASE("quantize prunes and honours zeros, export keeps them") {
  const Program program;
  const Outcome run = program.notch(
      "run tiny.toml -q 'row=[{method=\"fp16\", label=\"half\", "
      "set=[\"prune.method=magnitude\"]}]'");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string pruned = "run/models/half-fp16-seed1337";
  const Outcome zeros = program.notch("quantize " + pruned + " --method rtn --bits 4 --out q4");
  INFO(zeros.err);
  REQUIRE(zeros.code == 0);
  CHECK(zeros.err.find("stays zero") != std::string::npos);
  CHECK(zeros.out.find("masks") != std::string::npos);
  REQUIRE(program.notch("export q4 --format coded --out coded -q").code == 0);
  const auto loss = [&](const std::string& dir) {
    return value(first_row(program.notch("eval " + dir + " --text text.txt -o json")), "loss");
  };
  CHECK(loss("coded") == loss("q4"));

  const std::string joint =
      "quantize run/models/fp32-seed1337 --method gptq --bits 4 "
      "prune.method=sparsegpt prune.pattern=2:4 --out joint";
  check_refused(program.notch(joint), 2);  // no text
  const Outcome made = program.notch(joint + " --text text.txt");
  INFO(made.err);
  REQUIRE(made.code == 0);
  double masks = 0;
  for (const Json& row : rows_of(program.notch("inspect joint -o json")))
    masks += row.at("name", "row").as_string("row").ends_with(".mask");
  CHECK(masks == 8);  // four Linears of two blocks
  check_refused(program.notch("quantize run/models/fp32-seed1337 --method rtn --bits 2 --grid seq "
                              "prune.method=magnitude --out none -q"),
                2);
}

TEST_CASE("narrow writes a smaller model that runs") {
  const Program program;
  const std::string model = program.train();
  const std::string narrow = "narrow " + model + " --text text.txt --out small ";
  const std::vector<Json> blocks = rows_of(program.notch(narrow + "--inner 32 -o json"));
  REQUIRE(blocks.size() == 2);
  for (const Json& block : blocks) {
    CHECK(value(block, "kept_pct") >= 50);  // the larger half of 64 channels
    CHECK(value(block, "kept_pct") <= 100);
  }
  CHECK(first_row(program.notch("eval small --text text.txt -o json")).find("loss"));
  CHECK(fs::file_size(program / "small/model.safetensors") <
        fs::file_size(program / (model + "/model.safetensors")));
  const Outcome quantized = program.notch("quantize small --method rtn --bits 4 --out q4 -q");
  INFO(quantized.err);
  CHECK(quantized.code == 0);
  check_refused(program.notch("narrow q4 --inner 8 --text text.txt --out x"), 3);
  check_refused(program.notch("narrow " + model + " --text text.txt --out x"), 2);
  check_refused(program.notch("narrow " + model + " --inner 65 --text text.txt --out x"), 2);
  check_refused(program.notch("narrow " + model + " --inner 8 --out x"), 2);
  check_refused(program.notch(narrow + "--inner 8"), 2);

  const std::vector<Json> all = rows_of(program.notch(
      "narrow " + model + " --text text.txt --layers 1 --inner 48 --out shallow -o json"));
  REQUIRE(all.size() == 2);  // the block that stays, then the one that goes
  CHECK(value(all[0], "kept_pct") > 75);
  CHECK(std::isfinite(value(all[1], "loss_rise")));
  CHECK(value(all[0], "block") + value(all[1], "block") == 1);
  const double was = value(first_row(program.notch("eval " + model + " --text text.txt -o json")), "loss");
  CHECK(value(first_row(program.notch("eval shallow --text text.txt -o json")), "loss") !=
        was);
  CHECK(program.notch("export shallow --gguf shallow.gguf -q").code == 0);
  CHECK(program.notch("quantize shallow --method rtn --bits 8 --out q8 -q").code == 0);
  check_refused(program.notch("narrow " + model + " --layers 3 --text text.txt --out x"), 2);
  CHECK_FALSE(fs::exists(program / "x"));
}

TEST_CASE("narrow takes out heads and makes factors") {
  const Program program;
  const std::string model = program.train();
  const std::string narrow = "narrow " + model + " --text text.txt --out ";
  const auto runs = [&](const std::string& dir) {
    return first_row(program.notch("eval " + dir + " --text text.txt -o json")).find("loss") !=
           nullptr;
  };
  const std::vector<Json> heads = rows_of(program.notch(narrow + "single --heads 1 -o json"));
  REQUIRE(heads.size() == 2);
  for (const Json& block : heads) {
    CHECK(value(block, "heads_kept_pct") > 0);
    CHECK(value(block, "heads_kept_pct") < 100);
    CHECK(value(block, "kept_pct") == Approx(100));
  }
  CHECK(runs("single"));
  CHECK(program.notch("quantize single --method rtn --bits 4 --out single4 -q").code == 0);
  CHECK(runs("single4"));
  // GPT-2 has no key for heads of other than n_embd / n_head channels.
  const Outcome gguf = program.notch("export single --gguf single.gguf");
  check_refused(gguf, 3);
  CHECK(gguf.err.find("notch.head_dim") != std::string::npos);

  const Outcome factored = program.notch(narrow + "thin --svd 'bytes 60%'");
  INFO(factored.err);
  REQUIRE(factored.code == 0);
  CHECK(factored.out.find("h.1.mlp.c_proj") != std::string::npos);
  CHECK(fs::file_size(program / "thin/model.safetensors") <
        fs::file_size(program / (model + "/model.safetensors")));
  CHECK(runs("thin"));
  CHECK(program.notch("quantize thin --method gptq --bits 8 --text text.txt --out thin8 -q").code ==
        0);
  CHECK(runs("thin8"));
  CHECK(program.notch("sample thin8 -p the -n 4").code == 0);
  check_refused(program.notch("export thin --onnx thin.onnx"), 3);
  check_refused(program.notch("export thin --gguf thin.gguf"), 3);
  check_refused(program.notch("narrow thin --inner 8 --text text.txt --out x"), 3);
  for (const char* wrong : {"--heads 3", "--heads 0", "--svd 0%", "--svd 'bytes 1%'", "--svd 100%"}) {
    INFO(wrong);
    check_refused(program.notch(narrow + "x " + wrong), 2);
  }
  CHECK_FALSE(fs::exists(program / "x"));
}

}  // namespace notch::pruned_cli_test
