// Blocks by hand: a block whose codes can be read off, and what a quantized matrix is written as.
#include "quant/store/gguf_blocks.h"

#include <cmath>
#include <map>

#include "autograd/base/half.h"
#include "autograd/base/rng.h"
#include "quant/numbers/ranges.h"
#include "quant/store/gguf_exact.h"
#include "quant/store/gguf_superblocks.h"
#include "tests/catch.h"

namespace gguf_blocks_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

const nn::GgufType& type(std::string_view name) { return *nn::gguf_type(name); }

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

/// A block of zeros with these bytes set, decoded.
std::vector<real> decoded(std::string_view name, std::vector<std::pair<std::size_t, int>> set) {
  std::vector<std::byte> block(static_cast<std::size_t>(type(name).bytes));
  for (const auto& [at, value] : set) block[at] = static_cast<std::byte>(value);
  std::vector<real> out(static_cast<std::size_t>(type(name).block));
  decode_blocks(type(name), block, out);
  return out;
}

/// Values of weights [first, last] but for those that are listed.
struct Run {
  std::size_t first, last;
  double value;
  std::map<std::size_t, double> but{};
};
void check_runs(const std::vector<real>& out, const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    for (std::size_t i = run.first; i <= run.last; ++i) {
      CAPTURE(i);
      const auto at = run.but.find(i);
      CHECK(out[i] == static_cast<real>(at == run.but.end() ? run.value : at->second));
    }
  }
}

// Each by hand from the layout in quant/store/gguf_superblocks.h: d = 0.5 (0x3800), dmin = 2 (0x4000),
// a few fields set, the other bytes 0.
TEST_CASE("blocks of 256 by hand") {
  // Scale and minimum 3 (of weights 48 to 63) are 10 and 5, number 12 (192 to 207) are 1 and 2. Weight
  // 50 is in run 1 of the first half, byte 16 + 18, bits 2 and 3; weight 200 in run 2 of the second.
  check_runs(
      decoded("Q2_K", {{81, 0x38}, {83, 0x40}, {3, 0x5a}, {12, 0x21}, {34, 0x0c}, {56, 0x20}}),
      {{0, 47, 0}, {48, 63, -10, {{50, 5}}}, {64, 191, 0}, {192, 207, -4, {{200, -3}}}});
  // Scales are stored plus 32, codes plus 4: zeros mean -32 and -4. Scale 9 is 5 = 37 - 32: low bits 5
  // in the high half of byte 96 + 1, high bits 2 in bits 4 and 5 of byte 96 + 8 + 1. Weight 150 is in
  // run 0 of the second half: byte 32 + 32 + 22, and bit 4 of mask byte 22.
  check_runs(decoded("Q3_K", {{109, 0x38}, {97, 0x50}, {105, 0x20}, {86, 0x02}, {22, 0x10}}),
             {{0, 143, 64, {{22, 0.5 * -32 * -4}}}, {144, 159, -10, {{150, 5}}}, {160, 255, 64}});
  // Sub-block 1 has scale 3 and minimum 4; 6 has 3 + 16·1 and 7 + 16·2, whose high bits lie above the
  // six bits of sub-block 2.
  const std::vector<std::pair<std::size_t, int>> scales{
      {1, 0x38}, {3, 0x40}, {4 + 1, 3}, {4 + 5, 4}, {4 + 10, 0x73}, {4 + 2, 0x40}, {4 + 6, 0x80}};
  auto four = scales, five = scales;
  four.insert(four.end(), {{16 + 5, 0xb0}, {16 + 96 + 9, 0x0d}});
  check_runs(decoded("Q4_K", four), {{0, 31, 0},
                                     {32, 63, -8, {{37, 0.5 * 3 * 11 - 8}}},
                                     {64, 191, 0},
                                     {192, 223, -78, {{201, 0.5 * 19 * 13 - 78}}},
                                     {224, 255, 0}});
  five.insert(five.end(), {{48 + 5, 0xb0}, {48 + 96 + 9, 0x0d}, {16 + 5, 0x02}, {16 + 9, 0x40}});
  check_runs(decoded("Q5_K", five), {{0, 31, 0},
                                     {32, 63, -8, {{37, 0.5 * 3 * 27 - 8}}},
                                     {64, 191, 0},
                                     {192, 223, -78, {{201, 0.5 * 19 * 29 - 78}}},
                                     {224, 255, 0}});
  check_runs(decoded("TQ2_0", {{65, 0x38}, {32 + 8, 0x60}}),
             {{0, 255, -0.5, {{200, 0.5}, {232, 0}}}});
  // 188 = ceil(256/243 · 178), 178 = 20121 in base 3.
  check_runs(decoded("TQ1_0", {{53, 0x38}, {7, 188}, {40, 188}, {49, 188}}),
             {{0, 159, -0.5, {{7, 0.5}, {71, 0}, {103, 0.5}, {135, 0}}},
              {160, 239, -0.5, {{168, 0.5}, {200, 0}, {216, 0.5}, {232, 0}}},
              {240, 255, -0.5, {{241, 0.5}, {249, 0}, {253, 0.5}}}});
  check_runs(decoded("IQ4_NL", {{1, 0x38}, {5, 0x2f}}), {{0, 31, -63.5, {{3, 56.5}, {19, -41.5}}}});
}

