// Singular values of a matrix by Jacobi's rotations of its rows, in double.
//
// Hestenes 1958 (one-sided Jacobi): pairs of rows are rotated until all are orthogonal; their lengths
// then are the singular values. Each comes out with a small error relative to itself if the rows are
// scaled well (Demmel and Veselić 1992), where a method by the Gram matrix loses half of the digits.
// Rows, or columns, whichever are fewer: p vectors of q numbers take some ten sweeps of p² q / 2 · 6
// operations.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"

namespace notch::quant {

/// min(rows, cols) of them, largest first. Numeric error naming `where` for what is not finite. The
/// pairs of a round are disjoint, so the number of threads changes nothing. Parallel.
std::vector<double> singular_values(std::span<const real> A, std::int64_t rows, std::int64_t cols,
                                    std::string_view where);

/// Eigenvalues of a symmetric positive semidefinite matrix, largest first, and their vectors: rows of [n, n].
struct Eigenvectors {
  std::vector<double> values{}, vectors{};
};
/// Of A [n, n], by the same rotations of its rows, which leave λ_i v_iᵀ. The vector of a 0 is zeros. Errors
/// as above.
Eigenvectors eigenvectors_of(std::vector<double> A, std::int64_t n, std::string_view where);

/// Rows of V [p, n] made orthonormal, twice for the digits; what depends on those before becomes 0.
void orthonormalise(std::vector<double>& V, std::int64_t p, std::int64_t n);

/// The rank whose singular values hold this share of the energy Σ σ²: the least k with
/// Σ_{i<k} σ_i² >= share · Σ σ_i². 0 for a matrix of zeros.
std::int64_t rank_of_energy(std::span<const double> sigma, double share);

/// Where the spectrum bends: the k in 1 … n at which the point (k, σ_k) lies farthest below the line
/// from (1, σ_1) to (n, σ_n) ("kneedle", Satopää et al. 2011). Of a straight spectrum, n.
std::int64_t elbow(std::span<const double> sigma);

}  // namespace notch::quant
