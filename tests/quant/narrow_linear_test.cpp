// Narrow integer layers: every kernel equals the contract's formula, which is computed here term by
// term, and the 8-bit kernels on the same codes.
#include "quant/kernels/narrow_linear.h"

#include <algorithm>
#include <vector>

#include "autograd/base/half.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/serve/served_panels.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace narrow_linear_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;
using notch::test::same_bits;
using Floats = std::vector<float>;

constexpr IntegerKernel kKernels[] = {IntegerKernel::portable, IntegerKernel::avx2,
                                      IntegerKernel::avx_vnni, IntegerKernel::avx512_vnni};

/// A layer of random codes: every code of `bits` bits, scales of `type`, zero points or none.
struct Layer {
  IntegerShape shape{};
  int qmin = 0, step = 1;
  StoredScale type = StoredScale::f32;
  std::int64_t M = 0;
  RowGrid grid{};
  Floats x{}, bias{}, scales{};  // scales as floats
  std::vector<std::int8_t> q{}, z{};
  std::vector<std::uint8_t> stored{};  // scales
};

Layer make_layer(std::int64_t M, const IntegerShape& shape, StoredScale type, bool asymmetric,
                 std::uint64_t seed) {
  Rng rng(seed, 3);
  Layer l{.shape = shape, .qmin = -(1 << (shape.bits - 1)), .type = type, .M = M};
  if (shape.bits <= 4 && !shape.zero_points && seed % 2 == 0) {  // odd codes
    l.step = 2;
    l.qmin = 1 - (1 << shape.bits);
  }
  if (asymmetric) l.grid = {.qmin = -128, .qmax = 127, .asymmetric = true};
  const auto code = [&] {
    return static_cast<std::int8_t>(l.qmin +
                                    l.step * static_cast<int>(rng.below(1u << shape.bits)));
  };
  for (std::int64_t i = 0; i < M * shape.K; ++i)
    l.x.push_back(static_cast<float>(rng.normal() + (asymmetric ? 0.5 : 0)));
  for (std::int64_t i = 0; i < shape.N * shape.K; ++i) l.q.push_back(code());
  for (std::int64_t i = 0; i < shape.N; ++i) l.bias.push_back(static_cast<float>(rng.normal()));
  for (std::int64_t i = 0; i < shape.N * shape.units(); ++i) {
    const auto scale = static_cast<float>(0.01 + 0.1 * rng.uniform());
    const std::uint16_t half = type == StoredScale::f16 ? to_f16(scale) : to_bf16(scale);
    l.scales.push_back(type == StoredScale::f32   ? scale
                       : type == StoredScale::f16 ? from_f16(half)
                                                  : from_bf16(half));
    const auto* bytes = type == StoredScale::f32 ? reinterpret_cast<const std::uint8_t*>(&scale)
                                                 : reinterpret_cast<const std::uint8_t*>(&half);
    l.stored.insert(l.stored.end(), bytes, bytes + (type == StoredScale::f32 ? 4 : 2));
    if (shape.zero_points) l.z.push_back(code());
  }
  return l;
}

/// Activation codes with their memory.
struct Codes {
  Codes(const Layer& l, const IntegerShape& shape)
      : bytes(static_cast<std::size_t>(l.M * shape.row_codes())),
        zeros(static_cast<std::size_t>(l.M)),
        scales(static_cast<std::size_t>(l.M)),
        sums(static_cast<std::size_t>(l.M * shape.units())),
        rows{bytes, scales, zeros, sums} {
    quantize_rows(rows, {}, l.x, l.M, shape, l.grid);
  }
  Codes(const Codes&) = delete;
  Codes& operator=(const Codes&) = delete;
  std::vector<std::uint8_t> bytes, zeros;
  Floats scales;
  std::vector<std::int32_t> sums;
  ActivationCodes rows;
};

