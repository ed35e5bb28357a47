#include "quant/store/pack.h"

#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace pack_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::error_of;
using notch::test::normal_matrix;

using Bytes = std::vector<std::uint8_t>;
using Codes = std::vector<std::int8_t>;

TEST_CASE("codes fill bytes from the least significant bit: worked by hand") {
  // 4 bits, codes + 7 = 0, 7, 14: 0x70, 0x0e.
  CHECK(pack_codes(Codes{-7, 0, 7}, 1, 3, {.bits = 4}) == Bytes{0x70, 0x0e});
  // 6 bits, codes + 31 = 1, 2, 3, 4: 1 + 2·2^6 + 3·2^12 + 4·2^18 = 0x103081, in three bytes.
  CHECK(pack_codes(Codes{-30, -29, -28, -27}, 1, 4, {.bits = 6}) == Bytes{0x81, 0x30, 0x10});
  // 3 bits, codes + 4 = 7, 0, 7 in 9 bits: 0b111000111; each row starts on a byte.
  CHECK(pack_codes(Codes{3, -4, 3, -4, -4, -3}, 2, 3, {.bits = 3, .grid = GridKind::full}) ==
        Bytes{0xc7, 0x01, 0x40, 0x00});
  CHECK(pack_codes(Codes{-127, 127}, 1, 2, {.bits = 8}) == Bytes{0, 254});
  CHECK(packed_bytes({.bits = 3}, 3) == 2);
  CHECK(packed_bytes({.bits = 5}, 0) == 0);
  // seq at 2 bits, (q + 3) / 2 = 0, 1, 2, 3: 0 + 1·4 + 2·16 + 3·64; the sign, one bit each.
  CHECK(pack_codes(Codes{-3, -1, 1, 3}, 1, 4, {.bits = 2, .grid = GridKind::seq}) == Bytes{0xe4});
  CHECK(pack_codes(Codes{1, -1, -1, 1, 1}, 1, 5, {.bits = 1, .grid = GridKind::seq}) ==
        Bytes{0x19});
  // Ternary, q + 1 = 2, 0, 1, 2, 2 | 1: 2 + 0·3 + 1·9 + 2·27 + 2·81 = 227, and 1.
  const Spec ternary{.bits = 2, .grid = GridKind::ternary};
  CHECK(pack_codes(Codes{1, -1, 0, 1, 1, 0}, 1, 6, ternary) == Bytes{227, 1});
  CHECK(packed_bytes(ternary, 6) == 2);
}

TEST_CASE("pack and unpack give back every tensor, all widths, odd columns") {
  for (const Spec& spec : all_specs(3)) {
    for (const std::int64_t cols : {3, 9, 27, 48}) {
      const std::vector<real> w = normal_matrix(5 * cols, 11, 0.1);
      const QTensor q = quantize(w, 5, cols, spec,
                                 choose_scales(w, 5, cols, spec, RangeRule::absmax, "t").at, "t");
      const PackedTensor packed = pack(q);
      const StorageBytes sizes = storage_bytes(spec, 5, cols);
      REQUIRE(static_cast<std::int64_t>(packed.codes.size()) == sizes.codes);
      REQUIRE(static_cast<std::int64_t>(packed.scales.size()) == sizes.scales);
      REQUIRE(static_cast<std::int64_t>(packed.zero_points.size()) == sizes.zero_points);
      REQUIRE(unpack(packed, "t") == q);
    }
  }
}

TEST_CASE("every code of every width survives, at every position in a row") {
  for (int bits = 2; bits <= 8; ++bits) {
    const int low = -(1 << (bits - 1)), count = 1 << bits;
    Codes codes;
    for (int row = 0; row < 13; ++row) {
      for (int i = 0; i < 13; ++i) {
        codes.push_back(static_cast<std::int8_t>(low + (row * 29 + i * 17) % count));
      }
    }
    const Spec spec{.bits = bits, .grid = GridKind::full};
    CHECK(unpack_codes(pack_codes(codes, 13, 13, spec), 13, 13, spec, "t") == codes);
  }
}

