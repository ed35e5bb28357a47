// notch export to other programs' files, and back.
#include "autograd/base/sha256.h"
#include "tests/experiments/program.h"

namespace export_cli_test {

using namespace notch;
using test::Outcome;
using test::Program;

TEST_CASE("a model goes to GPTQ checkpoints and back") {
  const Program program;
  const auto notch = [&](const std::string& arguments) {
    const Outcome outcome = program.notch(arguments);
    CAPTURE(arguments, outcome.err);
    CHECK(outcome.code == 0);
    return outcome.out;
  };
  const auto refused = [&](const std::string& arguments, int code, const char* part) {
    const Outcome outcome = program.notch(arguments);
    CAPTURE(arguments, outcome.err);
    CHECK(outcome.code == code);
    CHECK(outcome.err.find(part) != std::string::npos);
  };
  notch("train tiny.toml --out run");
  const std::string model = "run/models/fp32-seed1337";
  notch("quantize " + model + " --method rtn --bits 4 --scale f16 --embedding fp32 --out int4");
  for (const char* format : {"gptq", "gptq_v2"}) {
    const std::string name = format;
    notch("export int4 --format " + name + " --out " + name);
    CHECK(notch("sample " + name + " -p the -n 20 --temperature 0") ==
          notch("sample int4 -p the -n 20 --temperature 0"));
    const std::string table = notch("inspect " + name);
    CHECK(table.find("int4 narrow [-7,7] channel f16") != std::string::npos);
    CHECK(table.find("qweight") == std::string::npos);
    CHECK(table.find(str(fs::file_size(program / name / "model.safetensors"), " bytes")) !=
          std::string::npos);
    notch("export " + name + " --format packed --out back-" + name);
    CHECK(sha256_file(program / ("back-" + name) / "model.safetensors") ==
          sha256_file(program / "int4/model.safetensors"));
  }
  refused("export " + model + " --format gptq --out x", 3, "not quantized");
  notch("quantize " + model + " --method rtn --bits 4 --out tables");
  refused("export tables --format gptq --out x", 3, "--embedding fp32");
  CHECK_FALSE(fs::exists(program / "x"));
  refused("quantize gptq --method rtn --bits 8 --out x", 3, "already quantized");
  refused("run text.txt model.from=gptq --out x", 3, "quantized already");
}

TEST_CASE("a model goes to ONNX files") {
  const Program program;
  REQUIRE(program.notch("train tiny.toml --out run").code == 0);
  const std::string model = "run/models/fp32-seed1337";
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 4 --out int4").code == 0);
  for (const std::string& from : {model, std::string("int4")}) {
    const std::string file = from == model ? "fp32.onnx" : "int4.onnx";
    CHECK(program.notch("export " + from + " --onnx " + file).code == 0);
    CHECK(read_file(program / file).starts_with("\x08\x0a\x12\x05notch"));
    CHECK(program.notch("export " + from + " --onnx " + file).code == 2);  // exists
  }
  CHECK(program.notch("export int4 --onnx cache.onnx --onnx-cache").code == 0);
  CHECK(read_file(program / "cache.onnx").find("past_key_values.1.value") != std::string::npos);
  CHECK(program.notch("export int4 --onnx-cache --out x").code == 2);
  CHECK(program.notch("export int4 --onnx a.onnx --gguf a.gguf").code == 2);
  CHECK(program.notch("export int4 --onnx a.onnx --format f32 --out x").code == 2);
  // A file whose folder is not named.
  CHECK(program.notch("eval int4 --text text.txt --dump-logits logits.safetensors").code == 0);
}

}  // namespace export_cli_test
