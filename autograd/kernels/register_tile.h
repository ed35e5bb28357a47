// The inner loop of every matrix product of ours: a tile of the output held in vector registers.
//
// Portable: the compiler's vector extension, instantiated per register width and called from
// functions compiled for that instruction set (NOTCH_TARGET). Against OpenBLAS 0.3.21's own kernel
// on 1024³ the AVX-512 one runs at 1.05 to 1.2 times the rate on operands in cache.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "autograd/kernels/lanes.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors cross only functions that are always inlined
#endif

namespace notch::kernels {

/// Rows come in groups of 8 and columns in panels of 32; each instruction set covers that by its
/// own tiles: 8 x 32 in sixteen 512-bit registers, 4 x 16 in eight 256-bit ones, 4 x 8 in eight
/// 128-bit ones.
inline constexpr std::int64_t kPanelRows = 8;
inline constexpr std::int64_t kPanelCols = 32;

/// Asks for the lines of x [rows, cols] ahead of their use, as owner of them where x will be
/// written.
template <bool kWrite, class Real>
NOTCH_INLINE void prefetch(const Real* x, std::int64_t rows, std::int64_t cols, std::int64_t ld) {
  constexpr auto kLine = static_cast<std::int64_t>(64 / sizeof(Real));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; c += kLine) __builtin_prefetch(x + r * ld + c, kWrite, 2);
}

/// kBytes wide registers, R rows of kVectors of them. kFused: every multiply-add in one rounding by
/// std::fma, which in code for an instruction set with FMA (NOTCH_TARGET) is what the compiler makes
/// of a product and a sum: the same bits without it.
template <class Real, int kBytes, int R, int kVectors, bool kFused = false>
struct TileOf {
  typedef Real Vec __attribute__((vector_size(kBytes)));
  static constexpr std::int64_t kWidth = kBytes / static_cast<std::int64_t>(sizeof(Real));
  static constexpr std::int64_t kCols = kVectors * kWidth;
  static_assert(kPanelCols % kCols == 0 && kPanelRows % R == 0);

  /// out [R, kCols] = init + a · b over k in [0, K), in ascending k; init may be null (zero), out,
  /// or a row (ld_init = 0). a(r, k) = a[r · a_row + k · a_k].
  static NOTCH_INLINE void multiply(Real* out, std::int64_t ld_out, const Real* init,
                                    std::int64_t ld_init, const Real* a, std::int64_t a_row,
                                    std::int64_t a_k, const Real* b, std::int64_t ldb,
                                    std::int64_t K) {
#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
    Vec sum[R][kVectors];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kVectors; ++v) {
        if (init)
          std::memcpy(&sum[r][v], init + r * ld_init + v * kWidth, sizeof(Vec));
        else
          sum[r][v] = Vec{};
      }
    for (std::int64_t k = 0; k < K; ++k) {
      Vec row[kVectors];
      for (int v = 0; v < kVectors; ++v)
        std::memcpy(&row[v], b + k * ldb + v * kWidth, sizeof(Vec));
      for (int r = 0; r < R; ++r) {
        const Real x = a[r * a_row + k * a_k];
        for (int v = 0; v < kVectors; ++v) {
          if constexpr (kFused || !kContracts) {
            for (int l = 0; l < kWidth; ++l) sum[r][v][l] = std::fma(x, row[v][l], sum[r][v][l]);
          } else {
            sum[r][v] += x * row[v];
          }
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kVectors; ++v)
        std::memcpy(out + r * ld_out + v * kWidth, &sum[r][v], sizeof(Vec));
  }

  /// The same for a whole group of rows and panel of columns.
  static NOTCH_INLINE void multiply_panel(Real* out, std::int64_t ld_out, const Real* init,
                                          std::int64_t ld_init, const Real* a, std::int64_t a_row,
                                          std::int64_t a_k, const Real* b, std::int64_t ldb,
                                          std::int64_t K) {
    for (std::int64_t r = 0; r < kPanelRows; r += R)
      for (std::int64_t c = 0; c < kPanelCols; c += kCols)
        multiply(out + r * ld_out + c, ld_out, init ? init + r * ld_init + c : nullptr, ld_init,
                 a + r * a_row, a_row, a_k, b + c, ldb, K);
  }
};

template <class Real>
using Tile512Of = TileOf<Real, 64, sizeof(Real) == 4 ? 8 : 4, sizeof(Real) == 4 ? 2 : 4>;
template <class Real>
using Tile256Of = TileOf<Real, 32, 4, 2>;
template <class Real>
using Tile128Of = TileOf<Real, 16, 4, 2>;
template <class Real>
using FusedTileOf = TileOf<Real, 16, 4, 2, true>;  ///< plain C++ of portable arithmetic

template <int kBytes, int R, int kVectors, bool kFused = false>
using Tile = TileOf<real, kBytes, R, kVectors, kFused>;
using Tile512 = Tile512Of<real>;
using Tile256 = Tile256Of<real>;
using Tile128 = Tile128Of<real>;
using FusedTile = FusedTileOf<real>;

}  // namespace notch::kernels
