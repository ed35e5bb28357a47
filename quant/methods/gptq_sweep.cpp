#include "quant/methods/gptq_sweep.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/methods/column_update.h"
#include "quant/methods/leave_one_out.h"
#include "quant/numbers/named_mask.h"
#include "quant/numbers/nested_scales.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {
namespace {

// A foreseen loss is off by about 1.4/√n for n columns, measured. Where they are few, and sweeps
// cheap, every multiple is tried; where they are many, the three best ones leave within 0.5 % of
// the error that all of them do.
constexpr Index kManyColumns = 256;
constexpr std::size_t kTrials = 3;

/// Up to kStripRows rows on their way through all columns. Everything is kept in the order of the
/// sweep, column after column, and so that a column's rows lie side by side.
class Strip {
 public:
  Strip(const Sweep& sweep, std::span<const real> w, Index first, QTensor& q)
      : s_(sweep),
        K_(q.cols),
        first_(first),
        rows_(std::min(kStripRows, q.rows - first)),
        grid_(grid_of(q.spec)),
        q_(q),
        unit_cols_(q.spec.granularity == Granularity::group ? q.spec.group_size
                                                            : std::max<Index>(K_, 1)),
        original_(strip_of(w, first, rows_, sweep.order)),
        W_(original_),
        D_(at(std::min(s_.options.block, K_) * kStripRows)),
        codes_(original_.size()),
        outlier_(s_.rests.empty() ? 0 : original_.size()),
        rest_(outlier_.size()) {
    if (s_.keep.empty()) return;
    keep_.assign(original_.size(), 1);
    for (Index r = 0; r < rows_; ++r)
      for (Index i = 0; i < K_; ++i)
        keep_[at(i * kStripRows + r)] = s_.keep[at((first_ + r) * K_ + s_.order.perm[at(i)])];
  }

  /// Writes the codes of its rows, the scales that are chosen here, and Σ (t - ŵ)² R² per row.
  /// Columns whose scales are chosen together are a segment: a dynamic group, or all.
  void run(std::span<double> losses) {
    std::array<double, kStripRows> total{};
    for (Index begin = 0, end = 0; begin < K_; begin = end) {
      end = s_.dynamic_groups ? begin + unit_cols_ : K_;
      if (s_.dynamic_groups) first_scales(begin, end);
      if (s_.search_clip) search_scales(begin, end);
      const bool bilevel = !q_.at.nested.empty();
      if (bilevel) round_scales(begin);
      // The search leaves codes and losses of its choice; what it did not do is move later columns.
      if (!s_.search_clip || end < K_ || bilevel || !rest_.empty()) advance(begin, end, K_);
      for (Index r = 0; r < rows_; ++r) total[at(r)] += losses_[at(r)];
    }
    std::copy_n(total.begin(), rows_, losses.begin() + first_);
    for (Index r = 0; r < rows_; ++r)
      for (Index i = 0; i < K_; ++i)
        q_.codes[at((first_ + r) * K_ + s_.order.perm[at(i)])] = codes_[at(i * kStripRows + r)];
    for (Index r = 0; r < (rest_.empty() ? 0 : rows_); ++r)
      for (Index i = 0; i < K_; ++i)
        s_.rests[at((first_ + r) * K_ + s_.order.perm[at(i)])] = rest_[at(i * kStripRows + r)];
  }

 private:
  using Losses = std::array<double, kStripRows>;
  using Multiples = std::array<double, kStripRows>;
  using Forecast = std::array<real, kStripRows>;
  using Forecasts = std::array<Forecast, kClipMultiples.size()>;
  struct Base {
    MinMax extremes{};
    real ratio = 1;
  };
  static constexpr real kNever = std::numeric_limits<real>::infinity();

  /// Rounds columns [begin, end) and moves the columns after them, up to `limit`; columns of a
  /// block follow at once, by panels, later ones when the block is done.
  void advance(Index begin, Index end, Index limit) {
    losses_.fill(0);
    group_ = -1;  // the scales may be new
    for (Index block = begin, block_end = 0; block < end; block = block_end) {
      block_end = std::min(end, block + s_.options.block);
      for (Index i = block, next = 0; i < block_end; i = next) {
        next = std::min(block_end, i - i % kPanelCols + kPanelCols);
        for (Index c = i; c < next; ++c) {
          round(c, moved(c - block));
          update(moved(c - block), c, 1, c + 1, next);
        }
        update(moved(i - block), i, next - i, next, block_end);
      }
      update(moved(0), block, block_end - block, block_end, limit);
    }
  }

