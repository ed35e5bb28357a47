// Directories with entropy-coded codes: the same integers, of exactly the predicted size, and
// refused with the tensor's name when damaged.
#include <algorithm>

#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"

namespace notch::quant {
namespace {

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

}  // namespace
}  // namespace notch::quant
