#include "quant/methods/gptaq.h"

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "quant/methods/options.h"

namespace notch::quant {
namespace {

Rounded round(const MatrixView& matrix, const PostTrainingOptions& options) {
  const std::vector<double> drift = matrix.H ? matrix.H->drift() : std::vector<double>{};
  if (drift.empty()) return round_by_gptq(matrix, options);
  const std::string& where = matrix.target.name;
  const std::int64_t rows = matrix.rows(), cols = matrix.cols();
  const std::vector<double> H = matrix.H->matrix();
  const Spec& spec = matrix.target.spec;
  // One factor serves both: the target's equations can be solved in any order of the columns.
  DampedCholesky factor = damped_cholesky(
      H, gptq_order(H, cols, spec, options.gptq, where, matrix.keep), options.gptq.damp, where);
  const std::vector<real> target =
      asymmetric_target(matrix.before(), rows, factor, drift, options.gptq.asymmetric, where);
  return measured(gptq(target, rows, cols, spec, H, options.gptq, where, matrix.keep, {}, &factor));
}

}  // namespace

std::vector<real> asymmetric_target(std::span<const real> w, std::int64_t rows,
                                    const DampedCholesky& factor, std::span<const double> drift,
                                    double asymmetric, std::string_view where) {
  const Index cols = factor.K;
  check(asymmetric >= 0 && asymmetric <= 1, where, "gptq asymmetric ", asymmetric,
        " is outside 0 to 1");
  check(std::ssize(w) == rows * cols && std::ssize(drift) == cols * cols, where, "got ", w.size(),
        " weights and ", drift.size(), " second moments for a matrix of [", rows, ", ", cols, "]");
  check(std::ssize(factor.perm) == cols && std::ssize(factor.L) == cols * cols, where,
        "there is no factor of ", cols, " columns");
  std::vector<real> target(w.size());
  constexpr Index kRows = 64;
  parallel_for(quotient_up(rows, kRows), [&](Index tile) {
    const Index first = tile * kRows, n = std::min(kRows, rows - first);
    const auto part = w.subspan(at(first * cols), at(n * cols));
    const std::vector<double> W(part.begin(), part.end());
    std::vector<double> move(W.size());
    kernels::gemm_serial(move, std::span<const double>(W), drift, n, cols, cols);
    // The factor counts positions from the end.
    std::vector<double> ordered(move.size());
    const auto place = [&](Index r, Index i) { return at(r * cols + factor.perm[at(i)]); };
    for (Index r = 0; r < n; ++r)
      for (Index i = 0; i < cols; ++i) ordered[at(r * cols + cols - 1 - i)] = move[place(r, i)];
    kernels::cholesky_solve_serial(ordered, factor.L, n, cols);
    for (Index r = 0; r < n; ++r)
      for (Index i = 0; i < cols; ++i) {
        const std::size_t j = place(r, i);
        target[at(first * cols) + j] =
            static_cast<real>(W[j] + asymmetric * ordered[at(r * cols + cols - 1 - i)]);
      }
  });
  return target;
}

constinit const Method kGptaq{.name = "gptaq",
                              .source = "Li et al. 2025",
                              .needs = {.hessian = true, .drift = true},
                              .round = round,
                              .own_levels = true,
                              .section = "gptq",
                              .layer_figures = kGptqLayerFigures,
                              .row_figures = kGptqRowFigures};

}  // namespace notch::quant
