// Quantized model directories: exact both ways in every format, of exactly the predicted size, and
// refused with the tensor's name for every way in which a file can lie.
#include "quant/store/model_files.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/base/half.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace model_files_test {

using namespace notch;
using namespace notch::quant;
using notch::test::config_json;
using notch::test::config_of;
using notch::test::error_of;
using notch::test::logits;
using notch::test::make_gpt;
using notch::test::put_file;
using notch::test::rounded;
using notch::test::same_bits;
using notch::test::spread;
using notch::test::TemporaryDirectory;
using notch::test::tensor_bytes;
using notch::test::Text;
using notch::test::tiny_config;
using notch::test::values_of;

TEST_CASE("specs and logits come back from a directory bit for bit") {
  const std::vector<Spec> specs = test::all_specs(4);
  constexpr std::size_t kMatrices = 10;
  int variant = 0;
  for (std::size_t first = 0; first < specs.size(); first += kMatrices, ++variant) {
    const auto model = make_gpt(config_of(variant % 2 == 0, variant / 2 % 2 == 0), first + 1);
    const std::span<const Spec> used(specs.data() + first,
                                     std::min(kMatrices, specs.size() - first));
    const Quantized q = rounded(*model, spread(*model, used));
    REQUIRE(q.tensors.size() == used.size());
    const TemporaryDirectory dir;
    save_quantized(*model, q, dir.path());

    const LoadedModel back = load_any(dir.path());
    CHECK(back.model->config_json().dump() == model->config_json().dump());
    REQUIRE(back.tensors.size() == q.tensors.size());
    for (const NamedQTensor& t : q.tensors) {
      INFO(t.name << " " << name_of(t.q.spec));
      const auto at = std::ranges::find(back.tensors, t.name, &NamedQTensor::name);
      REQUIRE(at != back.tensors.end());
      CHECK(at->q == t.q);
    }
    CHECK(same_bits(values_of(back.model->params()), values_of(model->params())));
    CHECK(same_bits(logits(*back.model), logits(*model)));

    const SizeReport size = predict_size(*model, q);
    CHECK(size.bytes() == tensor_bytes(dir.path()));
    std::int64_t stored = 0;
    for (const NamedQTensor& t : q.tensors) {
      stored += storage_bytes(t.q.spec, t.q.rows, t.q.cols).total();
    }
    CHECK(size.bytes() - size.float_bytes == stored);
    CHECK(size.weights == model->params().count());
    CHECK(size.file_bytes() ==
          static_cast<std::int64_t>(fs::file_size(dir.path() / nn::kWeightsFile)));
  }
}

TEST_CASE("sizes by hand: two 4-bit matrices of a model, the rest fp32") {
  // 1 layer, 12 channels. c_fc [48, 12]: 48 rows of 6 bytes, 48 f16 scales. mlp.c_proj [12, 48] in
  // groups of 16, asymmetric: 12 rows of 24 bytes, 36 f32 scales, zero points in 12 rows of 2
  // bytes.
  nn::GptConfig config = tiny_config();
  config.n_layer = 1;
  const auto model = make_gpt(config);
  const Spec groups{
      .bits = 4, .grid = GridKind::asymmetric, .granularity = Granularity::group, .group_size = 16};
  const Plan plan{.rules = {{"*", {}},
                            {"h.0.mlp.c_fc", Spec{.bits = 4, .scale = ScaleType::f16}},
                            {"h.0.mlp.c_proj", groups}}};
  const Quantized q = rounded(*model, plan);
  const SizeReport size = predict_size(*model, q);
  CHECK(size.code_bytes == 48 * 6 + 12 * 24);
  CHECK(size.scale_bytes == 48 * 2 + 36 * 4);
  CHECK(size.zero_point_bytes == 12 * 2);
  CHECK(size.quantized == 2 * 48 * 12);
  const std::int64_t rest = model->params().count() - size.quantized;
  CHECK(size.float_bytes == 4 * rest);
  CHECK(predict_size(*model, q, 16).float_bytes == 2 * rest);
  CHECK(size.bits_per_weight() == Approx(8.0 * static_cast<double>(size.bytes()) /
                                         static_cast<double>(model->params().count())));
  CHECK(size.code_entropy > 2);
  CHECK(size.code_entropy < 4);
}

