// Presets promise a block type; the types are checked against llama.cpp's layouts in gguf_blocks_test.
#include "quant/numbers/presets.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "autograd/base/half.h"
#include "quant/serve/served_lanes.h"
#include "quant/serve/served_panels.h"
#include "quant/store/gguf_blocks.h"
#include "quant/store/gguf_exact.h"
#include "quant/store/pack.h"
#include "quant/train/qat.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace presets_test {

using namespace notch;
using namespace notch::quant;

/// The type's name, having checked that its blocks give the tensor's weights back.
std::string held_by(const QTensor& q) {
  const nn::GgufType& type = exact_type(q, "w");
  std::vector<std::byte> blocks;
  for (std::int64_t r = 0; r < q.rows; ++r) exact_blocks(type, q, r, blocks);
  std::vector<real> back(q.codes.size());
  decode_blocks(type, blocks, back);
  CHECK(back == dequantize(q));
  CHECK(unpack(pack(q), "w") == q);
  // And so does memory, in which inputs rounded or not meet it.
  std::vector<float> row(static_cast<std::size_t>(q.cols));
  const std::vector<real> values = dequantize(q);
  const ServedPanels panels(q);
  const ServedLanes lanes(q);
  int wrong = 0;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    const auto expected =
        std::span(values).subspan(static_cast<std::size_t>(r * q.cols), row.size());
    panels.dequantize_row(row, r);
    wrong += !std::ranges::equal(row, expected);
    lanes.dequantize_row(row, r);
    wrong += !std::ranges::equal(row, expected);
  }
  CHECK(wrong == 0);
  std::string name(type.name);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

TEST_CASE("the block type of a format holds it, whatever the method") {
  nn::MlpConfig config{.vocab_size = 11, .channels = 256, .hidden = 256};
  for (const Preset& p : presets()) {
    INFO(p.name);
    const auto model = test::make_mlp(config);
    const std::vector<Target> targets = resolve({.weights = p.spec}, *model);
    const std::vector<std::int32_t> ids{1, 4, 9, 2, 7, 3, 3, 8};
    const std::vector<nn::Tokens> text{{ids, 2, 4}};
    for (const char* method : {"rtn", "rtn-mse", "gptq", "hqq"}) {
      const auto copy = test::make_mlp(config);
      const Quantized q = post_training(*copy, quant::method(method),
                                        resolve({.weights = p.spec}, *copy), text, {});
      for (const NamedQTensor& t : q.tensors) CHECK(held_by(t.q) == p.name);
    }
    for (const Training training : {Training::ste, Training::lsq}) {
      FakeQuantizer quantizer(*model, training, targets, {});
      if (training == Training::lsq) {
        Rng rng(3, 3);  // steps that no range gives
        for (Param& l : quantizer.params().params())
          for (real& v : l.value.flat()) v = static_cast<real>(0.2 * rng.normal());
      }
      for (const NamedQTensor& t : quantizer.convert().tensors) CHECK(held_by(t.q) == p.name);
    }
  }
  CHECK(find_preset("q4_0")->spec.group_size == 32);
  CHECK(find_preset("none") == nullptr);
}

TEST_CASE("scales of seven bits leave room for a zero point of four") {
  const auto rounded = [](real s) { return round_scale(s, ScaleType::f16_7); };
  CHECK(rounded(real(0.1)) == real(0.099609375));  // 102.4 / 1024 to 102
  CHECK(rounded(1 + real(0x1p-7)) == 1);           // half way between 64 and 65 of 64: to even
  CHECK(rounded(1 + real(0x3p-7)) == 1 + real(0x1p-5));
  CHECK(rounded(-real(0.1)) == -real(0.099609375));
  CHECK(rounded(5000) == 4352);  // 68 · 64, the largest seven bits that are a half times 15
  CHECK(scale_bytes(ScaleType::f16_7) == 2);
  CHECK(rounded(real(1e-30)) == real(0x1p-24));
  Rng rng(4, 4);
  for (int i = 0; i < 2000; ++i) {
    const auto s = static_cast<float>(rounded(static_cast<real>(std::exp(8 * rng.normal()))));
    for (int z = 0; z < 16; ++z) {
      const float product = s * static_cast<float>(z);
      CHECK(from_f16(to_f16(product)) == product);
    }
  }
}

}  // namespace presets_test
