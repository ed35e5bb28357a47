// Codes in ONNX graphs: bytes by hand, and which operator has which matrix.
#include "quant/store/onnx_codes.h"

#include <cstring>

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/onnx_reader.h"
#include "tests/quant/quantized_models.h"

namespace onnx_codes_test {

using namespace notch;
using namespace notch::quant;
using test::error_of;
using test::OnnxFile;
using test::OnnxTensor;
using test::TemporaryDirectory;

using Shape64 = std::vector<std::int64_t>;

Param matrix(std::int64_t rows, std::int64_t cols) {
  return {.name = "w", .value = Tensor{nullptr, {rows, cols}}};
}

/// One product, of one matrix.
OnnxFile product_of(const NamedQTensor& t) {
  const TemporaryDirectory dir;
  const std::vector<NamedQTensor> tensors{t};
  OnnxCodes codes(tensors);
  nn::OnnxGraph g;
  g.input("x", nn::OnnxType::f32, {std::string("n"), t.q.cols});
  codes.product(g, matrix(t.q.rows, t.q.cols), "x");
  g.write(dir / "m.onnx", "g");
  return OnnxFile(dir / "m.onnx");
}

QTensor asymmetric(int bits) {
  QTensor q{.spec = {.bits = bits,
                     .grid = GridKind::asymmetric,
                     .granularity = Granularity::group,
                     .group_size = 16},
            .rows = 2,
            .cols = 48};
  q.codes.assign(96, 0);
  q.codes[0] = -8;
  q.codes[1] = 7;
  q.codes[17] = 3;
  q.codes[95] = -1;
  q.at.scales = {1, 2, 3, 4, 5, 6};
  q.at.zero_points = {-8, -7, 0, 1, 2, 7};
  return q;
}

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int v : values) out += static_cast<char>(v);
  return out;
}

TEST_CASE("groups are MatMulNBits, whose bytes are derived by hand") {
  const OnnxFile four = product_of({.name = "w", .q = asymmetric(4)});
  REQUIRE(four.nodes.size() == 1);
  CHECK(four.nodes[0].op == "MatMulNBits");
  CHECK(four.nodes[0].inputs == std::vector<std::string>{"x", "w.codes", "w.scale", "w.zero"});
  const OnnxTensor& codes = four.tensor("w.codes");
  CHECK(codes.shape == Shape64{2, 3, 8});
  CHECK(codes.type == 2);
  // u = q + 8: 0 is 8 in both halves of a byte; -8 and 7 make 0xf0; column 17 is the high half of
  // the second block's first byte, 95 that of the last.
  std::string expected(48, '\x88');
  expected[0] = static_cast<char>(0xf0);
  expected[8] = static_cast<char>(0xb8);
  expected[47] = static_cast<char>(0x78);
  CHECK(codes.bytes == expected);
  // Three blocks a row: two to a byte, and one.
  CHECK(four.tensor("w.zero").bytes == bytes({0x10, 0x08, 0xa9, 0x0f}));
  CHECK(four.tensor("w.scale").shape == Shape64{6});

  const OnnxFile eight = product_of({.name = "w", .q = asymmetric(8)});
  CHECK(eight.tensor("w.codes").shape == Shape64{2, 3, 16});
  CHECK(eight.tensor("w.codes").bytes.substr(0, 3) == bytes({120, 135, 128}));
  CHECK(eight.tensor("w.zero").bytes == bytes({120, 121, 128, 129, 130, 135}));
}

TEST_CASE("blocks of a row or tensor repeat its scale and zero point") {
  QTensor q{.spec = {.bits = 4, .grid = GridKind::asymmetric}, .rows = 2, .cols = 48};
  q.codes.assign(96, 0);
  q.at = {.scales = {1, 2}, .zero_points = {-8, 7}};
  const OnnxFile rows = product_of({.name = "w", .q = q});
  CHECK(rows.tensor("w.codes").shape == Shape64{2, 3, 8});  // 16 is the power of 2 in 48
  const std::vector<float> scales{1, 1, 1, 2, 2, 2};
  CHECK(std::memcmp(rows.tensor("w.scale").bytes.data(), scales.data(), 24) == 0);
  CHECK(rows.tensor("w.zero").bytes == bytes({0x00, 0x00, 0xff, 0x0f}));
  q.spec.granularity = Granularity::tensor;
  q.at = {.scales = {3}, .zero_points = {1}};
  CHECK(product_of({.name = "w", .q = q}).tensor("w.zero").bytes ==
        bytes({0x99, 0x09, 0x99, 0x09}));
  // 40 = 8 · 5: no block.
  q.cols = 40;
  q.codes.resize(80);
  CHECK(product_of({.name = "w", .q = q}).count("DequantizeLinear") == 1);
}

