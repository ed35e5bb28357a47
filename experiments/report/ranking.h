// Ranking: at each width, who beats whom, corrected for the number of comparisons; and in words.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/statistics.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// Two rows of one width, the one with the lower loss first.
struct Pair {
  const RowResult* better = nullptr;
  const RowResult* worse = nullptr;
  /// Loss of worse - better, its own 95 % interval and p-value. The seeds' part is moderated over the
  /// pairs of the width (experiments/report/moderation.h): what seeds vary is taken to grow with what
  /// rounding costs the two rows, c = cost² + cost² + 2 (5e-4 nats)², a row's cost its loss minus its
  /// reference's; the floor is what rows of 8 bits differ by.
  Difference difference{};
  double p = 1;  ///< Holm's, over all pairs of the width
  bool resolved() const { return p < 0.05; }
  /// The loss of one of the two minus the other's.
  Difference above_other(const RowResult* row) const;
};

/// The rows that share a width and a granularity.
struct WidthRanking {
  std::string title{};                   ///< "INT4 channel"
  std::vector<const RowResult*> rows{};  ///< lowest mean loss first
  std::vector<double> bytes{};           ///< of their files, means over seeds
  std::vector<Pair> pairs{};             ///< all of them, in the order of `rows`
  const Pair& pair(const RowResult* a, const RowResult* b) const;
};

/// Usage error for a ranking of no rows, of rows that are not there, or without their bytes and pairs.
void require_whole(const WidthRanking& ranking);

/// In the order of the table.
std::vector<WidthRanking> rankings(const Statistics& statistics);

/// "A beats B": above the diagonal the nats by which the row beats the column, below it Holm's p; with
/// the rows' bytes where they are not equally large.
Table matrix(const WidthRanking& ranking);

/// All pairs of all widths, one line each, with the bytes of both.
Table pairs_table(const std::vector<WidthRanking>& rankings);

/// TOST of the rows of 6 bits and more against their references.
Table equivalence_table(const Statistics& statistics);

/// What the table shows, width by width, in sentences: which row is best, whom it beats and by how
/// much, what is not resolvable, how the trained rows stand to those without training, each with how
/// many bytes more it takes where it does; and that all of it is of one size.
std::string verdict(const Statistics& statistics, const std::vector<WidthRanking>& rankings);

}  // namespace notch::experiments
