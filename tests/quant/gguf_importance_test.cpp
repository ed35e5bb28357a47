// Sums of squares by hand from the layers' inputs, and the file as llama.cpp lays it out.
#include "quant/store/gguf_importance.h"

#include <cmath>

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace gguf_importance_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

TEST_CASE("importance is the sum of squares of what a matrix multiplies") {
  const auto model = test::make_llama();
  const std::vector<std::int32_t> ids{1, 4, 9, 2, 7};
  ImportanceMatrix matrix{.text = "t", .chunks = 2, .chunk_tokens = 5};
  add_importance(*model, {ids, 1, 5}, matrix);
  CHECK(matrix.of.size() == 2 * 7);  // the head is not among them
  // The first block's projections read RMSNorm(embedding): x / √(mean x² + ε) · gain.
  const auto table = model->params().find("model.embed_tokens.weight")->value;
  const auto gain = model->params().find("model.layers.0.input_layernorm.weight")->value.flat();
  std::vector<double> sums(16);
  for (const std::int32_t id : ids) {
    const auto row = table.flat().subspan(static_cast<std::size_t>(id) * 16, 16);
    double squares = 0;
    for (const real x : row) squares += double{x} * double{x};
    const double scale = 1 / std::sqrt(squares / 16 + model->config().rms_norm_eps);
    for (std::size_t c = 0; c < 16; ++c)
      sums[c] += std::pow(double{row[c]} * scale * double{gain[c]}, 2);
  }
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    const InputSquares& of = matrix.of.at(name);
    CHECK(of.tokens == 5);
    REQUIRE(of.sums.size() == 16);
    for (std::size_t c = 0; c < 16; ++c) CHECK(of.sums[c] == Approx(sums[c]).epsilon(1e-5));
  }
  CHECK(matrix.of.at("blk.1.ffn_down.weight").sums.size() == 20);
  const double before = matrix.of.at("blk.1.ffn_down.weight").sums[3];
  add_importance(*model, {ids, 1, 5}, matrix);
  CHECK(matrix.of.at("blk.1.ffn_down.weight").sums[3] == 2 * before);
  CHECK(matrix.of.at("blk.1.ffn_down.weight").tokens == 10);

  const test::TemporaryDirectory dir;
  save_importance(matrix, dir / "m.gguf");
  const nn::GgufFile file = nn::GgufFile::open(dir / "m.gguf");
  CHECK(std::get<std::string>(*file.find("general.type")) == "imatrix");
  CHECK(std::get<std::vector<std::string>>(*file.find("imatrix.datasets")) ==
        std::vector<std::string>{"t"});
  CHECK(std::get<std::uint32_t>(*file.find("imatrix.chunk_count")) == 2);
  CHECK(std::get<std::uint32_t>(*file.find("imatrix.chunk_size")) == 5);
  CHECK(file.tensor("blk.1.ffn_down.weight.in_sum2")->extents == std::vector<std::int64_t>{20, 1});
  CHECK(file.tensor("blk.1.ffn_down.weight.counts")->extents == std::vector<std::int64_t>{1, 1});
  const auto loaded = load_importance(dir / "m.gguf");
  CHECK(loaded.size() == matrix.of.size());
  for (std::size_t c = 0; c < 20; ++c) {
    CHECK(loaded.at("blk.1.ffn_down.weight")[c] ==
          static_cast<float>(matrix.of.at("blk.1.ffn_down.weight").sums[c]) / 10);
  }
}

TEST_CASE("an importance matrix that is none is refused by what is wrong") {
  const test::TemporaryDirectory dir;
  const nn::GgufType& f32 = *nn::gguf_type("F32");
  const auto one = [&](float value) {
    return [value](std::int64_t, std::int64_t, std::vector<std::byte>& out) {
      const auto bytes = std::as_bytes(std::span(&value, 1));
      out.insert(out.end(), bytes.begin(), bytes.end());
    };
  };
  const auto field = [&](const char* type, const char* counts, float sum) {
    const std::vector<nn::GgufEntry> entries{{"general.type", std::string(type)}};
    const std::vector<nn::GgufSource> sources{{"w.in_sum2", &f32, 1, 1, false, one(sum)},
                                              {counts, &f32, 1, 1, false, one(4)}};
    nn::write_gguf(dir / "m.gguf", entries, sources);
    try {
      load_importance(dir / "m.gguf");
    } catch (const Error& e) {
      CHECK(e.parts().fault == Fault::input);
      return e.parts().field;
    }
    return std::string("loads");
  };
  CHECK(field("imatrix", "w.counts", 1) == "loads");
  CHECK(field("model", "w.counts", 1) == "general.type");
  CHECK(field("imatrix", "v.counts", 1) == "w.counts");
  CHECK(field("imatrix", "w.counts", -1) == "w.in_sum2");
  CHECK(field("imatrix", "w.counts", std::nanf("")) == "w.in_sum2");
  // An input that is not finite names its layer.
  const auto model = test::make_llama();
  model->params().find("model.layers.0.input_layernorm.weight")->value.flat()[0] = std::nanf("");
  ImportanceMatrix matrix;
  const std::vector<std::int32_t> ids{1};
  const ErrorParts e = error_of([&] { add_importance(*model, {ids, 1, 1}, matrix); });
  CHECK(e.fault == Fault::numeric);
  CHECK(e.where == "model.layers.0.self_attn.q_proj");
}

}  // namespace gguf_importance_test
