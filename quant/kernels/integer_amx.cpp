// Integer products with AMX: tdpbusd multiplies 16 tokens x 64 inputs by 64 inputs x 16 channels.
//
// Eight tile registers: sums of 2 x 2 tiles (0..3), two of activations (4, 5), two of weights (6,
// 7), whose layout is that of the packed panels. The sums go through memory to the vector
// registers. Permission to use the registers: autograd/base/cpu.h.
#include "quant/kernels/integer_tile.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define NOTCH_AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,prfchw")))

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr Index kTile = 16;  // rows of a tile, tokens or channels

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// Tiles for `low` and `high` tokens (1 .. 16, 0 .. 16) and `step` inputs. A tile without rows is
/// given one: it may not be used then.
NOTCH_AMX void configure(Index low, Index high, Index step) {
  TileConfig config;
  const auto set = [&config](int tile, Index rows, Index bytes) {
    config.rows[tile] = static_cast<std::uint8_t>(rows);
    config.row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  };
  const Index heights[2] = {low, std::max<Index>(high, 1)};
  for (int i = 0; i < 2; ++i) {
    set(2 * i, heights[i], 64);
    set(2 * i + 1, heights[i], 64);
    set(4 + i, heights[i], step);
    set(6 + i, step / 4, 64);
  }
  // GCC 12's _tile_loadconfig names only the first eight bytes as read, and the rest is optimised
  // away.
  asm volatile("ldtilecfg %0" : : "m"(config));
}

/// Σ qx qw of one unit: sums[tokens][panels]. kHigh: more than 16 tokens; kPair: two panels.
template <bool kHigh, bool kPair>
NOTCH_AMX void dot(Uint16 (*sums)[2], const std::uint8_t* x, Index stride, const std::int8_t* w,
                   Index panel_codes, Index steps, Index step) {
  _tile_zero(0);
  if constexpr (kPair) _tile_zero(1);
  if constexpr (kHigh) _tile_zero(2);
  if constexpr (kHigh && kPair) _tile_zero(3);
  for (Index i = 0; i < steps; ++i, x += step, w += step * kPanel) {
    _tile_loadd(6, w, 64);
    _tile_loadd(4, x, stride);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kPair) {
      _tile_loadd(7, w + panel_codes, 64);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (kHigh) {
      _tile_loadd(5, x + kTile * stride, stride);
      _tile_dpbusd(2, 5, 6);
      if constexpr (kPair) _tile_dpbusd(3, 5, 7);
    }
  }
  constexpr Index kRowBytes = 2 * sizeof(Uint16);
  _tile_stored(0, &sums[0][0], kRowBytes);
  if constexpr (kPair) _tile_stored(1, &sums[0][1], kRowBytes);
  if constexpr (kHigh) _tile_stored(2, &sums[kTile][0], kRowBytes);
  if constexpr (kHigh && kPair) _tile_stored(3, &sums[kTile][1], kRowBytes);
}

/// Up to 32 tokens times one or two panels.
template <bool kHigh, bool kPair>
NOTCH_AMX void tile(const IntegerProduct& p, Index row, Index rows, Index panel) {
  constexpr int P = kPair ? 2 : 1;
  const IntegerShape& s = p.w.shape;
  const Index stride = s.row_codes(), padded = s.padded_unit(), units = s.units();
  const Index panel_codes = stride * kPanel;
  const std::uint8_t* const x = p.codes + row * stride;
  const std::int8_t* const w = p.w.panels + panel * panel_codes;
  for (Index r = 0; r < rows; ++r)
    for (int q = 0; q < P; ++q)
      __builtin_prefetch(p.out + (row + r) * s.N + (panel + q) * kPanel, 1);
  bool one_zero_point = true;
  for (Index r = 1; r < rows; ++r) one_zero_point &= p.zero_points[row + r] == p.zero_points[row];
  Uint16 sums[2 * kTile][2];
  Float16 totals[2 * kTile][2];
  if (s.group > 0) std::memset(&totals, 0, sizeof totals);
  for (Index u = 0; u < units; ++u) {
    dot<kHigh, kPair>(sums, x + u * padded, stride, w + u * padded * kPanel, panel_codes, s.steps(),
                      s.step());
    for (int q = 0; q < P; ++q) {
      UnitTables tables;
      load_unit(tables, p.w, panel + q, u);
      Uint16 start, acc;
      start_unit(start, tables, p.zero_points[row]);
      for (Index r = 0; r < rows; ++r) {
        if (!one_zero_point) start_unit(start, tables, p.zero_points[row + r]);
        acc = sums[r][q] + start;
        add_unit(totals[r][q], acc, tables, codes_sum_of(p, row + r, u), s.group > 0);
      }
    }
  }
  for (Index r = 0; r < rows; ++r)
    for (int q = 0; q < P; ++q) finish(p, totals[r][q], row + r, panel + q);
}

template <bool kHigh>
NOTCH_AMX void panels(const IntegerProduct& p, Index row, Index rows, Index first, Index last) {
  for (; first + 2 <= last; first += 2) tile<kHigh, true>(p, row, rows, first);
  if (first < last) tile<kHigh, false>(p, row, rows, first);
}

}  // namespace

NOTCH_AMX void integer_block_amx(const IntegerProduct& p, Index row, Index rows, Index first,
                                 Index last) {
  const Index step = p.w.shape.step();
  const Index whole = rows / (2 * kTile) * (2 * kTile), rest = rows - whole;
  if (whole > 0) {
    configure(kTile, kTile, step);
    for (Index i = 0; i < whole; i += 2 * kTile) panels<true>(p, row + i, 2 * kTile, first, last);
  }
  if (rest > 0) {
    configure(std::min(rest, kTile), rest - kTile, step);
    if (rest > kTile)
      panels<true>(p, row + whole, rest, first, last);
    else
      panels<false>(p, row + whole, rest, first, last);
  }
  _tile_release();
}

}  // namespace notch::quant

#endif