/// The contract of integer_linear.h, term by term, from codes with 128 added; sums in 64 bits.
Floats contract(const Layer& l) {
  IntegerShape plain = l.shape;  // without padding
  plain.bits = 8, plain.group = 0, plain.zero_points = false;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(l.M * plain.row_codes())), zeros(codes);
  Floats scales(static_cast<std::size_t>(l.M)), out;
  zeros.resize(scales.size());
  quantize_rows({codes, scales, zeros}, {}, l.x, l.M, plain, l.grid);
  const auto at = [](const auto& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; };
  for (std::int64_t t = 0; t < l.M; ++t)
    for (std::int64_t o = 0; o < l.shape.N; ++o) {
      float sum = 0;
      for (std::int64_t u = 0; u < l.shape.units(); ++u) {
        const std::int64_t unit = o * l.shape.units() + u;
        std::int64_t acc = 0;
        for (std::int64_t k = u * l.shape.unit(); k < (u + 1) * l.shape.unit(); ++k)
          acc += (at(codes, t * plain.row_codes() + k) - at(zeros, t)) *
                 (at(l.q, o * l.shape.K + k) - (l.z.empty() ? 0 : at(l.z, unit)));
        const float term = static_cast<float>(acc) * at(l.scales, unit);
        sum = l.shape.group > 0 ? sum + term : term;
      }
      const float scaled = sum * at(scales, t);
      out.push_back(scaled + at(l.bias, o));
    }
  return out;
}

struct Packed {
  explicit Packed(const Layer& l)
      : w{.shape = l.shape, .qmin = l.qmin, .step = l.step, .scale = l.type} {
    memory.assign(static_cast<std::size_t>(w.bytes()) + 64, 0x5a);
    w.memory = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
    for (std::int64_t panel = 0; panel < l.shape.panels(); ++panel) {
      const std::int64_t row = panel * 16, rows = std::min<std::int64_t>(16, l.shape.N - row);
      const auto of = [&](const auto& v) {
        const auto per_row = std::ssize(v) / l.shape.N;
        return std::span(v).subspan(static_cast<std::size_t>(row * per_row),
                                    static_cast<std::size_t>(rows * per_row));
      };
      pack_narrow_panel(w, panel, of(l.q), of(l.stored), of(l.z));
    }
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  std::vector<std::uint8_t> memory;
  NarrowWeights w;
};

Floats run(const Layer& l, const Packed& packed, IntegerKernel kernel) {
  const Codes codes(l, l.shape);
  Floats out(static_cast<std::size_t>(l.M * l.shape.N), 7.0f);
  narrow_linear(out, codes.rows, packed.w, l.bias, l.M, kernel);
  return out;
}

TEST_CASE("every narrow kernel gives the contract's bits at every width") {
  struct Size {
    std::int64_t M, N, K, group;
  };
  std::uint64_t seed = 0;
  for (int bits = 1; bits <= 7; ++bits)
    for (const Size& s : {Size{1, 1, 1, 0}, Size{3, 17, 65, 0}, Size{1, 32, 64, 32},
                          Size{13, 16, 96, 32}, Size{9, 40, 120, 24}, Size{2, 5, 256, 128}})
      for (const bool zero_points : {false, true})
        for (const bool asymmetric : {false, true})
          for (const StoredScale type : {StoredScale::f32, StoredScale::f16, StoredScale::bf16}) {
            const Layer l = make_layer(
                s.M,
                {.N = s.N, .K = s.K, .group = s.group, .zero_points = zero_points, .bits = bits},
                type, asymmetric, ++seed);
            const Floats expected = contract(l);
            const Packed packed(l);
            for (const IntegerKernel kernel : kKernels) {
              if (!available(kernel)) continue;
              INFO("bits " << bits << " M " << s.M << " N " << s.N << " K " << s.K << " group "
                           << s.group << " zero points " << zero_points << " asymmetric "
                           << asymmetric << " kernel " << static_cast<int>(kernel));
              CHECK(same_bits(run(l, packed, kernel), expected));
            }
          }
}

TEST_CASE("narrow sums are exact at the largest K and extreme codes") {
  for (const bool asymmetric : {false, true}) {
    Layer l = make_layer(2, {.N = 17, .K = 65536, .bits = 7}, StoredScale::f32, asymmetric, 1);
    for (const int q : {-64, 63}) {
      std::ranges::fill(l.q, static_cast<std::int8_t>(q));
      std::ranges::fill(l.x, 1.0f);
      l.x[0] = -1.0f;
      const Floats expected = contract(l);
      const Packed packed(l);
      for (const IntegerKernel kernel : kKernels)
        if (available(kernel)) CHECK(same_bits(run(l, packed, kernel), expected));
    }
  }
}

TEST_CASE("narrow products do not depend on the number of threads") {
  const Layer l = make_layer(101, {.N = 200, .K = 96, .group = 32, .zero_points = true, .bits = 4},
                             StoredScale::f16, true, 5);
  const Floats expected = contract(l);
  const Packed packed(l);
  for (int n = 1; n <= 7; ++n) {
    set_threads(n);
    CHECK(same_bits(run(l, packed, best_integer_kernel()), expected));
  }
  set_threads(0);
}

TEST_CASE("an integer matrix takes pieces of rows, lookups dequantize") {
  for (const int bits : {2, 3, 4, 5, 6, 8})
    for (const Granularity granularity :
         {Granularity::tensor, Granularity::channel, Granularity::group})
      for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric, GridKind::seq}) {
        if (grid == GridKind::seq && bits > 4) continue;
        Spec spec{.bits = bits, .grid = grid, .granularity = granularity, .scale = ScaleType::f16};
        if (granularity == Granularity::group) spec.group_size = 8;
        const std::int64_t rows = 37, cols = 40;
        const std::vector<real> w = test::normal_matrix(rows * cols, 3);
        const QTensor q =
            quantize(w, rows, cols, spec,
                     choose_scales(w, rows, cols, spec, RangeRule::absmax, "w").at, "w");
        const std::vector<real> expected = dequantize(q);
        ServedPanels whole(q), pieces(spec, rows, cols);
        for (const auto& range : {std::pair<std::int64_t, std::int64_t>{0, 32}, {32, 5}}) {
          const std::int64_t first = range.first, n = range.second;
          QTensor part{spec, n, cols};
          const std::int64_t units = std::ssize(q.at.scales) / rows;  // per row; 0: per tensor
          const auto cut = [&](const auto& v, std::int64_t each) {
            if (each == 0 || v.empty()) return v;
            return std::decay_t<decltype(v)>(v.begin() + first * each,
                                             v.begin() + (first + n) * each);
          };
          part.codes = cut(q.codes, cols);
          part.at.scales = cut(q.at.scales, units);
          part.at.zero_points = cut(q.at.zero_points, units);
          pieces.set_rows(first, part);
        }
        INFO(name_of(spec));
        for (const ServedPanels* m : {&whole, &pieces})
          for (std::int64_t r = 0; r < rows; ++r) {
            Floats row(static_cast<std::size_t>(cols));
            m->dequantize_row(row, r);
            CHECK(std::equal(row.begin(), row.end(), expected.begin() + r * cols));
          }
      }
}