  /// Units of a row in the segment at `begin`, and their place in q's scales.
  Index segment_units() const { return s_.dynamic_groups ? 1 : K_ / unit_cols_; }
  std::size_t unit_at(Index r, Index u, Index begin) const {
    return at((first_ + r) * (K_ / unit_cols_) + (s_.dynamic_groups ? begin / unit_cols_ : u));
  }

  void set_scale(std::size_t unit, MinMax extremes, real ratio) {
    const UnitScale chosen = scale_range(extremes, q_.spec, ratio);
    q_.at.scales[unit] = chosen.scale;
    if (has_zero_points(q_.spec)) {
      q_.at.zero_points[unit] = static_cast<std::int8_t>(chosen.zero_point);
    }
  }

  /// The scales of a dynamic group come from its weights as they would be if nothing more were
  /// rounded: each moves on to its target, and the rest of the group follows.
  void first_scales(Index begin, Index end) {
    const Index n = end - begin;
    const auto group = columns(W_, begin, end);
    const std::vector<real> targets(group.begin(), group.end());
    std::array<real, kStripRows> D{};
    for (Index c = begin; c < end; ++c) {
      for (std::size_t r = 0; r < D.size(); ++r) {
        const std::size_t i = at(c * kStripRows) + r;
        if (!keep_.empty() && keep_[i] == 0) W_[i] = 0;
        D[r] = original_[i] - W_[i];
      }
      update(D.data(), c, 1, c + 1, end);
    }
    std::vector<real> weights(at(n));
    bases_.clear();
    for (Index r = 0; r < rows_; ++r) {
      for (Index c = 0; c < n; ++c) weights[at(c)] = group[at(c * kStripRows + r)];
      const std::vector<real> others =
          rest_.empty() ? std::vector<real>{} : without_outliers(r, begin, weights);
      const std::span<const real> ranged = others.empty() ? weights : others;
      bases_.push_back({min_max(ranged), first_ratio(ranged, q_.spec, s_.options)});
      set_scale(unit_at(r, 0, begin), bases_.back().extremes, bases_.back().ratio);
    }
    std::ranges::copy(targets, group.begin());
  }

  /// Of `weights`, row r of the columns from `begin` on, those that are no outliers.
  std::vector<real> without_outliers(Index r, Index begin, std::span<const real> weights) {
    std::vector<double> a;
    for (Index c = begin; c < begin + std::ssize(weights); ++c) a.push_back(weight_of(c));
    const std::vector<double> gains = leave_one_out_gains(weights, a, q_.spec);
    std::vector<real> others;
    for (std::size_t c = 0; c < gains.size(); ++c) {
      const bool is = gains[c] > s_.least_gain;
      outlier_[(at(begin) + c) * kStripRows + at(r)] = is;
      if (!is) others.push_back(weights[c]);
    }
    return others;
  }

  /// Bilevel scales: those of kBilevelRows rows together. The first level stays where it was.
  void round_scales(Index begin) {
    for (Index first = 0; first < rows_; first += kBilevelRows) {
      for (Index u = 0; u < segment_units(); ++u) {
        const Index column = s_.dynamic_groups ? begin / unit_cols_ : u;
        const std::span<const real> all = s_.ranged;
        std::array<std::uint8_t, kBilevelRows> counts{};
        std::array<real, kBilevelRows> before{};
        const Index n = std::min(kBilevelRows, rows_ - first);
        for (Index r = 0; r < n; ++r) {
          const std::size_t unit = unit_at(first + r, u, begin);
          const MinMax of = min_max(all.subspan(unit * at(unit_cols_), at(unit_cols_)));
          counts[at(r)] = of.lo < of.hi;
          before[at(r)] = q_.at.scales[unit];
        }
        round_bilevel(q_, first_ + first, column, counts);
        for (Index r = 0; has_zero_points(q_.spec) && r < n; ++r) {
          const std::size_t unit = unit_at(first + r, u, begin);
          const real lowest = grid_.lowest(q_.at.zero_points[unit]) * before[at(r)];
          const real zero = static_cast<real>(grid_.qmin) - lowest / q_.at.scales[unit];
          q_.at.zero_points[unit] = static_cast<std::int8_t>(round_clamped(
              zero, static_cast<real>(grid_.qmin), static_cast<real>(grid_.qmax)));
        }
      }
    }
  }

