#include "quant/methods/own_levels_sweep.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/methods/column_update.h"
#include "quant/methods/gptq_sweep.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

static_assert(kPanelCols == kWordColumns);  // a panel of R is a word's columns

/// Up to kStripRows rows on their way through the columns, stored as gptq_sweep.cpp's strips are.
class Strip {
 public:
  Strip(const ColumnOrder& order, const HessianFactor& factor, std::span<const real> w, Index first,
        QTensor& q, const WordCoder* coder)
      : order_(order),
        R_(factor.R),
        K_(q.cols),
        first_(first),
        rows_(std::min(kStripRows, q.rows - first)),
        unit_(unit_size(q.spec, q.rows, q.cols)),
        q_(q),
        coder_(coder),
        original_(strip_of(w, first, rows_, order)),
        W_(original_),
        D_(original_.size()) {
    if (coder_) return;
    for (Index u = unit_at(0, 0); u <= unit_at(rows_ - 1, K_ - 1); ++u)
      lists_.emplace_back(unit_grid(q_, u));
  }

  void run(std::span<real> targets) {
    for (Index begin = 0; begin < K_; begin += kPanelCols) {
      const Index end = std::min(K_, begin + kPanelCols);
      update_columns(W_.data(), D_.data(), R_, 0, begin, begin, end);
      if (coder_) {
        for (Index r = 0; r < rows_; ++r) round_word(begin, r);
        continue;
      }
      for (Index i = begin; i < end; ++i) {
        for (Index r = 0; r < rows_; ++r) round_column(i, r);
        update_columns(W_.data(), D_.data() + i * kStripRows, R_, i, 1, i + 1, end);
      }
    }
    for (Index r = 0; r < rows_; ++r)
      for (Index i = 0; i < K_; ++i)
        targets[at((first_ + r) * K_ + order_.perm[at(i)])] = W_[at(i * kStripRows + r)];
  }

 private:
  /// Of the r-th row and a column of the matrix.
  Index unit_at(Index r, Index column) const { return ((first_ + r) * K_ + column) / unit_; }

  void round_column(Index i, Index r) {
    const std::size_t place = at(i * kStripRows + r);
    const Index column = order_.perm[at(i)], unit = unit_at(r, column);
    const int code = lists_[at(unit - unit_at(0, 0))].code(W_[place], 0);
    q_.codes[at((first_ + r) * K_ + column)] = static_cast<std::int8_t>(code);
    D_[place] = original_[place] - unit_grid(q_, unit).level(code);
  }

  void round_word(Index begin, Index r) {
    const auto place = [&](Index j) { return at((begin + j) * kStripRows + r); };
    const real scale = q_.at.scales[at(unit_at(r, begin))];
    Vector8 moved{}, target{};
    for (Index j = 0; j < kWordColumns; ++j) {
      moved[at(j)] = W_[place(j)] - original_[place(j)];
      for (Index i = 0; i < j; ++i)
        moved[at(j)] -= moved[at(i)] * R_.at(begin / kPanelCols, begin + i)[j];
      target[at(j)] = (original_[place(j)] + moved[at(j)]) / scale;
    }
    const std::uint32_t word = coder_->nearest(target);
    put_word(q_.codes.data() + (first_ + r) * K_ + begin, word, q_.spec.bits);
    const Vector8 v = coder_->vector(word);
    for (Index j = 0; j < kWordColumns; ++j) D_[place(j)] = original_[place(j)] - v[at(j)] * scale;
  }

  const ColumnOrder& order_;
  const PackedFactor& R_;
  Index K_, first_, rows_, unit_;
  QTensor& q_;
  const WordCoder* coder_;      // null: every column by itself
  std::vector<ToLevel> lists_;  // of the units of these rows
  std::vector<real> original_;
  std::vector<real> W_, D_;  // targets; what rounding left of the columns so far
};

/// Of the scales of words. Of learned levels it is as many rounds.
constexpr std::array<double, 4> kMultiples{1.1, 1.2, 1.35, 0.9};

/// R_jj² of the columns of the matrix.
std::vector<double> squared_diagonal(const ColumnOrder& order, const HessianFactor& factor) {
  std::vector<double> weights(order.perm.size());
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[at(order.perm[i])] = factor.diagonal[i] * factor.diagonal[i];
  return weights;
}

/// Moves rows of `trial` that lose less into q; all or none where they share their levels.
void keep_better(const QTensor& trial, std::span<const double> found, QTensor& q,
                 std::span<double> losses) {
  if (q.spec.granularity == Granularity::tensor) {
    const double before = std::accumulate(losses.begin(), losses.end(), 0.0);
    if (!(std::accumulate(found.begin(), found.end(), 0.0) < before)) return;
    q = trial;
    std::ranges::copy(found, losses.begin());
    return;
  }
  const Index each = std::ssize(q.at.scales) / q.rows;
  for (Index r = 0; r < q.rows; ++r) {
    if (!(found[at(r)] < losses[at(r)])) continue;
    losses[at(r)] = found[at(r)];
    std::copy_n(trial.codes.begin() + r * q.cols, q.cols, q.codes.begin() + r * q.cols);
    std::copy_n(trial.at.scales.begin() + r * each, each, q.at.scales.begin() + r * each);
  }
}

}  // namespace

std::vector<real> sweep_own_levels(const ColumnOrder& order, const HessianFactor& factor,
                                   std::span<const real> w, QTensor& q) {
  std::vector<real> targets(w.size());
  if (targets.empty()) return targets;
  std::optional<WordCoder> coder;
  if (has_words(q.spec)) coder.emplace(q.spec, q.at.codebooks);
  parallel_for(quotient_up(q.rows, kStripRows), [&](Index strip) {
    Strip(order, factor, w, strip * kStripRows, q, coder ? &*coder : nullptr).run(targets);
  });
  return targets;
}

void round_own_levels(const ColumnOrder& order, const HessianFactor& factor,
                      std::span<const real> w, bool search, QTensor& q, std::span<double> losses) {
  std::vector<real> targets = sweep_own_levels(order, factor, w, q);
  measure(order, factor, w, q, losses);
  if (!search || targets.empty()) return;
  const QTensor first = q;
  const bool lists = !has_words(q.spec);
  const std::vector<double> weights = squared_diagonal(order, factor);
  std::vector<double> found(losses.size());
  for (const double multiple : kMultiples) {
    QTensor trial = first;
    if (lists) {
      if (!all_finite(targets)) return;  // a row has diverged, which its loss says
      trial.at = choose_levels(targets, q.rows, q.cols, q.spec, "learned levels", weights);
    } else {
      for (real& s : trial.at.scales)
        s = round_scale(static_cast<real>(multiple * static_cast<double>(s)), q.spec.scale);
    }
    targets = sweep_own_levels(order, factor, w, trial);
    measure(order, factor, w, trial, found);
    keep_better(trial, found, q, losses);
  }
}

}  // namespace notch::quant
