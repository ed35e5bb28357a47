// Integer linear layers: every kernel equals the contract's formula bit for bit.
#include "quant/kernels/integer_linear.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/kernels/round.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace integer_linear_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;
using notch::test::same_bits;
using Floats = std::vector<float>;

constexpr IntegerKernel kKernels[] = {IntegerKernel::portable, IntegerKernel::avx2,
                                      IntegerKernel::avx_vnni, IntegerKernel::avx512_vnni,
                                      IntegerKernel::amx};

/// A layer with its input, in the plain layout of the contract.
struct Layer {
  IntegerShape shape{};
  std::int64_t M = 0;
  std::vector<std::uint8_t> x{}, zx{};  // [M, K], [M]
  std::vector<std::int8_t> w{}, zw{};   // [N, K], [N, units]
  Floats sx{}, sw{}, bias{};
};

enum class Fill { random, largest, smallest, alternating };

Layer make_layer(std::int64_t M, const IntegerShape& shape, std::uint64_t seed, Fill fill,
                 bool token_zero_points) {
  Rng rng(seed, 7);
  const auto n = [](std::int64_t count) { return static_cast<std::size_t>(count); };
  const auto byte = [&] { return static_cast<int>(rng.next() & 255u); };
  const std::int64_t units = shape.N * shape.units();
  Layer l{shape, M};
  l.x.resize(n(M * shape.K));
  l.w.resize(n(shape.N * shape.K));
  for (std::size_t i = 0; i < l.x.size(); ++i)
    l.x[i] = static_cast<std::uint8_t>(
        fill == Fill::random                                             ? byte()
        : fill == Fill::smallest || (fill == Fill::alternating && i % 2) ? 0
                                                                         : 255);
  for (std::size_t i = 0; i < l.w.size(); ++i)
    l.w[i] = static_cast<std::int8_t>(
        fill == Fill::random                                            ? byte() - 128
        : fill == Fill::largest || (fill == Fill::alternating && i % 2) ? 127
                                                                        : -128);
  for (std::int64_t t = 0; t < M; ++t) {
    l.zx.push_back(static_cast<std::uint8_t>(token_zero_points ? byte() : 128));
    l.sx.push_back(static_cast<float>(0.001 + 0.01 * rng.uniform()));
  }
  for (std::int64_t u = 0; u < units; ++u) {
    l.sw.push_back(static_cast<float>(0.02 * rng.uniform() - 0.005));
    if (shape.zero_points) l.zw.push_back(static_cast<std::int8_t>(byte() - 128));
  }
  for (std::int64_t o = 0; o < shape.N; ++o) l.bias.push_back(static_cast<float>(rng.normal()));
  return l;
}

/// The contract of integer_linear.h, term by term; the sums in 64 bits.
Floats contract(const Layer& l, bool with_bias) {
  const auto at = [](const auto& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; };
  const IntegerShape& s = l.shape;
  Floats out;
  std::int64_t largest = 0;
  for (std::int64_t t = 0; t < l.M; ++t)
    for (std::int64_t o = 0; o < s.N; ++o) {
      float sum = 0;
      for (std::int64_t u = 0; u < s.units(); ++u) {
        const std::int64_t unit = o * s.units() + u;
        const int zw = s.zero_points ? at(l.zw, unit) : 0;
        std::int64_t acc = 0;
        for (std::int64_t k = u * s.unit(); k < (u + 1) * s.unit(); ++k)
          acc += (at(l.x, t * s.K + k) - at(l.zx, t)) * (at(l.w, o * s.K + k) - zw);
        largest = std::max(largest, std::abs(acc));
        const float term = static_cast<float>(acc) * at(l.sw, unit);
        sum = s.group > 0 ? sum + term : term;
      }
      const float y = sum * at(l.sx, t);
      out.push_back(with_bias ? y + at(l.bias, o) : y);
    }
  REQUIRE(largest <= std::numeric_limits<std::int32_t>::max());
  return out;
}

/// Memory for packed weights at a multiple of 64.
struct Packed {
  explicit Packed(const IntegerShape& shape)
      : bytes(static_cast<std::size_t>(packed_bytes(shape)) + 64, std::byte{0x5a}) {
    void* start = bytes.data();
    std::size_t space = bytes.size();
    std::align(64, space - 64, start, space);
    weights = lay_out(
        shape, {static_cast<std::byte*>(start), static_cast<std::size_t>(packed_bytes(shape))});
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  std::vector<std::byte> bytes;
  PackedWeights weights{};
};

/// Rows of codes in the kernels' layout, from plain ones.
std::vector<std::uint8_t> padded_rows(const Layer& l) {
  const IntegerShape& s = l.shape;
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(l.M * s.row_codes()));
  for (std::int64_t i = 0; i < l.M * s.K; ++i)
    rows[static_cast<std::size_t>(i / s.unit() * s.padded_unit() + i % s.unit())] =
        l.x[static_cast<std::size_t>(i)];
  return rows;
}

Floats run(Layer& l, bool with_bias, IntegerKernel kernel) {
  Packed packed(l.shape);
  pack(packed.weights, l.w, l.sw, l.zw);
  std::vector<std::uint8_t> codes = padded_rows(l);
  std::vector<std::int32_t> sums(static_cast<std::size_t>(l.M * l.shape.units()));
  for (std::int64_t i = 0; i < l.M * l.shape.K; ++i)
    sums[static_cast<std::size_t>(i / l.shape.unit())] += l.x[static_cast<std::size_t>(i)];
  Floats out(static_cast<std::size_t>(l.M * l.shape.N), 7.0f);
  integer_linear(out, {codes, l.sx, l.zx, sums}, packed.weights,
                 with_bias ? std::span<const float>(l.bias) : std::span<const float>{}, l.M,
                 kernel);
  return out;
}

