// Additive codebooks: eight columns of a row are a sum of vectors, one from each of several codebooks.
// AQLM, Egiazarian et al. 2024 (arXiv:2401.06118).
//
//   w[8k … 8k + 7] ≈ scale · Σ_m codebook_m[c_m]
// The codes c_1, c_2, … make up a word, the first in its lowest bits. A matrix of kManyWeights has `bits`
// codebooks of 256 vectors and codes of 8 bits: they take a quarter of the bytes of its words, of a larger
// one less. A smaller matrix has twice as many codebooks of 16 vectors and codes of 4 bits. Either way a
// word takes `bits` bytes. The numbers of codebooks are float16.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/format.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

using Vector8 = std::array<real, kWordColumns>;

struct Codebooks {
  std::int64_t books = 0, entries = 0;
  std::span<const real> values{};  ///< [books, entries, 8]

  /// The codebooks of a matrix with such a spec; `all`: their numbers.
  Codebooks(const Spec& spec, std::span<const real> all);
  Codebooks(std::int64_t n, std::int64_t each, std::span<const real> all)
      : books(n), entries(each), values(all) {}

  int code_bits() const { return entries == 256 ? 8 : 4; }
  const real* vector(std::int64_t book, std::int64_t code) const {
    return values.data() + (book * entries + code) * kWordColumns;
  }
  std::int64_t code_of(std::uint32_t word, std::int64_t book) const {
    return static_cast<std::int64_t>(word >> (book * code_bits())) & (entries - 1);
  }
  /// Σ_m codebook_m[c_m], added in the order of m.
  Vector8 sum(std::uint32_t word) const;
};

/// Words for vectors by a beam search: codebook after codebook, of all sums so far with all of its vectors
/// the `width` best are kept.
class BeamSearch {
 public:
  using Target = std::array<double, kWordColumns>;

  /// Errors are (v - t) A (v - t)ᵀ, A = `metric` [8, 8] symmetric, positive semidefinite; empty: I.
  BeamSearch(const Codebooks& codebooks, std::span<const double> metric, int width);
  /// The best word found for t.
  std::uint32_t nearest(const Target& t) const;

 private:
  std::int64_t books_, entries_;
  int code_bits_, width_;
  std::vector<double> vectors_;   ///< [books, 8, entries]
  std::vector<double> products_;  ///< A c, [books, 8, entries]
  std::vector<double> own_;       ///< c A cᵀ [books, entries]
};

/// First codebooks for vectors [n, 8] of a matrix with such a spec, by residual k-means: the first by k-means of the
/// vectors, the next of what is left when the nearest is taken away. Of at most 16,384 of the vectors.
std::vector<real> residual_codebooks(std::span<const real> vectors, const Spec& spec,
                                     std::int64_t rows, std::int64_t cols);

}  // namespace notch::quant
