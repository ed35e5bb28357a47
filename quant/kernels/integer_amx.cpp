// Integer products with AMX: tdpbusd multiplies 16 tokens x 64 inputs by 64 inputs x 16 channels.
//
// Eight tile registers: sums of 2 x 2 tiles (0..3), two of activations (4, 5), two of weights (6,
// 7), whose layout is that of the packed panels. The sums go through memory to the vector
// registers. Permission to use the registers: autograd/base/cpu.h.
#include "quant/kernels/integer_tile.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "autograd/base/index.h"

#define NOTCH_AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,prfchw")))

namespace notch::quant {
namespace {

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

/// Σ qx qw of one unit: sums[panels][tokens]. kHigh: more than 16 tokens; kPair: two panels.
template <bool kHigh, bool kPair>
NOTCH_AMX void dot(Uint16 (*sums)[2 * kTile], const std::uint8_t* x, Index stride,
                   const std::int8_t* w, Index panel_codes, Index steps, Index step) {
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
  _tile_stored(0, &sums[0][0], sizeof(Uint16));
  if constexpr (kPair) _tile_stored(1, &sums[1][0], sizeof(Uint16));
  if constexpr (kHigh) _tile_stored(2, &sums[0][kTile], sizeof(Uint16));
  if constexpr (kHigh && kPair) _tile_stored(3, &sums[1][kTile], sizeof(Uint16));
}

/// One unit of up to 32 tokens and one panel from its integer sums to the output, with groups to
/// `totals` and after the last one to the output. kSimple: all tokens have one zero point, and the
/// weights have none; a test per row costs more than its arithmetic.
template <bool kGroups, bool kSimple>
NOTCH_AMX void add_sums(const IntegerProduct& p, Float16* totals, const Uint16* sums, Index row,
                        Index rows, Index panel, Index unit) {
  UnitTables tables;
  load_unit(tables, p.w, panel, unit);
  if constexpr (kSimple) tables.has_zero_points = false;
  PanelOutput output;
  load_output(output, p, panel);
  Uint16 start, acc;
  start_unit(start, tables, p.zero_points[row]);
  for (Index r = 0; r < rows; ++r) {
    if constexpr (!kSimple) start_unit(start, tables, p.zero_points[row + r]);
    acc = sums[r] + start;
    Float16 sum = {};
    if constexpr (kGroups) sum = totals[r];
    add_unit(sum, acc, tables, codes_sum_of(p, row + r, unit), kGroups);
    if constexpr (kGroups)
      totals[r] = sum;
    else
      finish(output, sum, row + r, p.scales[row + r]);
  }
  if constexpr (kGroups) {
    if (unit + 1 < p.w.shape.units()) return;
    for (Index r = 0; r < rows; ++r) {
      finish(output, totals[r], row + r, p.scales[row + r]);
      totals[r] = Float16{};
    }
  }
}

using AddSums = void (*)(const IntegerProduct& p, Float16* totals, const Uint16* sums, Index row,
                         Index rows, Index panel, Index unit);

AddSums choose_add_sums(const IntegerProduct& p, Index row, Index rows) {
  bool simple = !p.w.shape.zero_points;
  for (Index r = 1; r < rows; ++r) simple &= p.zero_points[row + r] == p.zero_points[row];
  if (p.w.shape.group > 0) return simple ? add_sums<true, true> : add_sums<true, false>;
  return simple ? add_sums<false, true> : add_sums<false, false>;
}

/// Up to 32 tokens times panels [first, last), P at a time. The integer sums of the next unit are
/// begun before those of this one are used: tile and vector instructions then run side by side.
template <bool kHigh, int P>
NOTCH_AMX void strip(const IntegerProduct& p, Index row, Index rows, Index first, Index last) {
  const IntegerShape& s = p.w.shape;
  const Index stride = s.row_codes(), padded = s.padded_unit(), units = s.units();
  const Index count = (last - first) / P * units;
  const AddSums add_sums_of = choose_add_sums(p, row, rows);
  Uint16 sums[2][2][2 * kTile];  // of two units; of two panels
  Float16 totals[2][2 * kTile] = {};
  for (Index i = 0; i <= count; ++i) {
    if (i < count) {
      const Index panel = first + i / units * P, u = i % units;
      if (u == 0)
        for (Index r = 0; r < rows; ++r)
          for (int q = 0; q < P; ++q)
            __builtin_prefetch(p.out + (row + r) * s.N + (panel + q) * kPanel, 1);
      dot<kHigh, P == 2>(sums[i % 2], p.codes + row * stride + u * padded, stride,
                         p.w.panels + (panel * stride + u * padded) * kPanel, stride * kPanel,
                         s.steps(), s.step());
    }
    if (i > 0) {
      const Index panel = first + (i - 1) / units * P, u = (i - 1) % units;
      const Index before = (i - 1) % 2;
      for (int q = 0; q < P; ++q)
        add_sums_of(p, totals[q], sums[before][q], row, rows, panel + q, u);
    }
  }
}

template <bool kHigh>
NOTCH_AMX void panels(const IntegerProduct& p, Index row, Index rows, Index first, Index last) {
  const Index pairs_end = first + (last - first) / 2 * 2;
  strip<kHigh, 2>(p, row, rows, first, pairs_end);
  strip<kHigh, 1>(p, row, rows, pairs_end, last);
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
