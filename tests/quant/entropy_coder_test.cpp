// The entropy coder: exact both ways, near the entropy, and no damage passes.
#include "quant/store/entropy_coder.h"

#include <cmath>

#include "autograd/base/rng.h"
#include "quant/store/pack.h"
#include "tests/catch.h"

namespace notch::quant::entropy_coder_test {

using test::error_of;
using Codes = std::vector<std::int8_t>;

/// `n` draws of round(N(0, sigma)) clamped to ±top.
Codes normal_codes(std::size_t n, double sigma, int top, std::uint64_t seed = 1) {
  Rng rng(seed);
  Codes codes;
  while (codes.size() < n) {
    const double v = std::clamp(std::nearbyint(sigma * rng.normal()), -1.0 * top, 1.0 * top);
    codes.push_back(static_cast<std::int8_t>(v));
  }
  return codes;
}

Grid symmetric(int top) {
  Grid grid;
  grid.qmin = -top;
  grid.qmax = top;
  return grid;
}

TEST_CASE("codes come back as they were, whatever their distribution") {
  const std::vector<std::pair<Codes, Grid>> cases{
      {{}, symmetric(7)},
      {{3}, symmetric(7)},
      {Codes(1000, -7), symmetric(7)},  // no information at all
      {{-127, 127, -127, 0}, symmetric(127)},
      {normal_codes(5000, 30, 127), symmetric(127)},
      {normal_codes(5000, 0.4, 1), symmetric(1)},
      {normal_codes(777, 1e6, 1), symmetric(1)},  // no zeros
  };
  for (const auto& [codes, grid] : cases) {
    INFO(codes.size() << " codes to ±" << grid.qmax);
    const std::vector<std::uint8_t> stream = encode_codes(codes, grid);
    CHECK(decode_codes(stream, std::ssize(codes), grid, "t") == codes);
  }
  // One code in a million: frequencies far below the smallest share.
  Codes rare(1'000'000, 5);
  for (int code = -127; code <= 127; ++code)
    rare[static_cast<std::size_t>(1000 * (code + 127))] = static_cast<std::int8_t>(code);
  const std::vector<std::uint8_t> stream = encode_codes(rare, symmetric(127));
  CHECK(decode_codes(stream, std::ssize(rare), symmetric(127), "t") == rare);
}

TEST_CASE("coded codes are within 2 % of their order-0 entropy") {
  struct Case {
    int bits;
    double clip;  // the grid reaches so many standard deviations
  };
  for (const Case c : {Case{8, 4}, {8, 2.5}, {6, 4}, {4, 4}, {4, 2.5}, {3, 2.5}, {2, 1.5}}) {
    const int top = (1 << (c.bits - 1)) - 1;
    const Codes codes = normal_codes(12288, top / c.clip, top);  // [192, 64]: a small c_attn
    const std::vector<std::uint8_t> stream = encode_codes(codes, symmetric(top));
    const double least = code_entropy(codes) * static_cast<double>(codes.size()) / 8;
    INFO(c.bits << " bits: " << stream.size() << " bytes, entropy " << least);
    CHECK(static_cast<double>(stream.size()) < 1.02 * least);
    CHECK(static_cast<double>(stream.size()) > least);
    CHECK(table_bytes(stream, symmetric(top), "t") < 120);
  }
}

TEST_CASE("a code that never varies costs its table and a state") {
  const std::vector<std::uint8_t> stream = encode_codes(Codes(100'000, 2), symmetric(7));
  CHECK(static_cast<std::int64_t>(stream.size()) == table_bytes(stream, symmetric(7), "t"));
  CHECK(stream.size() < 16);
}

TEST_CASE("damage is refused, and the error names the tensor") {
  const Codes codes = normal_codes(2000, 2, 7);
  const Grid grid = symmetric(7);
  const std::vector<std::uint8_t> good = encode_codes(codes, grid);
  const auto fault_of = [&](const std::vector<std::uint8_t>& stream, std::int64_t count) {
    const ErrorParts parts =
        error_of([&] { decode_codes(stream, count, grid, "file: h.0.attn.c_attn.weight"); });
    CHECK(parts.where == "file: h.0.attn.c_attn.weight");
    return parts.fault;
  };
  SECTION("every byte matters") {
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        INFO("byte " << i << " of " << good.size() << " ^ " << flip);
        std::vector<std::uint8_t> bad = good;
        bad[i] = static_cast<std::uint8_t>(bad[i] ^ flip);
        CHECK(fault_of(bad, 2000) == Fault::input);
      }
    }
  }
  SECTION("every length matters") {
    for (std::size_t n = 0; n < good.size(); ++n) {
      CHECK(fault_of({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)}, 2000) ==
            Fault::input);
    }
    std::vector<std::uint8_t> longer = good;
    longer.push_back(0);
    CHECK(fault_of(longer, 2000) == Fault::input);
  }
  SECTION("the number of codes matters") {
    CHECK(fault_of(good, 1999) == Fault::input);
    CHECK(fault_of(good, 2001) == Fault::input);
    CHECK(fault_of(good, 0) == Fault::input);
    CHECK(fault_of({}, 1) == Fault::input);
  }
  SECTION("noise is no stream") {
    Rng rng(9);
    for (int i = 0; i < 300; ++i) {
      std::vector<std::uint8_t> noise(static_cast<std::size_t>(1 + rng.below(200)));
      for (std::uint8_t& b : noise) b = static_cast<std::uint8_t>(rng.below(256));
      CHECK(fault_of(noise, 2000) == Fault::input);
    }
  }
}

TEST_CASE("a code outside the grid cannot be encoded") {
  CHECK(error_of([] { encode_codes(Codes{8}, symmetric(7)); }).fault == Fault::usage);
}

}  // namespace notch::quant::entropy_coder_test