TEST_CASE("a model without biases pays for the zeros that its file holds") {
  const auto model = make_gpt(config_of(true, false));
  const Quantized q = rounded(*model, {.weights = {.bits = 8}});
  const SizeReport size = predict_size(*model, q);
  // Per block 2 norms and 4 Linears of 12, 12, 36, 12, 48 and 12 biases, and the last norm.
  CHECK(size.float_bytes == 4 * (model->params().count() - size.quantized + 2 * 132 + 12));
  CHECK(size.weights == model->params().count());
}

TEST_CASE("the directory says what it is") {
  const TemporaryDirectory dir;
  const auto model = make_gpt();
  const Spec spec{.bits = 3, .granularity = Granularity::group, .group_size = 6};
  const Quantized q = rounded(*model, {.weights = spec, .table = Spec{.bits = 8}});
  save_quantized(*model, q, dir.path(), Json::object().set("method", "gptq"));
  const Json quantization = config_json(dir.path()).at("quantization_config", "t");
  CHECK(quantization.at("quant_method", "t").as_string("t") == "notch");
  CHECK(quantization.at("version", "t").as_int("t") == 1);
  CHECK(quantization.at("bits", "t").as_int("t") == 3);
  CHECK(quantization.at("method", "t").as_string("t") == "gptq");
  CHECK(quantization.at("tensors", "t").as_object("t").size() == 9);
  const LoadedModel back = load_any(dir.path());
  CHECK(back.quantization_config.dump() == quantization.dump());

  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  const auto shape = [&](std::string_view name) { return file.find(name)->shape; };
  CHECK(shape("h.0.attn.c_attn.weight.codes") == nn::FileShape{36, 5});  // 12 · 3 bits
  CHECK(shape("h.0.attn.c_attn.weight.scale") == nn::FileShape{36, 2});
  CHECK(shape("wte.weight.codes") == nn::FileShape{11, 12});
  CHECK(file.find("h.0.attn.c_attn.weight") == nullptr);
  CHECK(shape("h.0.attn.c_attn.bias") == nn::FileShape{36});
  // A reader of floating-point models must not take it for one.
  CHECK(error_of([&] { nn::load_model(dir.path()); }).field == "quantization_config");
}

TEST_CASE("a floating-point directory loads as one, rounded to its bits") {
  const auto model = make_gpt();
  for (const nn::DType dtype : {nn::DType::f32, nn::DType::f16}) {
    const TemporaryDirectory dir;
    nn::save_model(*model, dir.path(), Json::object(), dtype);
    const LoadedModel back = load_any(dir.path());
    CHECK(back.tensors.empty());
    CHECK(back.quantization_config.is_null());
    std::vector<real> expected = values_of(model->params());
    if (dtype == nn::DType::f16) {
      for (real& v : expected) v = from_f16(to_f16(v));
    }
    CHECK(same_bits(values_of(back.model->params()), expected));
    const std::int64_t bytes = tensor_bytes(dir.path());
    CHECK(bytes == model->params().count() * (dtype == nn::DType::f16 ? 2 : 4));
    CHECK(predict_size(*model, {}, dtype == nn::DType::f16 ? 16 : 32).bytes() == bytes);
  }
}

// ---- files that lie ----

struct Raw {
  nn::DType dtype = nn::DType::u8;
  nn::FileShape shape{};
  std::vector<std::byte> bytes{};
};
using RawTensors = std::map<std::string, Raw>;

const std::string kMatrix = "h.0.attn.c_attn.weight";

