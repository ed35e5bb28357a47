// Packed products against the definition, element by element, and variant against variant.
#include "quant/kernels/packed.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/base/half.h"
#include "autograd/kernels/gemv.h"
#include "quant/numbers/ranges.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace packed_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

/// A matrix in both forms: as integers, and repacked.
struct Matrix {
  QTensor q;
  PackedTensor stored;
  std::vector<std::uint8_t> codes;
  std::uint8_t* aligned = nullptr;
  std::vector<std::byte> scales;
  std::vector<std::int8_t> zeros;
  std::vector<float> levels;
  PackedRows rows;
};

Matrix make(const Spec& spec, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Matrix m;
  const std::vector<real> w = normal_matrix(rows * cols, seed);
  m.q = quantize(w, rows, cols, spec, choose_scales(w, rows, cols, spec, RangeRule::absmax, "w").at,
                 "w");
  m.stored = pack(m.q);
  const bool lists = spec.grid == GridKind::learned;
  const int bits = lists ? 4 : spec.bits + (spec.grid == GridKind::seq ? 1 : 0);
  const Grid grid = grid_of(spec);
  if (!grid.levels.empty()) {
    REQUIRE((bits == 4 || bits == 8));
    m.levels.assign(grid.levels.begin(), grid.levels.end());
    m.levels.resize(bits == 8 ? 256 : 16);
  }
  const std::int64_t bytes = repacked_row_bytes(cols, bits);
  REQUIRE(bytes % 64 == 0);
  m.codes.resize(static_cast<std::size_t>(rows * bytes + 64));
  m.aligned = m.codes.data() + (64 - reinterpret_cast<std::uintptr_t>(m.codes.data()) % 64) % 64;
  const int qmin = grid.qmin;
  for (std::int64_t r = 0; r < rows; ++r)
    repack_row({m.aligned + r * bytes, static_cast<std::size_t>(bytes)},
               std::span(m.q.codes).subspan(static_cast<std::size_t>(r * cols),
                                            static_cast<std::size_t>(cols)),
               bits, qmin);
  const ScaleType held = held_spec(spec).scale;  // powers of two are held as bf16
  const std::vector<std::uint8_t> scales = pack_scales(m.q.at.scales, held);
  m.scales.resize(scales.size());
  std::memcpy(m.scales.data(), scales.data(), m.scales.size());
  m.zeros = m.q.at.zero_points;
  if (spec.granularity == Granularity::tensor) {  // the kernels know rows
    const std::vector<std::byte> one = m.scales;
    for (std::int64_t r = 1; r < rows; ++r) m.scales.insert(m.scales.end(), one.begin(), one.end());
    if (!m.zeros.empty()) m.zeros.assign(static_cast<std::size_t>(rows), m.zeros[0]);
  }
  if (lists) {  // sixteen levels for each unit, with scales of 1
    const std::size_t each = std::size_t{1} << spec.bits, units = m.q.at.scales.size() / each;
    m.levels.assign(16 * units, 0);
    for (std::size_t i = 0; i < m.q.at.scales.size(); ++i)
      m.levels[i / each * 16 + i % each] = static_cast<float>(m.q.at.scales[i]);
    const std::vector<float> ones(units, 1);
    m.scales.resize(units * sizeof(float));
    std::memcpy(m.scales.data(), ones.data(), m.scales.size());
  }
  m.rows = {.codes = m.aligned,
            .scales = m.scales.data(),
            .zeros = m.zeros.empty() ? nullptr : m.zeros.data(),
            .levels = m.levels.empty() ? nullptr : m.levels.data(),
            .level_step = lists ? 16 : 0,
            .scale = lists || held == ScaleType::f32 ? StoredScale::f32
                     : held == ScaleType::f16        ? StoredScale::f16
                                                     : StoredScale::bf16,
            .bits = bits,
            .qmin = qmin,
            .rows = rows,
            .cols = cols,
            .unit = spec.granularity == Granularity::group ? spec.group_size : cols};
  return m;
}

