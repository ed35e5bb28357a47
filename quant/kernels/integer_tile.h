// What the integer kernels share: the description of one product, and the arithmetic after the
// integer sums, written once so that it cannot differ between instruction sets.
//
// Vectors of 16 lanes are the compiler's vector extension: one register where the calling function
// is compiled for AVX-512, two for AVX2, four otherwise. Contraction is off in the whole build.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "quant/kernels/integer_linear.h"

#define NOTCH_TILE_INLINE __attribute__((always_inline)) inline

namespace notch::quant {

inline constexpr std::int64_t kPanel = IntegerShape::kPanel;
/// Panels that a kernel multiplies together at most: a task has whole runs of them.
inline constexpr std::int64_t kTogether = 4;

/// One call of integer_linear; sizes have been checked.
struct IntegerProduct {
  float* out = nullptr;                       // [M, N]
  const std::uint8_t* codes = nullptr;        // [M, row_codes]
  const float* scales = nullptr;              // [M]
  const std::uint8_t* zero_points = nullptr;  // [M]
  const std::int32_t* sums = nullptr;         // [M, units] where weights have zero points
  const float* bias = nullptr;                // [N] or null
  PackedWeights w{};
};

/// Computes rows [row, row + rows) of panels [first, last).
using IntegerBlock = void (*)(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                              std::int64_t first, std::int64_t last);
void integer_block_portable(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                            std::int64_t first, std::int64_t last);
void integer_block_avx2(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                        std::int64_t first, std::int64_t last);
void integer_block_avx_vnni(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                            std::int64_t first, std::int64_t last);
void integer_block_avx512_vnni(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                               std::int64_t first, std::int64_t last);
void integer_block_amx(const IntegerProduct& p, std::int64_t row, std::int64_t rows,
                       std::int64_t first, std::int64_t last);

typedef std::int32_t Int16 __attribute__((vector_size(64)));
typedef std::uint32_t Uint16 __attribute__((vector_size(64)));
typedef float Float16 __attribute__((vector_size(64)));

// Vectors are passed by reference only: by value their ABI would depend on the caller's target.
template <class Vector, class Element>
NOTCH_TILE_INLINE void load16(Vector& to, const Element* from) {
  std::memcpy(&to, from, sizeof to);
}

/// What one unit of one panel needs beside its codes.
struct UnitTables {
  Float16 scales = {};
  Uint16 sums = {};
  Uint16 zero_points = {};
  bool has_zero_points = false;
};
NOTCH_TILE_INLINE void load_unit(UnitTables& tables, const PackedWeights& w, std::int64_t panel,
                                 std::int64_t unit) {
  const std::int64_t at = (panel * w.shape.units() + unit) * kPanel;
  load16(tables.scales, w.scales + at);
  load16(tables.sums, w.sums + at);
  tables.has_zero_points = w.shape.zero_points;
  if (tables.has_zero_points) load16(tables.zero_points, w.zero_points + at);
}

/// acc = -zx Σ(qw - zw): where the sum of a unit starts. Unsigned, because parts of a sum may wrap
/// around where the sum itself (integer_linear.h's validate) does not.
NOTCH_TILE_INLINE void start_unit(Uint16& acc, const UnitTables& tables, std::uint8_t zx) {
  acc = tables.sums * (Uint16{} - zx);
}

/// Adds one unit to a token's 16 outputs: acc = Σ qx qw - zx Σ(qw - zw), still without the weights'
/// zero points; *codes_sum = Σ qx.
NOTCH_TILE_INLINE void add_unit(Float16& sum, const Uint16& acc, const UnitTables& tables,
                                const std::int32_t* codes_sum, bool groups) {
  Uint16 exact = acc;
  if (tables.has_zero_points) exact -= tables.zero_points * static_cast<std::uint32_t>(*codes_sum);
  const Float16 term = __builtin_convertvector((Int16)exact, Float16) * tables.scales;
  sum = groups ? sum + term : term;
}

/// Where a panel's 16 columns go.
struct PanelOutput {
  float* out;          // of token 0
  std::int64_t N;      // distance between tokens
  std::int64_t width;  // 16, less in the last panel
  const float* bias;   // of the first column, or null
  Float16 all_bias = {};
};
NOTCH_TILE_INLINE void load_output(PanelOutput& o, const IntegerProduct& p, std::int64_t panel) {
  const std::int64_t N = p.w.shape.N, first = panel * kPanel;
  o.out = p.out + first;
  o.N = N;
  o.width = std::min(kPanel, N - first);
  o.bias = p.bias ? p.bias + first : nullptr;
  if (o.bias && o.width == kPanel) load16(o.all_bias, o.bias);
}

/// y = fl(fl(sum · sx) + b) for token t.
NOTCH_TILE_INLINE void finish(const PanelOutput& o, const Float16& sum, std::int64_t t, float sx) {
  float* const out = o.out + t * o.N;
  Float16 y = sum * sx;
  if (o.width == kPanel) {
    if (o.bias) y = y + o.all_bias;
    std::memcpy(out, &y, sizeof y);
  } else {
    for (std::int64_t i = 0; i < o.width; ++i) out[i] = o.bias ? y[i] + o.bias[i] : y[i];
  }
}

/// Σ of the token's codes in the unit, where the weights need it.
NOTCH_TILE_INLINE const std::int32_t* codes_sum_of(const IntegerProduct& p, std::int64_t t,
                                                   std::int64_t unit) {
  return p.sums ? p.sums + t * p.w.shape.units() + unit : nullptr;
}

}  // namespace notch::quant
