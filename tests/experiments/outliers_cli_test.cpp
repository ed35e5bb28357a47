// SpQR, FP8 activations and singular values on the command line.
#include "tests/experiments/program.h"

namespace outliers_cli_test {

using namespace notch;
using test::check_refused;
using test::Outcome;
using test::Program;
using test::rows_of;

double of(const Json& row, const char* key) { return row.at(key, "t").as_number("t"); }

/// Bytes of all lines of `notch inspect`, and how many of them end so.
struct Inspected {
  double bytes = 0;
  int ends = 0;
};
Inspected inspected(const Program& program, const std::string& model, std::string_view end) {
  const Outcome shown = program.notch("inspect " + model + " -q -o json");
  REQUIRE(shown.code == 0);
  Inspected all;
  for (const Json& row : rows_of(shown)) {
    all.bytes += of(row, "bytes");
    all.ends += row.at("name", "t").as_string("t").ends_with(end);
  }
  return all;
}

double data_bytes(const Program& program, const std::string& model) {
  const std::string file = read_file(program / (model + "/model.safetensors"));
  std::uint64_t header = 0;
  for (int b = 7; b >= 0; --b)
    header = header << 8 | static_cast<unsigned char>(file[std::size_t(b)]);
  return double(file.size() - 8 - header);
}

TEST_CASE("SpQR is inspected byte for byte, and runs") {
  const Program program;
  const std::string model = program.train();
  const std::string quantize = "quantize " + model + " --bits 3 --text text.txt ";
  const Outcome made =
      program.notch(quantize +
                    "--method spqr --group 4 --grid asymmetric --scale bilevel --out small "
                    "spqr.threshold=0.05");
  CAPTURE(made.err);
  REQUIRE(made.code == 0);
  const Inspected lines = inspected(program, "small", ".side_values");
  CHECK(lines.bytes == data_bytes(program, "small"));
  CHECK(lines.ends > 0);
  CHECK(program.notch("eval small --base " + model + " --text text.txt").code == 0);
  CHECK(program.notch("sample small -p quick -n 8").code == 0);
  CHECK(program.notch("verify small").code == 0);
  // No outlier, no sparse product.
  REQUIRE(program.notch(quantize + "--method spqr --group 4 --out none spqr.threshold=1e9").code ==
          0);
  CHECK(inspected(program, "none", ".side_values").ends == 0);
  check_refused(program.notch(quantize + "--method spqr --per-tensor --out x"), 2);
  check_refused(program.notch(quantize + "--method spqr --out x spqr.threshold=0"), 2);
  check_refused(program.notch(quantize + "--method spqr --group 4 --scale nested --out x"), 2);
  check_refused(program.notch("export small --format gptq --out x"), 3);
}

TEST_CASE("FP8 activations go with any grid, at 8 bits") {
  const Program program;
  const std::string quantize = "quantize " + program.train() + " --method rtn -q ";
  const Outcome made = program.notch(
      quantize + "--bits 8 --grid e4m3 --activations 8 --out fp8 activations.grid=e4m3");
  CAPTURE(made.err);
  REQUIRE(made.code == 0);
  CHECK(read_file(program / "fp8/config.json").find("\"grid\": \"e4m3\"") != std::string::npos);
  CHECK(program.notch("eval fp8 --text text.txt").code == 0);
  CHECK(program.notch("sample fp8 -p quick -n 8").code == 0);
  check_refused(program.notch(quantize + "--bits 8 --activations 4 --out x activations.grid=e4m3"),
                2);
  check_refused(program.notch(quantize + "--bits 8 --activations 8 --activation-range static "
                                         "--text text.txt --out x activations.grid=e4m3"),
                2);
  // A row of an experiment, trained through it.
  const Outcome run = program.notch(
      "run tiny.toml quant.methods=rtn,qat-ste quant.grid=e4m3 activations.bits=8 "
      "activations.grid=e4m3 qat.steps=2 --out trained -q");
  CAPTURE(run.err);
  CHECK(run.code == 0);
}

TEST_CASE("singular values of every matrix are shown") {
  const Program program;
  const std::string model = program.train();
  const Outcome shown = program.notch("inspect " + model + " --svd -q -o json");
  CAPTURE(shown.err);
  REQUIRE(shown.code == 0);
  const std::vector<Json> rows = rows_of(shown);
  CHECK(rows.size() == 8);  // four in each of two blocks; the head is the token table
  for (const Json& row : rows) {
    CHECK(of(row, "largest") > of(row, "least"));
    CHECK(of(row, "rank_90") <= of(row, "rank_99"));
    CHECK(of(row, "rank_99") <= 16);  // the channels of the model
    CHECK(of(row, "elbow") >= 1);
  }
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 4 -a 8 --out four").code == 0);
  CHECK(program.notch("inspect four --svd").code == 0);
  check_refused(program.notch("inspect " + model + " --svd --memory"), 2);
}

}  // namespace outliers_cli_test
