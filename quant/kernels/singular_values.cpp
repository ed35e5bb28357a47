#include "quant/kernels/singular_values.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

constexpr int kMostSweeps = 60;

/// Makes rows a and b [n] orthogonal, the longer one first; whether their cosine was above `least`.
bool rotate_pair(double* a, double* b, Index n, double least) {
  double aa = 0, bb = 0, ab = 0;
  for (Index i = 0; i < n; ++i) {
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
  }
  if (std::fabs(ab) <= least * std::sqrt(aa) * std::sqrt(bb)) {
    if (bb > aa) std::swap_ranges(a, a + n, b);
    return false;
  }
  const double zeta = (bb - aa) / (2 * ab);
  const double t = std::copysign(1.0, zeta) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
  const double c = 1 / std::sqrt(1 + t * t), s = c * t;
  for (Index i = 0; i < n; ++i) {
    const double x = a[i], y = b[i];
    a[i] = c * x - s * y;
    b[i] = s * x + c * y;
  }
  if (bb + t * ab > aa - t * ab) std::swap_ranges(a, a + n, b);  // their squares now
  return true;
}

double dot(const double* a, const double* b, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// Rotates the rows of B [p, q] until all are orthogonal.
void rotate_rows_apart(std::vector<double>& B, Index p, Index q, std::string_view where) {
  const double least =
      4 * 0x1p-52 * std::sqrt(static_cast<double>(q));  // what sums of q terms leave
  // All pairs in rounds of disjoint ones, as in a tournament: the last stays, the others move on.
  const Index players = p + p % 2;
  std::vector<Index> seat(static_cast<std::size_t>(players));
  std::iota(seat.begin(), seat.end(), Index{0});
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    std::atomic<bool> moved = false;
    for (Index round = 0; round + 1 < players; ++round) {
      parallel_for(players / 2, [&](Index pair) {
        const auto [first, second] =
            std::minmax(seat[static_cast<std::size_t>(pair)],
                        seat[static_cast<std::size_t>(players - 1 - pair)]);
        if (second >= p) return;  // nobody's turn
        if (rotate_pair(B.data() + first * q, B.data() + second * q, q, least)) moved = true;
      });
      std::rotate(seat.begin(), seat.end() - 2, seat.end() - 1);
    }
    if (!moved) return;
  }
  throw Error({.fault = Fault::numeric,
               .where = std::string(where),
               .what = str("the rows are not orthogonal after ", kMostSweeps, " sweeps")});
}

}  // namespace

std::vector<double> singular_values(std::span<const real> A, Index rows, Index cols,
                                    std::string_view where) {
  check(std::ssize(A) == extent(where, {rows, cols}), where, "got ", A.size(),
        " numbers for a matrix of [", rows, ", ", cols, "]");
  const bool turned = rows > cols;
  const Index p = std::min(rows, cols), q = std::max(rows, cols);
  // The largest becomes 1, so that no square leaves the doubles.
  double largest = 0;
  for (const real v : A) {
    if (!std::isfinite(v)) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = "a matrix that is not finite has no singular values"});
    }
    largest = std::max(largest, std::fabs(static_cast<double>(v)));
  }
  if (largest == 0) return std::vector<double>(static_cast<std::size_t>(p), 0.0);
  std::vector<double> B(A.size());
  for (Index i = 0; i < p; ++i)
    for (Index j = 0; j < q; ++j)
      B[static_cast<std::size_t>(i * q + j)] =
          static_cast<double>(A[static_cast<std::size_t>(turned ? j * cols + i : i * cols + j)]) /
          largest;
  rotate_rows_apart(B, p, q, where);
  std::vector<double> sigma(static_cast<std::size_t>(p));
  for (Index i = 0; i < p; ++i) {
    double sum = 0;
    for (const double b : part(B, i * q, q)) sum += b * b;
    sigma[static_cast<std::size_t>(i)] = largest * std::sqrt(sum);
  }
  std::ranges::sort(sigma, std::greater<>());
  return sigma;
}

Eigenvectors eigenvectors_of(std::vector<double> A, Index n, std::string_view where) {
  check(std::ssize(A) == n * n, where, "got ", A.size(), " numbers for a matrix of [", n, ", ", n,
        "]");
  double largest = 0;
  for (const double v : A) {
    if (!std::isfinite(v)) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = "a matrix that is not finite has no eigenvectors"});
    }
    largest = std::max(largest, std::fabs(v));
  }
  Eigenvectors out{.values = std::vector<double>(static_cast<std::size_t>(n), 0.0),
                   .vectors = std::vector<double>(A.size(), 0.0)};
  if (largest == 0) return out;
  for (double& v : A) v /= largest;
  rotate_rows_apart(A, n, n, where);
  std::vector<double> lengths;
  for (Index i = 0; i < n; ++i)
    lengths.push_back(std::sqrt(dot(A.data() + i * n, A.data() + i * n, n)));
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return lengths[i]; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double length = lengths[order[i]];
    out.values[i] = largest * length;
    const auto row = A.begin() + static_cast<std::ptrdiff_t>(order[i]) * n;
    if (length > 0)
      std::transform(row, row + n, out.vectors.begin() + static_cast<std::ptrdiff_t>(i) * n,
                     [&](double v) { return v / length; });
  }
  return out;
}

void orthonormalise(std::vector<double>& V, Index p, Index n) {
  require_extent("orthonormalise", extent("orthonormalise", {p, n}), V);
  for (Index i = 0; i < p; ++i) {
    double* const v = V.data() + i * n;
    const double before = std::sqrt(dot(v, v, n));
    for (int pass = 0; pass < 2; ++pass) {
      for (Index j = 0; j < i; ++j) {
        const double* const u = V.data() + j * n;
        const double along = dot(u, v, n);
        for (Index k = 0; k < n; ++k) v[k] -= along * u[k];
      }
    }
    const double length = std::sqrt(dot(v, v, n));
    const double factor = length > 1e-10 * before ? 1 / length : 0;
    for (Index k = 0; k < n; ++k) v[k] *= factor;
  }
}

Index rank_of_energy(std::span<const double> sigma, double share) {
  double all = 0, sum = 0;
  for (const double s : sigma) all += s * s;
  Index rank = 0;
  while (rank < std::ssize(sigma) && sum < share * all) {
    sum += sigma[static_cast<std::size_t>(rank)] * sigma[static_cast<std::size_t>(rank)];
    ++rank;
  }
  return rank;
}

Index elbow(std::span<const double> sigma) {
  const Index n = std::ssize(sigma);
  Index best = n;
  double most = 0;
  for (Index k = 1; k < n; ++k) {
    const double along = static_cast<double>(k - 1) / static_cast<double>(n - 1);
    const double line = sigma.front() + along * (sigma.back() - sigma.front());
    const double below = line - sigma[static_cast<std::size_t>(k - 1)];
    if (below <= most) continue;
    most = below;
    best = k;
  }
  return best;
}

}  // namespace notch::quant
