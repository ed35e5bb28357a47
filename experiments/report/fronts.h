// Fronts: what a table's rows reach with how many bits, as plots.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "experiments/report/figures.h"
#include "experiments/report/statistics.h"
#include "experiments/show/plot.h"

namespace notch::experiments {

/// Loss against size: for every quantized row (and fp16) the change of loss against fp32, in nats
/// per token, over the bits per weight of the whole model. Levels: fp32 (zero) and the control.
/// Error bars: its 95 % interval. The first series is the frontier.
Figure loss_figure(const Statistics& statistics);

/// The share of n questions that a row answers right, mean m over seeds, and half of its 95 %
/// interval m ± √(t_s² V_s + t² V_q), as in experiments/report/statistics.h: the seeds' part, and that of
/// the questions, which more seeds do not make smaller, V_q = p (1 - p) / (n + 4) with
/// p = (n m + 2) / (n + 4) (Agresti and Coull 1998, "Approximate is better than 'exact' for interval
/// estimation of binomial proportions", The American Statistician 52(2)). Both in percent; nothing
/// where a seed has none.
struct MeanAccuracy {
  double percent = 0, half = 0;
  /// "55.0 % right [41.2, 68.8]"; the interval ends where shares do.
  std::string words() const;
};
std::optional<MeanAccuracy> mean_accuracy(const std::vector<SeedResults>& seeds,
                                          const RowResult& row, std::size_t questions);

/// The same as loss_figure for the task: right answers in percent. Without series where no row has
/// an accuracy.
Figure accuracy_figure(const Statistics& statistics, std::size_t questions);

/// What is reached with at most so much on the x axis, a staircase from the leftmost point on: the
/// points that no other beats, `best` of two heights first.
enum class Best { lowest, highest };
PlotSeries frontier(const std::vector<PlotSeries>& series, Best best);

}  // namespace notch::experiments
