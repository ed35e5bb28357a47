// Blocks by hand: a block whose codes can be read off, and the properties of llama.cpp's encoders
// (ggml-quants.c, quantize_row_*_ref) written out a second time in double.
#include "quant/store/gguf_blocks.h"

#include <cmath>

#include "autograd/base/half.h"
#include "autograd/base/rng.h"
#include "quant/store/gguf_model.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"

namespace {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

const nn::GgufType& type(std::string_view name) { return *nn::gguf_type(name); }

}  // namespace

TEST_CASE("blocks hold what their layout says") {
  // d = 0.5 is 0x3800 as a half, m = -2 is 0xc000.
  std::vector<std::byte> q4 = bytes({0x00, 0x38});
  for (int j = 0; j < 16; ++j) q4.push_back(static_cast<std::byte>(j | (15 - j) << 4));
  std::vector<real> out(32);
  decode_blocks(type("Q4_0"), q4, out);
  for (int j = 0; j < 16; ++j) {
    CHECK(out[static_cast<std::size_t>(j)] == static_cast<real>(0.5 * (j - 8)));
    CHECK(out[static_cast<std::size_t>(j + 16)] == static_cast<real>(0.5 * (7 - j)));
  }
  std::vector<std::byte> q5 = bytes({0x00, 0x38, 0x00, 0xc0, 0x05, 0x00, 0x00, 0x80});
  q5.resize(24, std::byte{0});  // fifth bits of elements 0, 2 and 31
  decode_blocks(type("Q5_1"), q5, out);
  for (std::size_t j = 0; j < 32; ++j) CHECK(out[j] == (j == 0 || j == 2 || j == 31 ? 6 : -2));
  std::vector<std::byte> q8 = bytes({0x00, 0x38});
  for (int j = 0; j < 32; ++j) q8.push_back(static_cast<std::byte>(j - 16));
  decode_blocks(type("Q8_0"), q8, out);
  for (int j = 0; j < 32; ++j)
    CHECK(out[static_cast<std::size_t>(j)] == static_cast<real>(0.5 * (j - 16)));
}

TEST_CASE("Q6_K's four runs lie where llama.cpp looks for them") {
  // From the description: in half n, for l = 0 … 31, element l is ql[l] & 15 | (qh[l] & 3) << 4,
  // l + 32 from ql[l + 32] and bits 2..3, l + 64 from ql[l] >> 4 and bits 4..5, l + 96 likewise.
  Rng rng(3, 1);
  std::vector<std::byte> block(210);
  for (auto& b : block) b = static_cast<std::byte>(rng.below(256));
  block[208] = std::byte{0x00}, block[209] = std::byte{0x38};
  std::vector<real> out(256);
  decode_blocks(type("Q6_K"), block, out);
  const auto u = [&](std::size_t i) { return std::to_integer<int>(block[i]); };
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t l = 0; l < 32; ++l) {
      const std::size_t ql = 64 * n, qh = 128 + 32 * n;
      const int q[4] = {(u(ql + l) & 15) | (u(qh + l) & 3) << 4,
                        (u(ql + l + 32) & 15) | (u(qh + l) >> 2 & 3) << 4,
                        u(ql + l) >> 4 | (u(qh + l) >> 4 & 3) << 4,
                        u(ql + l + 32) >> 4 | (u(qh + l) >> 6 & 3) << 4};
      for (std::size_t run = 0; run < 4; ++run) {
        const auto scale = static_cast<std::int8_t>(u(192 + 8 * n + l / 16 + 2 * run));
        const std::size_t at = 128 * n + 32 * run + l;
        CHECK(out[at] == static_cast<real>(0.5f * static_cast<float>(scale) *
                                           static_cast<float>(q[run] - 32)));
      }
    }
  }
}

TEST_CASE("encoders choose llama.cpp's scales and codes") {
  Rng rng(5, 2);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<real> x(32);
    for (real& v : x) v = static_cast<real>(rng.normal());
    if (trial == 0) std::ranges::fill(x, real{0});
    for (const auto& [name, bits, with_minimum] : {std::tuple{"Q4_0", 4, false},
                                                   {"Q5_0", 5, false},
                                                   {"Q4_1", 4, true},
                                                   {"Q5_1", 5, true},
                                                   {"Q8_0", 8, false}}) {
      CAPTURE(name, trial);
      std::vector<std::byte> block;
      encode_blocks(type(name), x, block);
      REQUIRE(std::ssize(block) == type(name).bytes);
      std::vector<real> back(32);
      decode_blocks(type(name), block, back);
      // A code is the nearest one, so the error is half a step; the clamped end of the signed ranges
      // loses up to a whole one, and d is rounded to a half.
      float largest = 0;
      for (const real v : x) largest = std::max(largest, std::abs(static_cast<float>(v)));
      const auto [low, high] = std::ranges::minmax(x);
      const double step = with_minimum ? (double{high} - double{low}) / ((1 << bits) - 1)
                          : bits == 8  ? largest / 127.0
                                       : largest / (1 << (bits - 1));
      for (std::size_t j = 0; j < 32; ++j) {
        const double bound =
            step * (with_minimum || bits == 8 ? 0.5 : 1.0) + 2e-3 * (largest + 1e-9);
        CHECK(std::abs(double{back[j]} - double{x[j]}) <= bound);
      }
      // The value of largest magnitude is the end that has a code: exact up to d's rounding.
      if (!with_minimum && bits < 8) {
        const auto extreme = std::ranges::max_element(x, {}, [](real v) { return std::abs(v); });
        CHECK(double{back[static_cast<std::size_t>(extreme - x.begin())]} ==
              Approx(double{*extreme}).epsilon(1e-3).margin(1e-9));
      }
    }
  }
}

