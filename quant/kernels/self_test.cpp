#include "quant/kernels/self_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/large_block.h"
#include "autograd/base/names.h"
#include "autograd/base/rng.h"
#include "quant/kernels/narrow_linear.h"
#include "quant/kernels/packed.h"
#include "quant/kernels/quantize_rows.h"

namespace notch::quant {
namespace {

using Floats = std::vector<float>;

std::size_t size(Index n) { return static_cast<std::size_t>(n); }

/// A random product; x and the weights in the plain layout.
struct Product {
  IntegerShape shape{};
  Index M = 0;
  int qmin = 0, step = 1;
  StoredScale type = StoredScale::f32;
  RowGrid grid{};
  Floats x{}, bias{}, scales{};
  std::vector<std::int8_t> codes{}, zeros{};
  std::vector<std::uint8_t> stored{};  // scales

  std::string text() const {
    return str("[", M, ", ", shape.K, "] by [", shape.N, ", ", shape.K, "], ", shape.bits,
               step == 2 ? " bits of odd codes" : " bits", ", groups of ", shape.unit(),
               shape.zero_points ? ", zero points" : "");
  }
};

Index pick(Rng& rng, Index lowest, Index highest) {
  return lowest + static_cast<Index>(rng.below(static_cast<std::uint64_t>(highest - lowest + 1)));
}

/// `odd`: codes may be the odd numbers about 0, without zero points.
Product random_product(Rng& rng, int bits, bool odd = false) {
  Product p{.M = pick(rng, 1, 20), .qmin = -(1 << (bits - 1)), .type = StoredScale(rng.below(3))};
  const Index unit = pick(rng, 1, 2) == 1 ? 16 * pick(rng, 1, 9) : pick(rng, 1, 150);
  const Index units = pick(rng, 0, 3);  // 0: a scale per row
  p.shape = {.N = pick(rng, 1, 70),
             .K = unit * std::max<Index>(units, 1),
             .group = units > 0 ? unit : 0,
             .zero_points = rng.below(2) == 1,
             .bits = bits};
  if (rng.below(2) == 1) p.grid = {.qmin = -128, .qmax = 127, .asymmetric = true};
  if (odd && bits <= 4 && rng.below(2) == 1) {
    p.step = 2;
    p.qmin = 1 - (1 << bits);
    p.shape.zero_points = false;
  }
  const auto code = [&] {
    return static_cast<std::int8_t>(p.qmin + p.step * static_cast<int>(rng.below(1u << bits)));
  };
  for (Index i = 0; i < p.M * p.shape.K; ++i)
    p.x.push_back(static_cast<float>(rng.normal()) * (rng.below(50) == 0 ? 30.0f : 1.0f));
  for (Index i = 0; i < p.shape.N * p.shape.K; ++i) p.codes.push_back(code());
  for (Index i = 0; i < p.shape.N; ++i) p.bias.push_back(static_cast<float>(rng.normal()));
  for (Index i = 0; i < p.shape.N * p.shape.units(); ++i) {
    const auto scale = static_cast<float>(0.01 + 0.1 * rng.uniform());
    const bool whole = p.type == StoredScale::f32;
    const std::uint16_t half = p.type == StoredScale::f16 ? to_f16(scale) : to_bf16(scale);
    p.scales.push_back(whole                        ? scale
                       : p.type == StoredScale::f16 ? from_f16(half)
                                                    : from_bf16(half));
    const std::size_t bytes = whole ? sizeof scale : sizeof half;
    p.stored.resize(p.stored.size() + bytes);
    std::memcpy(p.stored.data() + p.stored.size() - bytes,
                whole ? static_cast<const void*>(&scale) : &half, bytes);
    if (p.shape.zero_points) p.zeros.push_back(code());
  }
  return p;
}

/// A token's codes with their memory.
struct Codes {
  explicit Codes(const Product& p)
      : bytes(size(p.M * p.shape.row_codes())),
        zeros(size(p.M)),
        scales(size(p.M)),
        sums(size(p.M * p.shape.units())) {
    quantize_rows({bytes, scales, zeros, sums}, {}, p.x, p.M, p.shape, p.grid);
  }
  std::vector<std::uint8_t> bytes, zeros;
  Floats scales;
  std::vector<std::int32_t> sums;
};

std::span<std::byte> memory_of(LargeBlock& block, Index bytes) {
  block = allocate_large(size(bytes));
  std::fill_n(block.get(), bytes, std::byte{0});
  return {block.get(), size(bytes)};
}

template <class T>
std::span<const T> rows_of(const std::vector<T>& v, Index all, Index first, Index n) {
  const Index each = std::ssize(v) / all;
  return std::span(v).subspan(size(first * each), size(n * each));
}

Floats integer_product(const Product& p, IntegerKernel kernel) {
  Codes x(p);
  LargeBlock block;
  Floats out(size(p.M * p.shape.N));
  if (p.shape.bits == 8) {
    const PackedWeights w = lay_out(p.shape, memory_of(block, packed_bytes(p.shape)));
    pack(w, p.codes, p.scales, p.zeros);
    integer_linear(out, {x.bytes, x.scales, x.zeros, x.sums}, w, p.bias, p.M, kernel);
    return out;
  }
  NarrowWeights w{.shape = p.shape, .qmin = p.qmin, .step = p.step, .scale = p.type};
  w.memory = reinterpret_cast<std::uint8_t*>(memory_of(block, w.bytes()).data());
  for (Index panel = 0; panel < p.shape.panels(); ++panel) {
    const Index N = p.shape.N, first = panel * IntegerShape::kPanel;
    const Index n = std::min(IntegerShape::kPanel, N - first);
    pack_narrow_panel(w, panel, rows_of(p.codes, N, first, n), rows_of(p.stored, N, first, n),
                      rows_of(p.zeros, N, first, n));
  }
  narrow_linear(out, {x.bytes, x.scales, x.zeros, x.sums}, w, p.bias, p.M, kernel);
  return out;
}

/// `levels`: a codebook's, or null.
Floats lanes_product(const Product& p, const float* levels, Isa isa) {
  const Index K = p.shape.K, N = p.shape.N, ld = (K + 15) / 16 * 16;
  const Index bytes = repacked_row_bytes(K, p.shape.bits);
  LargeBlock block;
  const std::span<std::byte> memory = memory_of(block, N * bytes);
  auto* const codes = reinterpret_cast<std::uint8_t*>(memory.data());
  for (Index r = 0; r < N; ++r)
    repack_row({codes + r * bytes, size(bytes)}, rows_of(p.codes, N, r, 1), p.shape.bits, p.qmin);
  const PackedRows w{.codes = codes,
                     .scales = reinterpret_cast<const std::byte*>(p.stored.data()),
                     .zeros = levels || p.zeros.empty() ? nullptr : p.zeros.data(),
                     .levels = levels,
                     .scale = p.type,
                     .bits = p.shape.bits,
                     .qmin = p.qmin,
                     .rows = N,
                     .cols = K,
                     .unit = p.shape.unit()};
  Floats x(size(p.M * ld)), out(size(p.M * N));
  for (Index m = 0; m < p.M; ++m) std::copy_n(p.x.data() + m * K, K, x.data() + m * ld);
  packed_gemv(out.data(), N, x.data(), ld, p.M, w, p.bias.data(), 0, N, isa);
  return out;
}

/// quantize_rows.h's formula, value by value.
bool rounds_as_defined(const Product& p) {
  const Codes x(p);
  const IntegerShape& s = p.shape;
  for (Index t = 0; t < p.M; ++t) {
    const float scale = x.scales[size(t)];
    const int offset = s.code_offset();
    const auto signed_code = [&](std::uint8_t stored) {
      return offset == 0 ? int{static_cast<std::int8_t>(stored)} : stored - offset;
    };
    const int zero = signed_code(x.zeros[size(t)]);
    for (Index k = 0; k < s.K; ++k) {
      const float v = std::nearbyint(p.x[size(t * s.K + k)] / scale) + static_cast<float>(zero);
      const int q = static_cast<int>(
          std::clamp(v, static_cast<float>(p.grid.qmin), static_cast<float>(p.grid.qmax)));
      const Index at = t * s.row_codes() + k / s.unit() * s.padded_unit() + k % s.unit();
      if (signed_code(x.bytes[size(at)]) != q) return false;
    }
  }
  return true;
}

bool equal_bits(const Floats& a, const Floats& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void compare(KernelTrial& trial, const Product& p, const Floats& expected, const Floats& found) {
  ++trial.products;
  if (trial.difference.empty() && !equal_bits(expected, found)) trial.difference = p.text();
}

}  // namespace

std::vector<KernelTrial> try_kernels(std::int64_t products, std::uint64_t seed) {
  KernelTrial rounding{.kernel = "rounding of activations"};
  std::vector<KernelTrial> integer, narrow, lanes;
  for (const std::string_view name : words_of<IntegerKernel>()) {
    integer.push_back({.kernel = str("integer ", name)});
    narrow.push_back({.kernel = str("narrow ", name)});
  }
  for (const std::string_view name : words_of<Isa>())
    lanes.push_back({.kernel = str("lanes ", name)});
  Rng rng(seed, 18);
  for (Index i = 0; i < products; ++i) {
    const Product wide = random_product(rng, 8);
    const Product few_bits = random_product(rng, static_cast<int>(pick(rng, 1, 7)), true);
    const Product any = random_product(rng, static_cast<int>(pick(rng, 2, 8)));
    const Product listed = random_product(rng, 4);
    Floats levels;
    for (int l = 0; l < kMostLevels; ++l) levels.push_back(static_cast<float>(rng.normal()));

    ++rounding.products;
    if (rounding.difference.empty() && !rounds_as_defined(wide)) rounding.difference = wide.text();
    const Floats wide_y = integer_product(wide, IntegerKernel::portable);
    const Floats narrow_y = integer_product(few_bits, IntegerKernel::portable);
    for (std::size_t k = 1; k < integer.size(); ++k) {
      const auto kernel = static_cast<IntegerKernel>(k);
      if (!available(kernel)) continue;
      compare(integer[k], wide, wide_y, integer_product(wide, kernel));
      if (kernel != IntegerKernel::amx)
        compare(narrow[k], few_bits, narrow_y, integer_product(few_bits, kernel));
    }
    const Floats lanes_y = lanes_product(any, nullptr, Isa::portable);
    const Floats listed_y = lanes_product(listed, levels.data(), Isa::portable);
    for (std::size_t k = 1; k <= static_cast<std::size_t>(best_isa()); ++k) {
      const auto isa = static_cast<Isa>(k);
      compare(lanes[k], any, lanes_y, lanes_product(any, nullptr, isa));
      compare(lanes[k], listed, listed_y, lanes_product(listed, levels.data(), isa));
    }
  }
  std::vector<KernelTrial> all{rounding};
  for (auto* each : {&integer, &narrow, &lanes})
    for (KernelTrial& trial : *each)
      if (trial.products > 0) all.push_back(std::move(trial));
  return all;
}

}  // namespace notch::quant
