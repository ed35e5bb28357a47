#include "quant/gptq_sweep.h"

#include <algorithm>
#include <array>
#include <vector>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/column_update.h"

namespace notch::quant {
namespace {

using Index = std::int64_t;

constexpr std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// Up to kStripRows rows on their way through all columns.
class Strip {
 public:
  Strip(const Sweep& sweep, std::span<const real> w, Index first, QTensor& q)
      : s_(sweep),
        w_(w),
        K_(q.cols),
        first_(first),
        rows_(std::min(kStripRows, q.rows - first)),
        grid_(grid_of(q.spec)),
        q_(q),
        unit_cols_(q.spec.granularity == Granularity::group ? q.spec.group_size
                                                            : std::max<Index>(K_, 1)) {
    W_.resize(at(K_ * kStripRows));
    D_.resize(at(std::min(s_.block, K_) * kStripRows));
    for (Index r = 0; r < rows_; ++r)
      for (Index i = 0; i < K_; ++i)
        W_[at(i * kStripRows + r)] = static_cast<double>(weight(r, s_.order.perm[at(i)]));
  }

  /// Writes the codes of its rows, their scales if groups are dynamic, and Σ (t - q)² R² per row.
  void run(std::span<double> losses) {
    for (Index begin = 0, end = 0; begin < K_; begin = end) {
      end = block_end(begin);
      for (Index i = begin, next = 0; i < end; i = next) {
        next = std::min(end, panel_end(i));
        for (Index c = i; c < next; ++c) {
          round(c, moved(c - begin));
          update(moved(c - begin), c, 1, c + 1, next);
        }
        update(moved(i - begin), i, next - i, next, end);
      }
      update(moved(0), begin, end - begin, end, K_);
    }
    std::copy_n(losses_.begin(), rows_, losses.begin() + first_);
  }

 private:
  /// End of the block that starts at `begin`. A group whose scales are still to be chosen starts a
  /// new block rather than straddle two: then all its weights are up to date when it is reached.
  Index block_end(Index begin) const {
    const Index end = std::min(K_, begin + s_.block);
    if (!s_.dynamic_groups) return end;
    const Index group_start = end - end % q_.spec.group_size;
    return group_start > begin ? group_start : end;
  }

  /// Within a block, columns are updated by panels, and a group whose scales are still to be chosen
  /// starts a new one.
  Index panel_end(Index i) const {
    const Index end = i - i % kPanelCols + kPanelCols;
    return s_.dynamic_groups ? std::min(end, i - i % q_.spec.group_size + q_.spec.group_size) : end;
  }

  /// The unit of a row of the strip in the group of columns whose scales are loaded.
  std::size_t unit_of(Index r) const {
    return q_.spec.granularity == Granularity::tensor
               ? 0
               : at((first_ + r) * (K_ / unit_cols_) + group_);
  }

  real weight(Index r, Index column) const { return w_[at((first_ + r) * K_ + column)]; }
  double* moved(Index i) { return D_.data() + i * kStripRows; }

  void update(const double* D, Index first, Index terms, Index begin, Index end) {
    update_columns(W_.data(), D, s_.factor.R, first, terms, begin, end);
  }

  void round(Index i, double* D) {
    const Index column = s_.order.perm[at(i)];
    if (const Index group = column / unit_cols_; group != group_) {
      group_ = group;
      if (s_.dynamic_groups) choose_scales(i);
      load_scales();
    }
    std::array<real, kStripRows> original{};
    std::array<std::int16_t, kStripRows> steps{};
    for (Index r = 0; r < rows_; ++r) original[at(r)] = weight(r, column);
    round_column({.target = W_.data() + i * kStripRows,
                  .original = original.data(),
                  .scale = scale_.data(),
                  .lo = lo_.data(),
                  .hi = hi_.data(),
                  .moved = D,
                  .losses = losses_.data(),
                  .steps = steps.data(),
                  .step = grid_.step},
                 s_.order.live[at(i)] != 0 ? s_.factor.diagonal[at(i)] : 0);
    for (Index r = 0; r < rows_; ++r) {
      q_.codes[at((first_ + r) * K_ + column)] =
          static_cast<std::int8_t>(steps[at(r)] + zero_point(r));
    }
  }

  int zero_point(Index r) const {
    return has_zero_points(q_.spec) ? q_.at.zero_points[unit_of(r)] : 0;
  }

  /// The scales of the group that starts at i come from the weights as they would be if nothing
  /// more were rounded: each moves on to its target, and the rest of the group follows.
  void choose_scales(Index i) {
    const Index n = q_.spec.group_size;
    const auto group = std::span(W_).subspan(at(i * kStripRows), at(n * kStripRows));
    const std::vector<double> targets(group.begin(), group.end());
    std::array<double, kStripRows> D{};
    for (Index c = i; c < i + n; ++c) {
      for (Index r = 0; r < rows_; ++r)
        D[at(r)] =
            static_cast<double>(weight(r, s_.order.perm[at(c)])) - W_[at(c * kStripRows + r)];
      update(D.data(), c, 1, c + 1, i + n);
    }
    std::vector<real> weights(at(n));
    for (Index r = 0; r < rows_; ++r) {
      for (Index c = 0; c < n; ++c)
        weights[at(c)] = static_cast<real>(group[at(c * kStripRows + r)]);
      const UnitScale chosen = choose_unit(weights, q_.spec, s_.range).at;
      const std::size_t unit = unit_of(r);
      q_.at.scales[unit] = chosen.scale;
      if (has_zero_points(q_.spec)) {
        q_.at.zero_points[unit] = static_cast<std::int8_t>(chosen.zero_point);
      }
    }
    std::ranges::copy(targets, group.begin());
  }

  void load_scales() {
    for (Index r = 0; r < rows_; ++r) {
      const int z = zero_point(r);
      scale_[at(r)] = q_.at.scales[unit_of(r)];
      lo_[at(r)] = static_cast<real>(grid_.qmin - z);
      hi_[at(r)] = static_cast<real>(grid_.qmax - z);
    }
  }

  const Sweep& s_;
  std::span<const real> w_;
  Index K_, first_, rows_;
  Grid grid_;
  QTensor& q_;
  Index unit_cols_;            ///< of a row that share a scale
  std::vector<double> W_, D_;  ///< rows beyond rows_ are zeros
  Index group_ = -1;           ///< of columns, whose scales are loaded
  std::array<real, kStripRows> scale_ = filled(1), lo_{}, hi_{};
  std::array<double, kStripRows> losses_{};

  static constexpr std::array<real, kStripRows> filled(real value) {
    std::array<real, kStripRows> all{};
    all.fill(value);
    return all;
  }
};

}  // namespace

void sweep(const Sweep& sweep, std::span<const real> w, QTensor& q, std::span<double> losses) {
  parallel_for((q.rows + kStripRows - 1) / kStripRows,
               [&](Index strip) { Strip(sweep, w, strip * kStripRows, q).run(losses); });
}

}  // namespace notch::quant