TEST_CASE("damaged storage is an input error that names the tensor") {
  const Codes codes{-7, 0, 7, 1, 2, 3};
  const Bytes good = pack_codes(codes, 2, 3, {.bits = 4});
  const Spec narrow{.bits = 4};
  REQUIRE(unpack_codes(good, 2, 3, narrow, "t") == codes);

  Bytes outside = good;
  outside[2] |= 0x0f;  // row 1, column 0 becomes 15: not on the narrow grid
  const auto code = error_of([&] { unpack_codes(outside, 2, 3, narrow, "h.0.w"); });
  CHECK(code.fault == Fault::input);
  CHECK(code.where == "h.0.w");
  CHECK(code.field == "row 1, column 0");
  CHECK(code.found == "8");

  Bytes padding = good;
  padding[1] |= 0x80;  // the unused half of row 0's last byte
  CHECK(error_of([&] { unpack_codes(padding, 2, 3, narrow, "t"); }).field == "row 0");

  // Base-3 bytes end at 242, and digits after the last code are 0.
  const Spec ternary{.bits = 2, .grid = GridKind::ternary};
  const auto trits = [&](Bytes bytes) {
    return error_of([&] { unpack_codes(bytes, 1, 6, ternary, "t"); });
  };
  CHECK(trits({243, 0}).field == "row 0, column 4");
  CHECK(trits({255, 0}).found == "2");
  CHECK(trits({242, 3}).field == "row 0");

  Bytes truncated = good;
  truncated.pop_back();
  const auto length = error_of([&] { unpack_codes(truncated, 2, 3, narrow, "t"); });
  CHECK(length.fault == Fault::input);
  CHECK(length.found == "3");
  CHECK(length.expected == "4");
}

TEST_CASE("a packed tensor with bad parts is refused before allocation") {
  const std::vector<real> w = normal_matrix(4 * 6, 12);
  const Spec spec{.bits = 4, .grid = GridKind::asymmetric, .scale = ScaleType::f16};
  const PackedTensor good =
      pack(quantize(w, 4, 6, spec, choose_scales(w, 4, 6, spec, RangeRule::absmax, "t").at, "t"));
  const auto broken = [&](auto change) {
    PackedTensor p = good;
    change(p);
    return error_of([&] { unpack(p, "t"); });
  };
  CHECK(broken([](PackedTensor& p) { p.scales.pop_back(); }).field == "scales");
  CHECK(broken([](PackedTensor& p) { p.zero_points.clear(); }).field == "zero_points");
  CHECK(broken([](PackedTensor& p) { p.codes.push_back(0); }).field == "codes");
  CHECK(broken([](PackedTensor& p) { p.scales[0] = p.scales[1] = 0; }).field == "scale 0");
  CHECK(broken([](PackedTensor& p) { p.scales[2] = 0, p.scales[3] = 0x7c; }).field == "scale 1");
  CHECK(broken([](PackedTensor& p) { p.rows = std::int64_t{1} << 40; }).field == "shape");
  CHECK(broken([](PackedTensor& p) { p.rows = -1; }).field == "shape");
  CHECK(broken([](PackedTensor& p) { p.spec.bits = 77; }).field == "bits");
  CHECK(broken([](PackedTensor& p) { p.spec.bits = 77; }).fault == Fault::input);
}

TEST_CASE("order-0 entropy: equal shares of 2^k codes need k bits") {
  CHECK(code_entropy(Codes{}) == 0);
  CHECK(code_entropy(Codes(100, 5)) == 0);
  CHECK(code_entropy(Codes{-128, 127, 0, 1}) == Approx(2).epsilon(1e-14));
  CHECK(code_entropy(Codes{0, 0, 0, 1}) == Approx(0.8112781244591328).epsilon(1e-12));  // h(1/4)
}

TEST_CASE("a Gaussian row's codes are worth fewer bits than they take") {
  // Rows of 256, 4 bits, absmax: an independent computation gives 3.26 bits per weight.
  const std::vector<real> w = normal_matrix(512 * 256, 13);
  const Spec spec{.bits = 4};
  const QTensor q =
      quantize(w, 512, 256, spec, choose_scales(w, 512, 256, spec, RangeRule::absmax, "t").at, "t");
  CHECK(code_entropy(q.codes) == Approx(3.26).margin(0.03));
}

}  // namespace pack_test