/// A saved model with narrow 4-bit f16 matrices and an asymmetric 4-bit table, to be spoiled.
class Spoiled {
 public:
  Spoiled() {
    const auto model = make_gpt();
    const Plan plan{.weights = {.bits = 4, .scale = ScaleType::f16},
                    .table = Spec{.bits = 4, .grid = GridKind::asymmetric},
                    .rules = {{"h.1.*", {}}}};
    save_quantized(*model, rounded(*model, plan), dir_.path());
    const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir_ / nn::kWeightsFile);
    for (const nn::TensorEntry& e : file.entries()) {
      Raw& raw = tensors[e.name] = {e.dtype, e.shape, std::vector<std::byte>(e.bytes)};
      file.read_bytes(e, raw.bytes);
    }
    config = config_json(dir_.path());
    quantization = config.at("quantization_config", "t");
    specs = quantization.at("tensors", "t");
  }

  RawTensors tensors{};
  Json config{}, quantization{}, specs{};

  /// Writes the directory as it stands now and returns the error of loading it.
  ErrorParts error() {
    write();
    const ErrorParts e = error_of([&] { load_any(dir_.path()); });
    CHECK(e.fault == Fault::input);
    return e;
  }
  void write() {
    quantization.set("tensors", specs);
    config.set("quantization_config", quantization);
    put_file(dir_ / nn::kConfigFile, config.dump());
    std::vector<nn::TensorSource> sources;
    for (const auto& [name, t] : tensors) {
      sources.push_back(nn::raw_tensor(name, t.dtype, t.shape, t.bytes));
    }
    nn::write_safetensors(dir_ / nn::kWeightsFile, std::move(sources));
  }
  const TemporaryDirectory& dir() const { return dir_; }

 private:
  TemporaryDirectory dir_{};
};

/// The error names `tensor`, in its field or in where it happened.
void check_names(const ErrorParts& e, const std::string& tensor) {
  INFO("where " << e.where << ", field " << e.field << ", what " << e.what);
  CHECK((e.field.find(tensor) != std::string::npos || e.where.find(tensor) != std::string::npos));
}

TEST_CASE("what the spoiling starts from loads") {
  Spoiled files;
  files.write();
  CHECK(load_any(files.dir().path()).tensors.size() == 5);
}

TEST_CASE("missing, extra, wrongly typed or shaped tensors are named") {
  for (const std::string part : {".codes", ".scale"}) {
    Spoiled files;
    files.tensors.erase(kMatrix + part);
    check_names(files.error(), kMatrix + part);
  }
  Spoiled no_zero, extra, zero_of_symmetric, type, scale_type, shape;
  no_zero.tensors.erase("wte.weight.zero");
  check_names(no_zero.error(), "wte.weight.zero");
  extra.tensors["mystery"] = {nn::DType::u8, {1}, {std::byte{0}}};
  check_names(extra.error(), "mystery");
  zero_of_symmetric.tensors[kMatrix + ".zero"] = {nn::DType::u8, {1}, {std::byte{0}}};
  check_names(zero_of_symmetric.error(), kMatrix + ".zero");
  type.tensors[kMatrix + ".codes"].dtype = nn::DType::i8;
  check_names(type.error(), kMatrix + ".codes");
  scale_type.tensors[kMatrix + ".scale"].dtype = nn::DType::bf16;
  const ErrorParts e = scale_type.error();
  check_names(e, kMatrix + ".scale");
  CHECK(e.found == "BF16");
  CHECK(e.expected == "F16");
  shape.tensors[kMatrix + ".scale"].shape = {1, 36};
  check_names(shape.error(), kMatrix + ".scale");
}

TEST_CASE("a floating-point twin of a quantized tensor is refused") {
  Spoiled both, head;
  both.tensors[kMatrix] = {nn::DType::f32, {12, 36}, std::vector<std::byte>(4 * 12 * 36)};
  check_names(both.error(), kMatrix);
  // Not even as the head of a tied table, of which files in floating point may have a copy.
  head.tensors["lm_head.weight"] = {nn::DType::f32, {11, 12}, std::vector<std::byte>(4 * 11 * 12)};
  check_names(head.error(), "lm_head.weight");
}

TEST_CASE("a floating-point copy of a tied table must equal it") {
  Spoiled files;
  const auto model = make_gpt();
  const TemporaryDirectory dir;
  nn::save_model(*model, dir.path());
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  Raw table{nn::DType::f32, {11, 12}, std::vector<std::byte>(4 * 11 * 12)};
  file.read_bytes(*file.find("wte.weight"), table.bytes);
  Json rest = Json::object();
  for (const auto& [name, spec] : files.specs.as_object("t")) {
    if (name != "wte.weight") rest.set(name, spec);
  }
  files.specs = rest;
  for (const char* part : {".codes", ".scale", ".zero"}) {
    files.tensors.erase(std::string("wte.weight") + part);
  }
  files.tensors["wte.weight"] = files.tensors["lm_head.weight"] = table;
  files.write();
  CHECK(load_any(files.dir().path()).tensors.size() == 4);
  files.tensors["lm_head.weight"].bytes[5] ^= std::byte{1};
  check_names(files.error(), "lm_head.weight");
}