/// The definition in packed.h, from the integers.
float documented(const QTensor& q, std::int64_t row, const float* x, float bias) {
  const std::int64_t K = q.cols, unit = unit_size(q.spec, q.rows, K);
  const bool groups = unit < K;
  float lanes[16] = {}, scale = 0;
  for (std::int64_t k = 0; k < K; ++k) {
    const auto u = static_cast<std::size_t>((row * K + k) / unit);
    const int z = q.at.zero_points.empty() ? 0 : q.at.zero_points[u];
    const int code = q.codes[static_cast<std::size_t>(row * K + k)];
    const Grid grid = grid_of(q.spec);
    const bool lists = q.spec.grid == GridKind::learned;
    const std::size_t level = static_cast<std::size_t>(code - grid.qmin);
    const float v = lists ? static_cast<float>(q.at.scales[(u << q.spec.bits) + level])
                    : grid.levels.empty() ? static_cast<float>(code - z)
                                          : static_cast<float>(grid.levels[level]);
    scale = lists ? 1 : static_cast<float>(q.at.scales[u]);
    const float w = groups ? v * scale : v;
    lanes[k % 16] = std::fma(w, x[k], lanes[k % 16]);
  }
  for (int width = 8; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  const float y = groups ? lanes[0] : lanes[0] * scale;
  return y + bias;
}

std::vector<Isa> variants() {
  std::vector<Isa> all{Isa::portable};
  if (best_isa() != Isa::portable) all.push_back(Isa::avx2);
  if (best_isa() == Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

void check_products(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const Matrix m = make(spec, rows, cols, static_cast<std::uint64_t>(spec.bits));
  const std::int64_t ld_x = (cols + 15) / 16 * 16;
  const std::int64_t most = 7;
  std::vector<float> x(static_cast<std::size_t>(most * ld_x), 0.0f);
  for (std::int64_t r = 0; r < most; ++r) {
    const std::vector<real> row = normal_matrix(cols, 50 + static_cast<std::uint64_t>(r));
    for (std::int64_t k = 0; k < cols; ++k)
      x[static_cast<std::size_t>(r * ld_x + k)] =
          static_cast<float>(row[static_cast<std::size_t>(k)]);
  }
  std::vector<float> bias(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = 0.25f * static_cast<float>(i);
  for (const std::int64_t M : {std::int64_t{1}, most}) {
    std::vector<float> expected;
    for (std::int64_t r = 0; r < M; ++r)
      for (std::int64_t n = 0; n < rows; ++n)
        expected.push_back(
            documented(m.q, n, x.data() + r * ld_x, bias[static_cast<std::size_t>(n)]));
    for (const Isa isa : variants()) {
      INFO(name_of(spec) << ", " << cols << " columns, " << M << " rows of x, variant "
                         << static_cast<int>(isa));
      std::vector<float> out(expected.size());
      packed_gemv(out.data(), rows, x.data(), ld_x, M, m.rows, bias.data(), 0, rows, isa);
      CHECK(out == expected);
    }
  }
}

TEST_CASE("every packed product variant gives the documented bits") {
  for (const Spec& spec : all_specs(32)) check_products(spec, 5, 96);
}

TEST_CASE("packed products hold for long rows, odd lengths and any groups") {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric}) {
      for (const std::int64_t cols : {7, 100, 768, 1100})
        check_products({.bits = bits, .grid = grid}, 6, cols);
      for (const std::int64_t group : {16, 48, 128, 20, 6})
        check_products({.bits = bits,
                        .grid = grid,
                        .granularity = Granularity::group,
                        .group_size = group,
                        .scale = ScaleType::f16},
                       4, 20 * group);
      check_products({.bits = bits,
                      .grid = grid,
                      .granularity = Granularity::group,
                      .group_size = 16,
                      .scale = ScaleType::bf16},
                     1, 16 * 300);  // more units than are converted at once
    }
  }
}

TEST_CASE("packed products look up a codebook at any length and group") {
  for (const std::int64_t cols : {7, 100, 768, 1100})
    check_products({.bits = 4, .grid = GridKind::nf4}, 6, cols);
  for (const std::int64_t group : {64, 16, 48, 20, 6})
    check_products({.bits = 4,
                    .grid = GridKind::nf4,
                    .granularity = Granularity::group,
                    .group_size = group,
                    .scale = ScaleType::f16},
                   5, 20 * group);
}

TEST_CASE("packed products look up the levels of every unit") {
  for (const int bits : {2, 3, 4}) {
    const Spec rows{.bits = bits, .grid = GridKind::learned};
    for (const std::int64_t cols : {7, 100, 768}) check_products(rows, 6, cols);
    for (const std::int64_t group : {64, 16, 48, 20, 6}) {
      Spec groups = rows;
      groups.granularity = Granularity::group;
      groups.group_size = group;
      check_products(groups, 5, 20 * group);
      const Matrix m = make(groups, 3, 20 * group, 9);
      const std::vector<real> expected = dequantize(m.q);
      std::vector<float> row(static_cast<std::size_t>(20 * group));
      for (const Isa isa : variants()) {
        for (std::size_t r = 0; r < 3; ++r) {
          dequantize_row(row, m.rows, static_cast<std::int64_t>(r), isa);
          CHECK(std::equal(row.begin(), row.end(),
                           expected.begin() + std::ptrdiff_t(r * row.size())));
        }
      }
    }
  }
}

TEST_CASE("a repacked row dequantizes to the same bits as the matrix") {
  for (const auto& [group, cols] : {std::pair<std::int64_t, std::size_t>{6, 42}, {32, 608}}) {
    for (const Spec& spec : all_specs(group)) {
      const Matrix m = make(spec, 3, static_cast<std::int64_t>(cols), 9);
      const std::vector<real> expected = dequantize(m.q);
      for (std::size_t r = 0; r < 3; ++r)
        for (const Isa isa : variants()) {
          INFO(name_of(spec) << ", variant " << static_cast<int>(isa));
          std::vector<float> row(cols);
          dequantize_row(row, m.rows, static_cast<std::int64_t>(r), isa);
          for (std::size_t k = 0; k < cols; ++k)
            REQUIRE(row[k] == static_cast<float>(expected[r * cols + k]));
        }
    }
  }
}

TEST_CASE("a packed product in groups equals the float product") {
  const Spec spec{.bits = 4, .granularity = Granularity::group, .group_size = 32};
  const Matrix m = make(spec, 40, 320, 3);
  const std::vector<real> w = dequantize(m.q), x = normal_matrix(3 * 320, 4);
  std::vector<real> expected(120);
  kernels::gemv(expected, x, w, {}, 3, 40, 320);
  const std::vector<float> xf(x.begin(), x.end());
  std::vector<float> out(120);
  packed_gemv(out.data(), 40, xf.data(), 320, 3, m.rows, nullptr, 0, 40);
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == static_cast<float>(expected[i]));
}

TEST_CASE("four bits fill repacked rows gapless in the documented layout") {
  CHECK(repacked_row_bytes(768, 4) == 384);
  CHECK(repacked_row_bytes(768, 2) == 192);
  CHECK(repacked_row_bytes(768, 6) == 576);
  CHECK(repacked_row_bytes(768, 8) == 768);
  CHECK(repacked_row_bytes(1, 3) == 64);
  // Code k = 16 j + l: bits 3 j … 3 j + 2 of lane l's string; code 10 of a lane crosses a word.
  std::vector<std::int8_t> codes(16 * 11, -4);
  codes[16 * 10 + 5] = 3;  // u = 7
  std::vector<std::uint8_t> row(128);
  repack_row(row, codes, 3, -4);
  std::uint32_t low = 0, high = 0;
  std::memcpy(&low, row.data() + 5 * 4, 4);
  std::memcpy(&high, row.data() + 64 + 5 * 4, 4);
  CHECK(low == 3u << 30);
  CHECK(high == 1u);
}

}  // namespace packed_test
