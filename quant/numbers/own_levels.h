// Formats whose levels belong to the matrix (quant/numbers/format.h): how they follow from its weights, and
// the way to codes and back. choose_scales (ranges.h), quantize and dequantize (qtensor.h) call these.
//
//   learned   a unit has a list of 2^bits levels, its Scales::scales: those of least squared error
//   e8p       a word of eight codes is a point of E8P (quant/kernels/e8p.h) times the unit's scale
//   additive  likewise a sum of vectors of the matrix's codebooks (quant/numbers/additive_codes.h)
// A column's code is its two, three or four bits of the word, so that packed codes are the words, byte by byte.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/e8p.h"
#include "quant/kernels/grid.h"
#include "quant/numbers/additive_codes.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// Whether the spec's format has levels of its own.
bool has_own_levels(const Spec& spec);
/// Whether eight of its columns share a word.
bool has_words(const Spec& spec);

/// Scales, levels, codebooks from weights alone, by their squared error; where `column_weights` [cols] are
/// given, a learned level's errors count as its columns do. A lattice's scale is the best of thirteen from
/// 0.7 to 1.3 of the unit's root mean square; that of codebooks is the root mean square.
/// Numeric error naming `where` for a weight that is larger than the scale type can hold.
Scales choose_levels(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                     std::string_view where, std::span<const double> column_weights = {});

/// A matrix of the learned format: units of consecutive weights, and a list of levels of each.
struct LevelLists {
  std::int64_t units = 0, unit = 0, levels = 0;

  LevelLists(const Spec& spec, std::int64_t rows, std::int64_t cols);
  /// Those of a unit in all weights, and in all levels.
  template <class T>
  std::span<T> weights(std::span<T> all, std::int64_t u) const {
    return all.subspan(static_cast<std::size_t>(u * unit), static_cast<std::size_t>(unit));
  }
  template <class T>
  std::span<T> list(std::span<T> all, std::int64_t u) const {
    return all.subspan(static_cast<std::size_t>(u * levels), static_cast<std::size_t>(levels));
  }
  /// body(unit) in parallel, about 16,000 weights at a time.
  template <class Body>
  void for_units(const Body& body) const {
    const std::int64_t step = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, unit));
    parallel_for(quotient_up(units, step), [&](std::int64_t i) {
      for (std::int64_t u = i * step; u < std::min(units, (i + 1) * step); ++u) body(u);
    });
  }
};

/// The levels of one unit of the learned format as a grid with scale 1, codes from 0.
Grid unit_grid(const QTensor& q, std::int64_t unit);

/// Words to vectors and back, of one matrix.
class WordCoder {
 public:
  /// `codebooks` outlive it.
  WordCoder(const Spec& spec, std::span<const real> codebooks);
  Vector8 vector(std::uint32_t word) const;
  /// The word of the vector nearest to v; of codebooks as a beam of eight finds it.
  std::uint32_t nearest(const Vector8& v) const;

 private:
  std::optional<Codebooks> codebooks_{};
  std::optional<BeamSearch> search_{};
};

/// The word of eight codes, and the reverse.
std::uint32_t code_word(const std::int8_t* codes, int bits);
void put_word(std::int8_t* codes, std::uint32_t word, int bits);

/// q.codes for w, given q.at. Parallel.
void encode(QTensor& q, std::span<const real> w);
/// out [rows, cols]. Parallel.
void decode(const QTensor& q, std::span<real> out);

}  // namespace notch::quant