TEST_CASE("codes off the grid, padding bits and bad scales are refused") {
  Spoiled code, scale_zero, scale_nan, scale_negative, scale_infinite, padding;
  // Codes are stored as q + 7: 15 would be 8 on [-7, 7].
  code.tensors[kMatrix + ".codes"].bytes[8] = std::byte{0xf0};
  const ErrorParts e = code.error();
  check_names(e, kMatrix);
  CHECK(e.field.find("row 1") != std::string::npos);
  const auto with_scale = [&](Spoiled& files, std::uint16_t bits) {
    auto& bytes = files.tensors[kMatrix + ".scale"].bytes;
    bytes[4] = static_cast<std::byte>(bits & 0xff);
    bytes[5] = static_cast<std::byte>(bits >> 8);
    const ErrorParts parts = files.error();
    check_names(parts, kMatrix);
    CHECK(parts.field == "scale 2");
  };
  with_scale(scale_zero, 0);
  with_scale(scale_nan, 0x7e00);
  with_scale(scale_negative, 0xbc00);
  with_scale(scale_infinite, 0x7c00);
  padding.tensors["wte.weight.zero"].bytes[3] |= std::byte{0xf0};  // one 4-bit zero point a row
  check_names(padding.error(), "wte.weight");
}

TEST_CASE("what quantization_config says must hold for the model") {
  Spoiled unknown, vector, group, bits, method, version, empty, text, key;
  const Json spec = unknown.specs.at(kMatrix, "t");
  unknown.specs.set("h.9.attn.c_attn.weight", spec);
  check_names(unknown.error(), "h.9.attn.c_attn.weight");
  vector.specs.set("ln_f.weight", spec);
  CHECK(vector.error().field == "quantization_config.tensors.ln_f.weight");
  const Spec five{.bits = 4, .granularity = Granularity::group, .group_size = 5};
  group.specs.set(kMatrix, to_json(five));
  CHECK(group.error().expected == "a divisor of 12");
  bits.specs.set(kMatrix, Json(spec).set("bits", 9));
  check_names(bits.error(), kMatrix);
  key.specs.set(kMatrix, Json(spec).set("order", "reversed"));
  check_names(key.error(), kMatrix);
  method.quantization.set("quant_method", "awq");
  CHECK(method.error().field == "quantization_config.quant_method");
  version.quantization.set("version", 2);
  CHECK(version.error().field == "quantization_config.version");
  empty.specs = Json::object();
  CHECK(empty.error().field == "quantization_config.tensors");
  text.quantization = Json::object();
  text.quantization.set("quant_method", 7);
  CHECK(text.error().where.find("config.json") != std::string::npos);
}

TEST_CASE("a file that is cut off anywhere is refused") {
  Spoiled files;
  files.write();
  const fs::path path = files.dir() / nn::kWeightsFile;
  const std::string bytes = read_file(path);
  for (std::size_t keep = 0; keep < bytes.size(); keep += 97) {
    put_file(path, bytes.substr(0, keep));
    CHECK(error_of([&] { load_any(files.dir().path()); }).fault == Fault::input);
  }
  put_file(path, bytes.substr(0, bytes.size() - 1));
  CHECK(error_of([&] { load_any(files.dir().path()); }).fault == Fault::input);
}

TEST_CASE("saving refuses missing integers and another model's") {
  const TemporaryDirectory dir;
  const auto model = make_gpt();
  Quantized q = rounded(*model, {.weights = {.bits = 4}});
  CHECK(error_of([&] { save_quantized(*model, {}, dir.path()); }).fault == Fault::usage);
  q.tensors[3].name = "h.7.attn.c_attn.weight";
  CHECK(error_of([&] { save_quantized(*model, q, dir.path()); }).fault == Fault::usage);
  CHECK(fs::is_empty(dir.path()));
}

}  // namespace model_files_test
