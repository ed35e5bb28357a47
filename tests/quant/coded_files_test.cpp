// Directories with entropy-coded codes: the same integers, of exactly the predicted size, and
// refused with the tensor's name when damaged.
#include <algorithm>
#include <functional>

#include "quant/store/entropy_coder.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/flipped_bits.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"

namespace notch::quant::coded_files_test {

using namespace notch::test;

TEST_CASE("an entropy-coded directory holds the same integers and its size") {
  const std::vector<Spec> specs = test::all_specs(4);
  constexpr std::size_t kMatrices = 10;
  for (std::size_t first = 0; first < specs.size(); first += kMatrices) {
    const auto model = make_gpt(config_of(true, true), first + 1);
    const std::span<const Spec> used(specs.data() + first,
                                     std::min(kMatrices, specs.size() - first));
    const Quantized q = rounded(*model, spread(*model, used));
    const TemporaryDirectory dir;
    save_quantized(*model, q, dir.path(), Json::object(), Coding::entropy);
    const LoadedModel back = load_any(dir.path());
    CHECK(back.coding == Coding::entropy);
    for (const NamedQTensor& t : q.tensors) {
      INFO(t.name << " " << name_of(t.q.spec));
      const auto at = std::ranges::find(back.tensors, t.name, &NamedQTensor::name);
      REQUIRE(at != back.tensors.end());
      CHECK(at->q == t.q);
    }
    CHECK(same_bits(logits(*back.model), logits(*model)));
    const SizeReport size = predict_size(*model, q, 32, Coding::entropy);
    CHECK(size.bytes() == tensor_bytes(dir.path()));
    CHECK(size.file_bytes() ==
          static_cast<std::int64_t>(fs::file_size(dir.path() / nn::kWeightsFile)));
    CHECK(size.code_bytes + size.table_bytes == size.coded_bytes);
    const SizeReport packed = predict_size(*model, q);
    CHECK(packed.coded_bytes == size.coded_bytes);
    CHECK(packed.table_bytes == 0);
    CHECK(packed.coded_bits_per_weight() == Approx(size.bits_per_weight()));
    CHECK(size.coded_bits_per_weight() == Approx(size.bits_per_weight()));
  }
}

TEST_CASE("codes that have a stream are not encoded for their size") {
  const auto model = make_gpt(tiny_config());
  const Quantized q = rounded(*model, {.weights = {.bits = 4}});
  const TemporaryDirectory dir;
  save_quantized(*model, q, dir.path(), Json::object(), Coding::entropy);
  CodedStreams streams = load_any(dir.path()).streams;
  REQUIRE(streams.size() == q.tensors.size());
  const auto bytes = [&] {
    return predict_size(*model, q, 32, Coding::entropy, Entropy::measured, streams).bytes();
  };
  const std::int64_t whole = tensor_bytes(dir.path());
  CHECK(bytes() == whole);
  streams.begin()->second.resize(streams.begin()->second.size() + 3);  // no encoder's
  CHECK(bytes() == whole + 3);
}

TEST_CASE("another coding or a damaged coded tensor is refused by name") {
  const auto model = make_gpt(tiny_config());
  const Quantized q = rounded(*model, {.weights = {.bits = 4}});
  const TemporaryDirectory dir;
  save_quantized(*model, q, dir.path(), Json::object(), Coding::entropy);
  SECTION("coding") {
    Json config = config_json(dir.path());
    Json quantization = *config.find("quantization_config");
    quantization.set("coding", "huffman");
    config.set("quantization_config", quantization);
    write_file(dir.path() / nn::kConfigFile, config.dump());
    const ErrorParts parts = error_of([&] { load_any(dir.path()); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.field == "quantization_config.coding");
  }
  SECTION("packed codes are looked for without the word") {
    Json config = config_json(dir.path());
    Json quantization = Json::object();
    for (const auto& [key, value] : config.find("quantization_config")->as_object("")) {
      if (key != "coding") quantization.set(key, value);
    }
    config.set("quantization_config", quantization);
    write_file(dir.path() / nn::kConfigFile, config.dump());
    const ErrorParts parts = error_of([&] { load_any(dir.path()); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.field.find(".codes") != std::string::npos);
  }
  SECTION("a byte of a stream") {
    const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir.path() / nn::kWeightsFile);
    const nn::TensorEntry* entry = file.find("h.0.mlp.c_fc.weight.coded");
    REQUIRE(entry);
    std::string bytes = read_file(dir.path() / nn::kWeightsFile);
    char& changed = bytes[static_cast<std::size_t>(entry->offset + entry->bytes / 2)];
    changed = static_cast<char>(changed ^ 0x10);
    write_file(dir.path() / nn::kWeightsFile, bytes);
    const ErrorParts parts = error_of([&] { load_any(dir.path()); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.where.find("h.0.mlp.c_fc.weight") != std::string::npos);
  }
}

TEST_CASE("a flipped bit of any byte of a packed or coded model is noticed") {
  for (const Coding coding : {Coding::packed, Coding::entropy}) {
    const auto model =
        make_gpt({.vocab_size = 11, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 8});
    const Quantized q = rounded(*model, {.weights = {.bits = 4}});
    const TemporaryDirectory dir;
    save_quantized(*model, q, dir.path(), Json::object(), coding);
    check_flips_noticed(dir.path());
  }
}

TEST_CASE("a flipped bit of any byte of a GPTQ checkpoint is noticed") {
  const auto model =
      make_gpt({.vocab_size = 8, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 8});
  const Quantized q = rounded(*model, {.weights = {.bits = 4, .scale = ScaleType::f16}});
  const TemporaryDirectory dir;
  save_gptq(*model, q, dir.path(), GptqZeros::v1);
  check_flips_noticed(dir.path());
}

TEST_CASE("streams of one symbol may not ask for more than models need") {
  // A matrix of zeros in every place: a few bytes each, for any number of codes.
  const auto write = [](const fs::path& dir, std::int64_t C) {
    const nn::GptConfig config{
        .vocab_size = 3, .block_size = 1, .n_layer = 1, .n_head = 1, .n_embd = C};
    const nn::Gpt shapes(config, nn::Gpt::Values::shapes_only);
    const Spec spec{.bits = 2, .granularity = Granularity::tensor};
    const std::vector<std::int8_t> zeros(100, 0);
    const std::vector<std::uint8_t> stream = encode_codes(zeros, grid_of(spec));
    const float scale = 0.5f;
    const std::vector<std::byte> none(static_cast<std::size_t>(16 * C));
    std::vector<nn::TensorSource> sources;
    Json specs = Json::object();
    for (const nn::FileTensor& t : shapes.file_tensors()) {
      const bool matrix = t.shape.rank() == 2 && t.name != "wpe.weight";
      if (!matrix) {
        sources.push_back(
            nn::raw_tensor(t.name, nn::DType::f16, nn::file_shape(t.shape),
                           std::span(none).first(static_cast<std::size_t>(2 * t.shape.size()))));
        continue;
      }
      specs.set(t.name, to_json(spec));
      sources.push_back(nn::raw_tensor(t.name + ".coded", nn::DType::u8, {std::ssize(stream)},
                                       std::as_bytes(std::span(stream))));
      sources.push_back(nn::raw_tensor(t.name + ".scale", nn::DType::f32, {1},
                                       std::as_bytes(std::span(&scale, 1))));
    }
    nn::write_safetensors(dir / nn::kWeightsFile, std::move(sources));
    Json config_file = nn::config_json(config);
    Json quantization = Json::object();
    quantization.set("quant_method", "notch")
        .set("version", 1)
        .set("bits", 2)
        .set("coding", "rans");
    config_file.set("quantization_config", quantization.set("tensors", specs));
    write_file(dir / nn::kConfigFile, config_file.dump());
  };
  const TemporaryDirectory dir;
  write(dir.path(), 32);
  CHECK_NOTHROW(load_any(dir.path()));
  write(dir.path(), 4096);  // 201 million codes in a file of 130 kB
  for (const auto& load : std::vector<std::function<void()>>{[&] { load_any(dir.path()); },
                                                             [&] { load_runnable(dir.path()); }}) {
    const ErrorParts parts = error_of(load);
    CHECK(parts.fault == Fault::input);
    CHECK(parts.field == "coded");
    CHECK(parts.where == dir.path() / nn::kWeightsFile);
  }
}

}  // namespace notch::quant::coded_files_test