  /// For each row, the multiple of its ratios with which rounding the segment loses least: of 1 and
  /// those for which the least loss is foreseen. Leaves their scales, codes and losses.
  void search_scales(Index begin, Index end) {
    if (!s_.dynamic_groups && bases_.empty()) {
      for (Index u = first_ * segment_units(); u < (first_ + rows_) * segment_units(); ++u) {
        bases_.push_back(
            {min_max(s_.ranged.subspan(at(u * unit_cols_), at(unit_cols_))), s_.ratios[at(u)]});
      }
    }
    const auto segment = columns(W_, begin, end);
    const auto codes = columns(codes_, begin, end);
    const std::vector<real> targets(segment.begin(), segment.end());
    advance(begin, end, end);
    Losses least = losses_;
    std::vector<std::int8_t> best_codes(codes.begin(), codes.end());
    Multiples best{};
    best.fill(1);

    Forecasts foreseen = forecasts(begin, end);
    const std::size_t trials = end - begin > kManyColumns ? kTrials : foreseen.size() - 1;
    for (std::size_t trial = 0; trial < trials; ++trial) {
      Multiples tried = best;
      bool any = false;
      for (Index r = 0; r < rows_; ++r) {
        const auto loss = [&](const Forecast& l) { return l[at(r)]; };
        Forecast& next = *std::ranges::min_element(foreseen, {}, loss);
        if (next[at(r)] < kNever) {
          tried[at(r)] = kClipMultiples[at(&next - foreseen.data())];
          any = true;
        }
        next[at(r)] = kNever;
        set_row(r, begin, tried[at(r)]);
      }
      if (!any) break;
      std::ranges::copy(targets, segment.begin());
      advance(begin, end, end);
      std::array<bool, kStripRows> better{};
      for (std::size_t r = 0; r < at(rows_); ++r) {
        better[r] = losses_[r] < least[r];
        if (better[r]) least[r] = losses_[r], best[r] = tried[r];
      }
      for (std::size_t i = 0; i < codes.size(); i += better.size())
        for (std::size_t r = 0; r < better.size(); ++r)
          best_codes[i + r] = better[r] ? codes[i + r] : best_codes[i + r];
    }
    std::ranges::copy(targets, segment.begin());
    std::ranges::copy(best_codes, codes.begin());
    losses_ = least;
    for (Index r = 0; r < rows_; ++r) set_row(r, begin, best[at(r)]);
  }

  std::span<const Base> bases_of(Index r) const {
    return std::span(bases_).subspan(at(r * segment_units()), at(segment_units()));
  }

  /// Gives a row's units in the segment at `begin` that multiple of their ratios.
  void set_row(Index r, Index begin, double multiple) {
    for (Index u = 0; u < segment_units(); ++u) {
      const Base& base = bases_of(r)[at(u)];
      set_scale(unit_at(r, u, begin), base.extremes, searched_ratio(base.ratio, multiple));
    }
  }

  /// Whether a row's m-th multiple is another range than 1 and the multiple before it: wide ones
  /// are capped.
  bool differs(Index r, std::size_t m) const {
    return std::ranges::any_of(bases_of(r), [&](const Base& base) {
      const real ratio = searched_ratio(base.ratio, kClipMultiples[m]);
      return ratio != base.ratio && ratio != searched_ratio(base.ratio, kClipMultiples[m - 1]);
    });
  }

  /// What each multiple would lose, by the targets that the advance at 1 has made; kNever for 1 and
  /// what is no other range.
  Forecasts forecasts(Index begin, Index end) {
    Forecasts foreseen{};
    foreseen[0].fill(kNever);
    for (std::size_t m = 1; m < foreseen.size(); ++m) {
      for (Index r = 0; r < rows_; ++r) set_row(r, begin, kClipMultiples[m]);
      foreseen[m] = foresee(begin, end);
      for (Index r = 0; r < rows_; ++r)
        if (!differs(r, m)) foreseen[m][at(r)] = kNever;
    }
    return foreseen;
  }

  /// The losses at the present scales if the targets stayed what the last advance has made them.
  Forecast foresee(Index begin, Index end) {
    Forecast losses{};
    group_ = -1;
    for (Index i = begin; i < end; ++i) {
      const Forecast before = losses;
      forecast_losses(column(i), static_cast<real>(weight_of(i)), losses.data());
      for (std::size_t r = 0; !rest_.empty() && r < losses.size(); ++r)
        if (outlier_[at(i * kStripRows) + r] != 0) losses[r] = before[r];
    }
    return losses;
  }

  /// The unit of a row of the strip in the group of columns whose scales are loaded.
  std::size_t unit_of(Index r) const {
    return q_.spec.granularity == Granularity::tensor
               ? 0
               : at((first_ + r) * (K_ / unit_cols_) + group_);
  }