void compare_all(Layer l) {
  for (const bool with_bias : {true, false}) {
    const Floats expected = contract(l, with_bias);
    for (const IntegerKernel kernel : kKernels) {
      if (!available(kernel)) continue;
      INFO("M " << l.M << " N " << l.shape.N << " K " << l.shape.K << " group " << l.shape.group
                << " weight zero points " << l.shape.zero_points << " kernel "
                << static_cast<int>(kernel));
      CHECK(same_bits(run(l, with_bias, kernel), expected));
    }
  }
}

TEST_CASE("every integer kernel gives the contract's bits for odd shapes") {
  struct Size {
    std::int64_t M, N, K, group;
  };
  std::uint64_t seed = 0;
  for (const Size& s :
       {Size{1, 1, 1, 0}, Size{2, 3, 5, 0}, Size{1, 16, 64, 0}, Size{7, 17, 63, 0},
        Size{33, 50, 100, 0}, Size{5, 33, 130, 0}, Size{13, 15, 64, 32}, Size{18, 40, 96, 96},
        Size{12, 31, 90, 6}, Size{35, 20, 256, 128}, Size{3, 70, 300, 100}, Size{8, 16, 96, 32},
        Size{50, 35, 34, 1}, Size{65, 49, 192, 64}, Size{100, 129, 72, 24}})
    for (const bool token_zero_points : {false, true})
      for (const bool weight_zero_points : {false, true})
        compare_all(make_layer(
            s.M, {.N = s.N, .K = s.K, .group = s.group, .zero_points = weight_zero_points}, ++seed,
            Fill::random, token_zero_points));
}

TEST_CASE("integer kernels have the same bits for small numbers of tokens") {
  for (std::int64_t M = 1; M <= 20; ++M)
    for (const std::int64_t group : {0, 16})
      compare_all(make_layer(M, {.N = 49, .K = 48, .group = group, .zero_points = M % 3 == 0},
                             static_cast<std::uint64_t>(M), Fill::random, M % 2 == 0));
}

TEST_CASE("integer kernels are exact at extreme codes and the largest K") {
  for (const Fill fill : {Fill::largest, Fill::smallest, Fill::alternating}) {
    compare_all(make_layer(3, {.N = 18, .K = 65536}, 1, fill, false));
    compare_all(make_layer(3, {.N = 2, .K = 65536}, 2, fill, true));
    compare_all(make_layer(2, {.N = 3, .K = 32768, .zero_points = true}, 3, fill, true));
    compare_all(
        make_layer(17, {.N = 20, .K = 64, .group = 32, .zero_points = true}, 4, fill, true));
  }
}

TEST_CASE("integer products do not depend on the number of threads") {
  Layer l =
      make_layer(70, {.N = 100, .K = 96, .group = 32, .zero_points = true}, 5, Fill::random, true);
  const Floats expected = contract(l, true);
  for (int n = 1; n <= 4; ++n) {
    set_threads(n);
    for (const IntegerKernel kernel : kKernels)
      if (available(kernel)) CHECK(same_bits(run(l, true, kernel), expected));
  }
  set_threads(0);
}

TEST_CASE("rounding weights into panels equals rounding, then packing") {
  for (const std::int64_t group : {0, 20})
    for (const bool zero_points : {false, true}) {
      const IntegerShape shape{.N = 37, .K = 60, .group = group, .zero_points = zero_points};
      const Grid grid{-8, 7};
      Layer l = make_layer(1, shape, 9, Fill::random, false);
      for (float& s : l.sw) s = std::abs(s) + 0.05f;
      for (std::int8_t& z : l.zw) z = static_cast<std::int8_t>(z % 8);
      const std::vector<real> w = test::normal_matrix(shape.N * shape.K, 3);
      const std::vector<real> scales(l.sw.begin(), l.sw.end());
      std::vector<real> expected(w.size());
      round_codes(l.w, w, {scales, l.zw, shape.unit()}, grid);
      fake_quant(expected, w, {scales, l.zw, shape.unit()}, grid);

      Packed one(shape), two(shape);
      Floats dequantized(w.size());
      const Floats weights(w.begin(), w.end());
      pack(one.weights, l.w, l.sw, l.zw);
      for (std::int64_t panel = 0; panel < shape.panels(); ++panel)
        quantize_panel(two.weights, panel, dequantized, weights, l.sw, l.zw, grid);
      const auto bytes = static_cast<std::size_t>(packed_bytes(shape));
      CHECK(std::memcmp(one.weights.panels, two.weights.panels, bytes) == 0);
      CHECK(std::equal(dequantized.begin(), dequantized.end(), expected.begin()));
    }
}

TEST_CASE("integer layers refuse unfit shapes and sums beyond int32") {
  CHECK(error_of([] { validate({.N = 1, .K = 65537}, "layer"); }).where == "layer");
  CHECK(error_of([] { validate({.N = 1, .K = 32769, .zero_points = true}, "layer"); }).where ==
        "layer");
  CHECK(error_of([] { validate({.N = 1, .K = 10, .group = 4}, "layer"); }).where == "layer");
  CHECK(error_of([] { validate({.N = 0, .K = 10}, "layer"); }).where == "layer");
  Layer l = make_layer(2, {.N = 3, .K = 8}, 1, Fill::random, false);
  Packed packed(l.shape);
  CHECK(error_of([&] { pack(packed.weights, l.w, Floats(2), l.zw); }).where == "integer weights");
  Floats out(6);
  CHECK(error_of([&] {
          integer_linear(out, {l.x, l.sx, l.zx}, packed.weights, Floats(2), 2);
        }).where == "integer_linear");
}

}  // namespace integer_linear_test
