#include "quant/methods/sparsegpt.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gptq_factor.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {
namespace {

/// All rows on their way through the columns; strip by strip, as quant/methods/column_update.h wants
/// them.
class PruningSweep {
 public:
  PruningSweep(std::span<const real> w, Index rows, Index cols, const ColumnOrder& order,
               const HessianFactor& factor, const PruneOptions& options, std::string_view where)
      : w_(w),
        rows_(rows),
        cols_(cols),
        order_(order),
        factor_(factor),
        options_(options),
        where_(where),
        out_{.keep = Keep(w.size(), 1), .w = std::vector<real>(w.size())} {
    targets_.resize(at(quotient_up(rows, kStripRows)));
    parallel_for(std::ssize(targets_), [&](Index s) {
      targets_[at(s)].resize(at(cols * kStripRows));
      for_rows(s, [&](Index row, Index r) {
        for (Index c = 0; c < cols_; ++c) target(s, c)[r] = w_[at(row * cols_ + c)];
      });
    });
  }

  Pruned run() {
    const bool structured = options_.pattern != Pattern::unstructured;
    for (Index begin = 0; begin < cols_; begin += kMaskColumns) {
      const Index end = std::min(cols_, begin + kMaskColumns);
      if (!structured) choose(begin, end);
      parallel_for(std::ssize(targets_), [&](Index s) { prune(s, begin, end); });
    }
    return std::move(out_);
  }

 private:
  template <class Body>
  void for_rows(Index strip, const Body& body) const {
    for (Index r = 0; r < std::min(kStripRows, rows_ - strip * kStripRows); ++r)
      body(strip * kStripRows + r, r);
  }
  real* target(Index strip, Index c) { return targets_[at(strip)].data() + c * kStripRows; }

  /// visit(row, column, (w R)²) for the weights of a strip in columns [begin, end), w as they are if no
  /// more is pruned: each goes on to its target, and those after it follow.
  template <class Visit>
  void errors(Index strip, Index begin, Index end, const Visit& visit) {
    const std::span<real> columns(target(strip, begin), at((end - begin) * kStripRows));
    const std::vector<real> targets(columns.begin(), columns.end());
    std::vector<real> D(at(kStripRows));
    for (Index c = begin; c < end; ++c) {
      const double weight = order_.live[at(c)] != 0 ? factor_.diagonal[at(c)] : 0;
      for_rows(strip, [&](Index row, Index r) {
        const real now = target(strip, c)[r];
        const double e = weight * static_cast<double>(now);
        visit(row, c, e * e);
        D[at(r)] = w_[at(row * cols_ + c)] - now;
      });
      update_columns(target(strip, 0), D.data(), factor_.R, c, 1, c + 1, end);
    }
    std::ranges::copy(targets, columns.begin());
  }

  /// The mask of all rows in columns [begin, end).
  void choose(Index begin, Index end) {
    const Index n = end - begin;
    std::vector<double> all(at(rows_ * n));
    parallel_for(std::ssize(targets_), [&](Index s) {
      errors(s, begin, end,
             [&](Index row, Index c, double e) { all[at(row * n + c - begin)] = e; });
    });
    const Keep keep = keep_largest(all, rows_, n, options_, Within::matrix, where_);
    for (Index row = 0; row < rows_; ++row)
      std::copy_n(keep.begin() + row * n, n, out_.keep.begin() + row * cols_ + begin);
  }

  /// The mask of a strip in the M columns from `begin` on.
  void choose_group(Index strip, Index begin, Index M) {
    const Index first = strip * kStripRows, rows = std::min(kStripRows, rows_ - first);
    std::vector<double> all(at(rows * M));
    errors(strip, begin, begin + M,
           [&](Index row, Index c, double e) { all[at((row - first) * M + c - begin)] = e; });
    for (Index r = 0; r < rows; ++r) {
      const Keep keep = keep_largest(std::span(all).subspan(at(r * M), at(M)), 1, M, options_,
                                     Within::row, where_);
      std::ranges::copy(keep, out_.keep.begin() + (first + r) * cols_ + begin);
    }
  }

  /// One strip through the columns [begin, end): what is lost moves the columns after it.
  void prune(Index strip, Index begin, Index end) {
    const Index M = size_of(options_.pattern).of;
    std::vector<real> moved(at((end - begin) * kStripRows), real{0});
    for (Index c = begin; c < end; ++c) {
      if (M > 0 && c % M == 0) choose_group(strip, c, M);
      real* D = moved.data() + (c - begin) * kStripRows;
      for_rows(strip, [&](Index row, Index r) {
        const std::size_t i = at(row * cols_ + c);
        out_.w[i] = out_.keep[i] != 0 ? target(strip, c)[r] : 0;
        D[r] = w_[i] - out_.w[i];
      });
      update_columns(target(strip, 0), D, factor_.R, c, 1, c + 1, end);
    }
    update_columns(target(strip, 0), moved.data(), factor_.R, begin, end - begin, end, cols_);
  }

  std::span<const real> w_;
  Index rows_, cols_;
  const ColumnOrder& order_;
  const HessianFactor& factor_;
  const PruneOptions& options_;
  std::string_view where_;
  Pruned out_;
  std::vector<std::vector<real>> targets_;  // of each strip
};

}  // namespace

Pruned sparsegpt(std::span<const real> w, Index rows, Index cols, std::span<const double> H,
                 const PruneOptions& options, std::string_view where) {
  check(std::ssize(w) == rows * cols, where, "got ", w.size(), " weights for ", rows, " x ", cols);
  check(std::ssize(H) == cols * cols, where, "the Hessian has ", H.size(), " elements, need ", cols,
        " x ", cols);
  require_finite(w, cols, where);
  require_pattern(options, cols, where);
  const ColumnOrder order = order_columns(H, cols, false, where);
  const DampedCholesky cholesky = damped_cholesky(H, order, kSparseGptDamp, where);
  const HessianFactor factor = pack_factor(cholesky);
  return PruningSweep(w, rows, cols, order, factor, options, where).run();
}

constinit const Pruner kSparseGpt{
    .name = "sparsegpt",
    .source = "Frantar and Alistarh 2023",
    .needs_inputs = true,
    .moves_weights = true,
    .prune = [](const MatrixView& m, const PruneOptions& options) -> Pruned {
      check(m.H, m.target.name, "sparsegpt needs the layer's inputs");
      return sparsegpt(m.w, m.rows(), m.cols(), m.H->matrix(), options, m.target.name);
    }};

}  // namespace notch::quant