  template <class T>
  static std::span<T> columns(std::vector<T>& all, Index begin, Index end) {
    return std::span(all).subspan(at(begin * kStripRows), at((end - begin) * kStripRows));
  }
  real* moved(Index i) { return D_.data() + i * kStripRows; }

  void update(const real* D, Index first, Index terms, Index begin, Index end) {
    update_columns(W_.data(), D, s_.factor.R, first, terms, begin, end);
  }

  /// What rounding the i-th column reads.
  StripColumn column(Index i) {
    if (const Index group = s_.order.perm[at(i)] / unit_cols_; group != group_) {
      group_ = group;
      load_scales();
    }
    return {.target = W_.data() + i * kStripRows,
            .original = original_.data() + i * kStripRows,
            .scale = scale_.data(),
            .lo = lo_.data(),
            .hi = hi_.data(),
            .grid = &grid_};
  }
  double weight_of(Index i) const {
    return s_.order.live[at(i)] != 0 ? s_.factor.diagonal[at(i)] : 0;
  }

  /// Pruned weights: their targets are lost whole, and what is left to round is 0.
  void prune(Index i) {
    for (std::size_t n = at(i * kStripRows), r = 0; r < at(kStripRows); ++n, ++r) {
      if (keep_[n] != 0) continue;
      const double loss = weight_of(i) * static_cast<double>(W_[n]);
      losses_[r] += loss * loss;
      W_[n] = 0;
    }
  }

  void round(Index i, real* D) {
    if (!keep_.empty()) prune(i);
    std::array<std::int16_t, kStripRows> codes{};
    StripColumn rounded = column(i);
    rounded.moved = D;
    rounded.losses = losses_.data();
    rounded.codes = codes.data();
    const Losses before = losses_;
    round_column(rounded, weight_of(i));
    if (!rest_.empty()) keep_rests(i, codes, before, D);
    for (std::size_t r = 0; r < codes.size(); ++r)
      codes_[at(i * kStripRows) + r] = static_cast<std::int8_t>(codes[r] + zero_point_[r]);
  }

  /// What the codes of outliers leave is kept, in float16; only what that leaves is lost.
  void keep_rests(Index i, std::span<const std::int16_t> codes, const Losses& before, real* D) {
    for (std::size_t n = at(i * kStripRows), r = 0; r < codes.size(); ++n, ++r) {
      if (outlier_[n] == 0) continue;
      const int z = zero_point_[r];
      const real rounded = grid_.level(codes[r] + z, z) * scale_[r];
      const float rest = static_cast<float>(W_[n] - rounded);
      rest_[n] = from_f16(to_f16(std::min(std::max(rest, -kMaxF16), kMaxF16)));
      const double loss = weight_of(i) * static_cast<double>(W_[n] - rounded - rest_[n]);
      losses_[r] = before[r] + loss * loss;
      D[r] = original_[n] - (rounded + rest_[n]);
    }
  }

  void load_scales() {
    for (Index r = 0; r < rows_; ++r) {
      const int z = has_zero_points(q_.spec) ? q_.at.zero_points[unit_of(r)] : 0;
      zero_point_[at(r)] = static_cast<std::int16_t>(z);
      scale_[at(r)] = q_.at.scales[unit_of(r)];
      lo_[at(r)] = grid_.lowest(z);
      hi_[at(r)] = grid_.highest(z);
    }
  }

  const Sweep& s_;
  Index K_, first_, rows_;
  Grid grid_;
  QTensor& q_;
  Index unit_cols_;  ///< of a row that share a scale
  std::vector<real> original_;
  std::vector<real> W_, D_;  ///< targets; moves of a block's columns
  Keep keep_;                ///< as Sweep's; empty where nothing is pruned
  std::vector<std::int8_t> codes_;
  std::vector<std::uint8_t> outlier_;  ///< empty where nothing is kept apart, as its rests
  std::vector<real> rest_;
  Index group_ = -1;         ///< of columns, whose scales are loaded
  std::vector<Base> bases_;  ///< of the segment's units, row by row
  std::array<real, kStripRows> scale_ = filled(1), lo_{}, hi_{};
  std::array<std::int16_t, kStripRows> zero_point_{};
  Losses losses_{};

  static constexpr std::array<real, kStripRows> filled(real value) {
    std::array<real, kStripRows> all{};
    all.fill(value);
    return all;
  }
};

}  // namespace

void sweep(const Sweep& sweep, std::span<const real> w, QTensor& q, std::span<double> losses) {
  parallel_for(quotient_up(q.rows, kStripRows),
               [&](Index strip) { Strip(sweep, w, strip * kStripRows, q).run(losses); });
}

}  // namespace notch::quant