TEST_CASE("trained codes and scales stand in the blocks bit for bit") {
  Rng rng(7, 3);
  const auto matrix = [&](const Spec& spec) {
    std::vector<real> w(4 * 256);
    for (real& v : w) v = static_cast<real>(rng.normal());
    Ranges ranges = choose_scales(w, 4, 256, spec, RangeRule::mse, "w");
    return quantize(w, 4, 256, spec, std::move(ranges.at), "w");
  };
  const auto group = [](int bits, GridKind grid) {
    return Spec{.bits = bits,
                .grid = grid,
                .granularity = Granularity::group,
                .group_size = 32,
                .scale = ScaleType::f16};
  };
  const auto row = [](int bits, GridKind grid) {
    return Spec{.bits = bits, .grid = grid, .scale = ScaleType::f16};
  };
  for (const auto& [spec, name] :
       std::vector<std::pair<Spec, const char*>>{{group(4, GridKind::narrow), "Q4_0"},
                                                 {group(4, GridKind::full), "Q4_0"},
                                                 {group(4, GridKind::signed_max), "Q4_0"},
                                                 {group(3, GridKind::full), "Q4_0"},
                                                 {group(2, GridKind::seq), "Q4_0"},
                                                 {group(2, GridKind::ternary), "Q4_0"},
                                                 {group(5, GridKind::full), "Q5_0"},
                                                 {group(4, GridKind::seq), "Q5_0"},
                                                 {group(6, GridKind::full), "Q8_0"},
                                                 {group(8, GridKind::narrow), "Q8_0"},
                                                 {row(6, GridKind::narrow), "Q6_K"},
                                                 {row(8, GridKind::full), "Q8_0"},
                                                 {row(4, GridKind::narrow), "Q4_0"}}) {
    const QTensor q = matrix(spec);
    INFO(name_of(spec));
    const nn::GgufType& t = exact_type(q, "w");
    CHECK(t.name == name);
    std::vector<std::byte> blocks;
    for (std::int64_t r = 0; r < 4; ++r) exact_blocks(t, q, r, blocks);
    std::vector<real> back(4 * 256);
    decode_blocks(t, blocks, back);
    CHECK(back == dequantize(q));
  }
}

TEST_CASE("what no block holds exactly is refused, with what would do") {
  const auto refused = [](const Spec& spec, std::int64_t cols) {
    std::vector<real> w(static_cast<std::size_t>(2 * cols), static_cast<real>(0.3));
    Ranges ranges = choose_scales(w, 2, cols, spec, RangeRule::absmax, "w");
    const QTensor q = quantize(w, 2, cols, spec, std::move(ranges.at), "w");
    const ErrorParts e = error_of([&] { exact_type(q, "w"); });
    return e.fault == Fault::usage && !e.hint.empty();
  };
  CHECK(refused({.bits = 4, .scale = ScaleType::f32}, 32));
  CHECK(refused({.bits = 4, .grid = GridKind::asymmetric, .scale = ScaleType::f16}, 32));
  CHECK(refused({.bits = 4, .grid = GridKind::nf4, .scale = ScaleType::f16}, 32));
  CHECK(refused({.bits = 4, .scale = ScaleType::f16}, 48));
  CHECK(refused(
      {.bits = 4, .granularity = Granularity::group, .group_size = 16, .scale = ScaleType::f16},
      64));
}

TEST_CASE("a model that comes back from GGUF is the one that went") {
  for (const bool tied : {true, false}) {
    for (const bool bias : {true, false}) {
      nn::GptConfig config = test::config_of(tied, bias);
      config.n_embd = 32, config.gelu = Gelu::tanh;
      const auto model = test::make_gpt(config);
      GgufVocabulary vocabulary{.merges = {"a b"}, .specials = {3}};
      for (int i = 0; i < 11; ++i)
        vocabulary.tokens.push_back(std::string(1, static_cast<char>('a' + i)));
      const test::TemporaryDirectory dir;
      save_gguf(*model, {}, vocabulary, type("F32"), "tiny", dir / "m.gguf");
      const GgufModel back = load_gguf(dir / "m.gguf");
      CHECK(test::same_bits(test::logits(*back.model), test::logits(*model)));
      CHECK(back.model->head_is_tied() == tied);
      CHECK(back.vocabulary.tokens == vocabulary.tokens);
      CHECK(back.vocabulary.merges == vocabulary.merges);
      CHECK(back.vocabulary.specials == vocabulary.specials);

      const Spec four{
          .bits = 4, .granularity = Granularity::group, .group_size = 32, .scale = ScaleType::f16};
      const Spec eight{.bits = 8, .scale = ScaleType::f16};
      const Quantized q = test::rounded(*model, {.weights = four, .table = eight});
      save_gguf(*model, q.tensors, vocabulary, type("F16"), "tiny", dir / "q.gguf");
      const GgufModel codes = load_gguf(dir / "q.gguf");
      CHECK(test::same_bits(test::logits(*codes.model), test::logits(*model)));
    }
  }
}