TEST_CASE("codes times codes are DequantizeLinear of transposed ones") {
  QTensor q{.spec = {.bits = 8}, .rows = 2, .cols = 3, .codes = {1, 2, 3, -4, -5, -6}};
  q.at.scales = {0.5, 0.25};
  NamedQTensor t{.name = "w", .q = q, .change = {.multiply = {1, 2, 4}}};
  t.input = InputQuantizer{.spec = {.range = ActivationRange::fixed}, .at = {.scale = 0.125}};
  const OnnxFile file = product_of(t);
  std::vector<std::string> ops;
  for (const auto& n : file.nodes) ops.push_back(n.op);
  CHECK(ops == std::vector<std::string>{"Mul", "Clip", "QuantizeLinear", "DequantizeLinear",
                                        "DequantizeLinear", "MatMul"});
  CHECK(file.tensor("w.codes").shape == Shape64{3, 2});
  CHECK(file.tensor("w.codes").type == 3);
  CHECK(file.tensor("w.codes").bytes == bytes({1, -4, 2, -5, 3, -6}));
  CHECK(file.tensor("w.scale").shape == Shape64{2});
  float low = 0;  // -127 · 0.125: where ours saturates
  std::memcpy(&low, file.tensor(file.nodes[1].inputs[1]).bytes.data(), sizeof low);
  CHECK(low == -15.875f);
}

TEST_CASE("a model's graph has its codes once, the tied table's too") {
  for (const bool tied : {true, false}) {
    auto config = test::config_of(tied, true);
    config.n_embd = 32;
    const auto model = test::make_gpt(config);
    Plan plan{.weights = {.bits = 4, .granularity = Granularity::group, .group_size = 16}};
    plan.table = Spec{.bits = 8};
    const Quantized q = test::rounded(*model, plan);
    const TemporaryDirectory dir;
    OnnxCodes codes(q.tensors);
    nn::onnx_graph(*model, codes, false).write(dir / "m.onnx", "g");
    const OnnxFile file(dir / "m.onnx");
    CHECK(file.count("MatMulNBits") == 2 * 4 + (tied ? 0 : 1));
    CHECK(file.count("MatMul") == 2 * 2 + (tied ? 1 : 0));
    const OnnxTensor& table = file.tensor("wte.weight.codes");
    const auto at = std::ranges::find(q.tensors, "wte.weight", &NamedQTensor::name);
    REQUIRE(at != q.tensors.end());
    CHECK(std::memcmp(table.bytes.data(), at->q.codes.data(), table.bytes.size()) == 0);
    CHECK(table.bytes.size() == at->q.codes.size());
  }
}

TEST_CASE("what ONNX has no operator for is refused with the tensor") {
  const auto refused = [](const Spec& spec, std::optional<InputQuantizer> input = {}) {
    const std::vector<NamedQTensor> tensors{
        {.name = "w", .q = {.spec = spec, .rows = 1, .cols = 48}, .input = input}};
    const ErrorParts e = error_of([&] { OnnxCodes codes(tensors); });
    CHECK(e.fault == Fault::input);
    CHECK(e.field == "w");
    return e.expected;
  };
  CHECK(refused({.bits = 4, .grid = GridKind::nf4}).find("whole numbers") != std::string::npos);
  for (const std::int64_t group : {8, 24}) {
    CHECK(refused({.bits = 4, .granularity = Granularity::group, .group_size = group}).find("32") !=
          std::string::npos);
  }
  CHECK(refused({.bits = 8}, InputQuantizer{}).find("static") != std::string::npos);
}

}  // namespace onnx_codes_test