TEST_CASE("a grid takes no more bits in panels than its codes need") {
  for (int bits = 2; bits <= 4; ++bits)
    CHECK(ServedPanels::bytes({.bits = bits, .grid = GridKind::seq}, 64, 96) ==
          ServedPanels::bytes({.bits = bits}, 64, 96));
  const std::int64_t tables = 64 * 4;  // a float scale per row
  CHECK(ServedPanels::bytes({.bits = 2, .grid = GridKind::ternary}, 64, 96) ==
        64 * 96 * 2 / 8 + tables);
  CHECK(ServedPanels::bytes({.bits = 1, .grid = GridKind::seq}, 64, 96) == 64 * 96 / 8 + tables);
}

TEST_CASE("narrow layers refuse sizes that do not match") {
  const Layer l = make_layer(2, {.N = 3, .K = 8, .bits = 4}, StoredScale::f32, false, 1);
  const Packed packed(l);
  const Codes codes(l, l.shape);
  Floats out(6);
  CHECK(error_of([&] { narrow_linear(out, codes.rows, packed.w, Floats(2), 2); }).where ==
        "narrow_linear");
  CHECK(error_of([&] { pack_narrow_panel(packed.w, 0, l.q, {}, {}); }).where == "narrow weights");
  const ServedPanels matrix(Spec{.bits = 4}, 40, 8);
  CHECK(error_of([&] {
          ServedPanels(Spec{.bits = 4}, 40, 8).set_rows(8, QTensor{{.bits = 4}, 16, 8});
        }).where == "integer weights");
}

}  // namespace narrow_linear_test