TEST_CASE("five ternary codes share a byte and come back") {
  Rng rng(13, 1);
  for (int trial = 0; trial < 20; ++trial) {
    SuperBlock block{.d = 0.25f};
    block.scale.fill(1);
    for (int& q : block.q) q = static_cast<int>(rng.below(3)) - 1;
    std::vector<std::byte> packed;
    pack_super(type("TQ1_0"), block, packed);
    REQUIRE(packed.size() == 54);
    CHECK(unpack_super(type("TQ1_0"), packed).q == block.q);
  }
}

TEST_CASE("a block of 256 is packed into the bytes it was unpacked from") {
  Rng rng(11, 1);
  for (const char* name : {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ2_0"}) {
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(type(name).bytes));
      for (auto& b : bytes) b = static_cast<std::byte>(rng.below(256));
      const SuperBlock block = unpack_super(type(name), bytes);
      if (!std::isfinite(block.d) || !std::isfinite(block.dmin)) continue;
      std::vector<std::byte> again;
      pack_super(type(name), block, again);
      INFO(name);
      CHECK(again == bytes);
    }
  }
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
  for (const auto& [spec, name] : std::vector<std::pair<Spec, const char*>>{
           {group(4, GridKind::narrow), "Q4_0"},     {group(4, GridKind::full), "Q4_0"},
           {group(4, GridKind::signed_max), "Q4_0"}, {group(3, GridKind::full), "Q4_0"},
           {group(2, GridKind::seq), "Q4_0"},        {group(2, GridKind::ternary), "Q4_0"},
           {group(5, GridKind::full), "Q5_0"},       {group(4, GridKind::seq), "Q5_0"},
           {group(6, GridKind::full), "Q8_0"},       {group(8, GridKind::narrow), "Q8_0"},
           {row(6, GridKind::narrow), "Q6_K"},       {row(8, GridKind::full), "Q8_0"},
           {row(4, GridKind::narrow), "Q4_0"},       {row(4, GridKind::asymmetric), "Q4_K"},
           {row(4, GridKind::seq), "Q4_K"},          {row(5, GridKind::asymmetric), "Q5_K"},
           {row(3, GridKind::narrow), "Q3_K"},       {row(3, GridKind::full), "Q3_K"},
           {row(2, GridKind::asymmetric), "Q2_K"},   {row(2, GridKind::full), "Q2_K"},
           {row(2, GridKind::seq), "Q2_K"},          {row(2, GridKind::ternary), "TQ2_0"},
           {row(1, GridKind::seq), "TQ2_0"},         {group(4, GridKind::asymmetric), "Q5_0"},
           {group(6, GridKind::asymmetric), "Q8_0"}}) {
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

TEST_CASE("ternary codes go to TQ1_0 where it is asked for and holds them") {
  Rng rng(14, 3);
  const auto chosen = [&](int bits, GridKind grid) {
    std::vector<real> w(2 * 512);
    for (real& v : w) v = static_cast<real>(rng.normal());
    const Spec spec{.bits = bits,
                    .grid = grid,
                    .granularity = Granularity::group,
                    .group_size = 256,
                    .scale = ScaleType::f16};
    Ranges ranges = choose_scales(w, 2, 512, spec, RangeRule::mse, "w");
    const QTensor q = quantize(w, 2, 512, spec, std::move(ranges.at), "w");
    const nn::GgufType& t = exact_type(q, "w", &type("TQ1_0"));
    std::vector<std::byte> blocks;
    for (std::int64_t r = 0; r < 2; ++r) exact_blocks(t, q, r, blocks);
    std::vector<real> back(w.size());
    decode_blocks(t, blocks, back);
    CHECK(back == dequantize(q));
    return t.name;
  };
  CHECK(chosen(2, GridKind::ternary) == "TQ1_0");
  CHECK(chosen(2, GridKind::narrow) == "TQ1_0");
  CHECK(chosen(1, GridKind::seq) == "TQ1_0");
  CHECK(chosen(2, GridKind::seq) == "Q2_K");
  CHECK(chosen(3, GridKind::full) == "Q3_K");
}

TEST_CASE("a common divisor of 16 scales is a block's d") {
  // 3, 5 and 2 times 2^-10 are whole multiples of 2^-10 and of nothing larger.
  Spec spec{.bits = 3,
            .grid = GridKind::full,
            .granularity = Granularity::group,
            .group_size = 16,
            .scale = ScaleType::f16};
  QTensor q{.spec = spec, .rows = 1, .cols = 256};
  for (int i = 0; i < 256; ++i) q.codes.push_back(static_cast<std::int8_t>(i % 8 - 4));
  q.at.scales.assign(16, static_cast<real>(0x3p-10));
  q.at.scales[3] = static_cast<real>(0x5p-10), q.at.scales[9] = static_cast<real>(0x2p-10);
  const nn::GgufType& t = exact_type(q, "w");
  CHECK(t.name == "Q3_K");
  std::vector<std::byte> bytes;
  exact_blocks(t, q, 0, bytes);
  const SuperBlock block = unpack_super(t, bytes);
  CHECK(block.d == 0x1p-10f);
  CHECK(block.scale[0] == 3);
  CHECK(block.scale[3] == 5);
  CHECK(block.scale[9] == 2);
  std::vector<real> back(256);
  decode_blocks(t, bytes, back);
  CHECK(back == dequantize(q));
  // 37 times the divisor is more than six signed bits hold; Q6_K's eight do.
  q.at.scales[9] = static_cast<real>(0x25p-10);
  CHECK(exact_type(q, "w").name == "Q6_K");
  // No divisor larger than the last place of a number of eleven bits.
  q.at.scales[9] = static_cast<real>(0x401p-20);
  CHECK(error_of([&] { exact_type(q, "w"); }).fault == Fault::usage);
  // Negative throughout: d is. Of both signs: the scales are.
  q.at.scales.assign(16, static_cast<real>(-0x1p-4));
  bytes.clear();
  exact_blocks(exact_type(q, "w"), q, 0, bytes);
  CHECK(unpack_super(t, bytes).d == -0x1p-4f);
  q.at.scales[2] = static_cast<real>(0x1p-4);
  bytes.clear();
  exact_blocks(exact_type(q, "w"), q, 0, bytes);
  CHECK(unpack_super(t, bytes).scale[2] == 1);
  CHECK(unpack_super(t, bytes).scale[1] == -1);
  decode_blocks(t, bytes, back);
  CHECK(back == dequantize(q));
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
  CHECK(refused({.bits = 8, .grid = GridKind::asymmetric, .scale = ScaleType::f16}, 32));
  CHECK(refused({.bits = 4, .grid = GridKind::nf4, .scale = ScaleType::f16}, 32));
  CHECK(refused({.bits = 4, .scale = ScaleType::f16}, 48));
  CHECK(refused(
      {.bits = 4, .granularity = Granularity::group, .group_size = 16, .scale = ScaleType::f16},
      64));
}

}  // namespace gguf_blocks_test
