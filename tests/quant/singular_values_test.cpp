// Singular values of matrices whose singular values are known, and what rank and elbow say of them.
#include "quant/kernels/singular_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/base/thread_pool.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace singular_values_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

using Doubles = std::vector<double>;

/// The orthogonal matrix of the discrete cosine transform, DCT-II: row k, column i.
double cosine(std::int64_t n, std::int64_t k, std::int64_t i) {
  return std::sqrt((k == 0 ? 1.0 : 2.0) / double(n)) *
         std::cos(std::numbers::pi * double(k) * (double(i) + 0.5) / double(n));
}

/// Σ_k sigma_k u_k v_kᵀ [rows, cols] with the cosines as u and v.
std::vector<real> with_spectrum(const Doubles& sigma, std::int64_t rows, std::int64_t cols) {
  std::vector<real> A;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (std::int64_t k = 0; k < std::ssize(sigma); ++k)
        sum += sigma[std::size_t(k)] * cosine(rows, k, r) * cosine(cols, k, c);
      A.push_back(static_cast<real>(sum));
    }
  }
  return A;
}

TEST_CASE("singular values of orthogonal and diagonal matrices") {
  for (const std::int64_t n : {1, 2, 7, 32}) {
    const std::vector<real> A = with_spectrum(Doubles(std::size_t(n), 1.0), n, n);
    for (const double s : singular_values(A, n, n, "t")) CHECK(s == Approx(1).epsilon(1e-6));
  }
  const std::vector<real> A{0, -3, 0, 0, 0, 0, 0.5f, 0, 2, 0, 0, 0};  // [3, 4]
  CHECK(singular_values(A, 3, 4, "t") == Doubles{3, 2, 0.5});
  CHECK(singular_values(A, 4, 3, "t").size() == 3);
}

TEST_CASE("a matrix made of its singular values gives them back") {
  for (const auto& [rows, cols] : {std::pair{24, 40}, {40, 24}, {31, 31}}) {
    Doubles sigma;
    for (int k = 0; k < std::min(rows, cols); ++k) sigma.push_back(3 * std::pow(0.8, k));
    const std::vector<real> A = with_spectrum(sigma, rows, cols);
    const Doubles got = singular_values(A, rows, cols, "t");
    REQUIRE(got.size() == sigma.size());
    // Rounding the matrix to float moves each by at most the norm of what it rounds off (Weyl).
    for (std::size_t k = 0; k < got.size(); ++k) CHECK(got[k] == Approx(sigma[k]).margin(2e-6));
  }
}

TEST_CASE("a matrix of rank 3 has three singular values") {
  const Doubles sigma{5, 2, 0.25};
  const std::vector<real> A = with_spectrum(sigma, 20, 12);
  const Doubles got = singular_values(A, 20, 12, "t");
  for (std::size_t k = 0; k < got.size(); ++k)
    CHECK(got[k] == Approx(k < 3 ? sigma[k] : 0).margin(3e-6));
  // Equal rows are of rank 1 without any rounding.
  std::vector<real> equal;
  for (int i = 0; i < 24; ++i) equal.push_back(static_cast<real>(1 + i % 6));
  const Doubles one = singular_values(equal, 4, 6, "t");
  CHECK(one[0] == Approx(std::sqrt(4 * 91.0)).epsilon(1e-12));
  for (std::size_t k = 1; k < 4; ++k) CHECK(one[k] < 1e-14);
  CHECK(singular_values(std::vector<real>(12, real{0}), 3, 4, "t") == Doubles(3, 0.0));
}

TEST_CASE("Hilbert's matrix of 5 rows, rounded to float") {
  // Roots of the characteristic polynomial of what float32 holds of 1/(i + j + 1): exact fractions, then
  // bisection with 60 digits. (The matrix is symmetric and positive definite.)
  std::vector<real> A;
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j) A.push_back(1 / static_cast<real>(i + j + 1));
  const Doubles got = singular_values(A, 5, 5, "t");
  const Doubles expected{1.56705070297, 0.208534220804, 0.0114074913191, 0.000305900887581, 0.00000329145172068};
  for (std::size_t k = 0; k < 5; ++k) CHECK(got[k] == Approx(expected[k]).epsilon(1e-9));
}

TEST_CASE("sizes far from 1 and threads change nothing but the scale") {
  const std::vector<real> A = normal_matrix(37 * 22, 4);
  const Doubles plain = singular_values(A, 37, 22, "t");
  std::vector<real> small = A;
  for (real& v : small) v *= real(0x1p-100);
  const Doubles scaled = singular_values(small, 37, 22, "t");
  for (std::size_t k = 0; k < plain.size(); ++k) CHECK(scaled[k] == plain[k] * 0x1p-100);
  // Σ σ² is the sum of the squares, and σ_1 no shorter than what any vector becomes.
  double squares = 0, energy = 0;
  for (const real v : A) squares += double(v) * double(v);
  for (const double s : plain) energy += s * s;
  CHECK(energy == Approx(squares).epsilon(1e-12));
  const int before = threads();
  for (const int n : {1, 3}) {
    set_threads(n);
    CHECK(singular_values(A, 37, 22, "t") == plain);
  }
  set_threads(before);
  std::vector<real> broken = A;
  broken[5] = std::numeric_limits<real>::quiet_NaN();
  CHECK(error_of([&] { singular_values(broken, 37, 22, "t"); }).fault == Fault::numeric);
}

TEST_CASE("rank by energy and elbow by hand") {
  const Doubles sigma{3, 2, 1, 1, 1};  // squares 9, 4, 1, 1, 1 of 16
  CHECK(rank_of_energy(sigma, 0.5) == 1);
  CHECK(rank_of_energy(sigma, 9.0 / 16) == 1);
  CHECK(rank_of_energy(sigma, 0.57) == 2);
  CHECK(rank_of_energy(sigma, 0.99) == 5);
  CHECK(rank_of_energy(Doubles(4, 0.0), 0.9) == 0);
  CHECK(elbow(sigma) == 3);  // lines at 2.5, 2, 1.5 above 2, 1, 1
  CHECK(elbow(Doubles{4, 3, 2, 1}) == 4);
  CHECK(elbow(Doubles{7}) == 1);
}

}  // namespace singular_values_test
