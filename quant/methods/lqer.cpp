#include "quant/methods/lqer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/rng.h"
#include "quant/kernels/singular_values.h"
#include "quant/methods/double_product.h"
#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/side_rank.h"
#include "quant/numbers/nested_scales.h"

namespace notch::quant {
namespace {

using Doubles = std::vector<double>;

constexpr int kIterations = 40;
constexpr Index kSpare = 8;  // vectors beyond the rank, for the iteration's sake

real stored(double v, std::string_view where) {
  const real half = static_cast<real>(from_f16(to_f16(static_cast<float>(v))));
  if (std::isfinite(half)) return half;
  throw Error({.fault = Fault::numeric,
               .where = std::string(where),
               .what = "a low-rank factor is no float16",
               .found = str(v),
               .expected = str("at most ", kMaxF16)});
}

/// The eigenvectors of a symmetric A [p, p] by Jacobi's rotations, largest eigenvalue first: rows.
Doubles eigenvectors(Doubles A, Index p) {
  Doubles Q(at(p * p), 0.0);
  for (Index i = 0; i < p; ++i) Q[at(i * p + i)] = 1;
  const auto a = [&](Index i, Index j) -> double& { return A[at(i * p + j)]; };
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (Index i = 0; i < p; ++i) {
      for (Index j = i + 1; j < p; ++j) {
        if (std::fabs(a(i, j)) <= 1e-300) continue;
        const double theta = (a(j, j) - a(i, i)) / (2 * a(i, j));
        const double t =
            std::copysign(1.0, theta) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (Index k = 0; k < p; ++k) {
          const double x = a(k, i), y = a(k, j);
          a(k, i) = c * x - s * y;
          a(k, j) = s * x + c * y;
        }
        for (Index k = 0; k < p; ++k) {
          const double x = a(i, k), y = a(j, k);
          a(i, k) = c * x - s * y;
          a(j, k) = s * x + c * y;
        }
        for (Index k = 0; k < p; ++k) {
          const double x = Q[at(i * p + k)], y = Q[at(j * p + k)];
          Q[at(i * p + k)] = c * x - s * y;
          Q[at(j * p + k)] = s * x + c * y;
        }
      }
    }
  }
  std::vector<Index> order(at(p));
  for (Index i = 0; i < p; ++i) order[at(i)] = i;
  std::ranges::stable_sort(order, [&](Index i, Index j) { return a(i, i) > a(j, j); });
  Doubles sorted(Q.size());
  for (Index i = 0; i < p; ++i)
    std::copy_n(Q.begin() + order[at(i)] * p, p, sorted.begin() + i * p);
  return sorted;
}

Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  Rounded out = round_by_gptq(matrix, options);
  const Target& t = matrix.target;
  if (matrix.H == nullptr || matrix.is_table()) return out;
  require_side_rank(options.lqer.rank, "lqer.rank", *t.weight, t.name);
  nest_scales(out.q);  // what is made up for is the error of the scales that are stored
  std::vector<real> error = dequantize(out.q);
  for (std::size_t i = 0; i < error.size(); ++i) error[i] = matrix.w[i] - error[i];
  LowRank found =
      low_rank(error, matrix.rows(), matrix.cols(), matrix.H->matrix(), options.lqer.rank, t.name);
  out.side = std::move(found.side);
  out.measures.push_back({"caught", found.caught});
  return out;
}

constexpr LayerFigure kLayerFigures[] = {{"output_error", "output error", 6},
                                         {"caught", "taken away", 6},
                                         {"rtn_output_error", "of rtn", 6}};
constexpr RowFigure kRowFigures[] = {{"lqer_caught", "of the output error by low rank, %", 1, true,
                                      [](std::span<const LayerReport> layers) {
                                        const double all = total(layers, "output_error");
                                        return all > 0 ? total(layers, "caught") / all : 0;
                                      }}};

}  // namespace

LowRank low_rank(std::span<const real> error, Index rows, Index cols, std::span<const double> H,
                 int rank, std::string_view where) {
  check(std::ssize(error) == rows * cols && std::ssize(H) == cols * cols && rank >= 1, where,
        "got ", error.size(), " errors, ", H.size(), " second moments and rank ", rank,
        " for a matrix of [", rows, ", ", cols, "]");
  const Index r = std::min({Index{rank}, rows, cols}), p = std::min(r + kSpare, rows);
  const Doubles E(error.begin(), error.end());
  // Rows of V span what is looked for, and V E H Eᵀ is one step.
  const auto weighed = [&](const Doubles& V) {
    return times(times(V, E, p, cols, rows), H, p, cols, cols);
  };
  Doubles V(at(p * rows));
  Rng rng(0x6c716572, static_cast<std::uint64_t>(rows));
  for (double& v : V) v = rng.normal();
  orthonormalise(V, p, rows);
  for (int i = 0; i < kIterations; ++i) {
    V = times(weighed(V), E, p, rows, cols, true);
    orthonormalise(V, p, rows);
  }
  // Of the space, the directions by what they catch.
  const Doubles inside = times(times(weighed(V), E, p, rows, cols, true), V, p, p, rows, true);
  const Doubles U = times(eigenvectors(inside, p), V, p, rows, p);
  LowRank out;
  const Doubles best(U.begin(), U.begin() + r * rows);
  const Doubles down = times(best, E, r, cols, rows), downH = times(down, H, r, cols, cols);
  for (std::size_t i = 0; i < down.size(); ++i) out.caught += down[i] * downH[i];
  check(std::isfinite(out.caught), where, "the error of rounding is not finite");
  out.side.rank = r;
  for (const double v : down) out.side.down.push_back(stored(v, where));
  for (Index row = 0; row < rows; ++row)
    for (Index k = 0; k < r; ++k) out.side.up.push_back(stored(best[at(k * rows + row)], where));
  return out;
}

constinit const Method kLqer{.name = "lqer",
                             .source = "Zhang et al. 2024",
                             .needs = {.hessian = true},
                             .round = round,
                             .adds_side_products = true,
                             .own_levels = true,
                             .section = "lqer",
                             .base_section = "gptq",
                             .layer_figures = kLayerFigures,
                             .row_figures = kRowFigures};

}  // namespace notch::quant
