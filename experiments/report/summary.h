// Summary: a whole table in one sentence, and in a line per width.
//
// Every row is judged by what rounding costs it: its loss minus that of its own reference, the
// control for rows that saw more text than fp32. The trained row of a width is the one with the lowest
// loss: one that learned from fp32 can cost less and be worse than one that saw more text. Where it has
// a control, the rows without training beside it are those made of the same control, so that all saw
// the same text.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/ranking.h"
#include "quant/methods/method.h"

namespace notch::experiments {

/// The row of a family with the lowest loss, among those of nearly equal bytes and comparable text.
struct FamilyBest {
  quant::Family family{};
  const RowResult* row = nullptr;
  Difference cost{};        ///< its loss minus its reference's
  bool of_control = false;  ///< the reference is a control, not fp32
  std::string bytes{};      ///< Statistics::other_bytes than the best family's
};

struct WidthSummary {
  int bits = 0;
  std::string title{};                 ///< "4 bits"; with the granularity where a table has several
  std::vector<FamilyBest> families{};  ///< lowest cost first
  /// Cost of each of them minus that of the first, which is zero; and whether it is resolved from
  /// zero, corrected for all pairs of the width as its ranking is.
  std::vector<Difference> behind{};
  std::vector<bool> resolved{};
  /// Rows that the families leave out because another model is their reference: of every such model the
  /// best trained row if it costs less than the trained one of the families, and what has a lower loss
  /// than all of them.
  std::vector<FamilyBest> elsewhere{};
  /// Rows that the families leave out, with their bytes: a tenth more than the smallest of the
  /// width that has all its weights, or still more.
  std::vector<std::string> larger{};
  /// Whether all of `behind` are equivalent to zero (within kEquivalent nats).
  bool alike() const;
};

/// Usage error for a width without families, of rows that are not there, or not all of them compared.
void require_whole(const WidthSummary& width);

/// In the order of the table. Rows whose loss is not finite are left out.
std::vector<WidthSummary> summaries(const Statistics& statistics,
                                    const std::vector<WidthRanking>& rankings);

/// "At 4 bits QAT is best, GPTQ 0.003 nats behind, RTN 0.03; at 8 and 6 bits no difference that
/// matters. ...": and what the best row of each width costs. "" without quantized rows.
std::string headline(const std::vector<WidthSummary>& widths);

/// At most eight lines: fp32, the control and the widths, the widest of them left out first. The
/// columns that matter come first.
Table short_table(const Statistics& statistics, const std::vector<WidthSummary>& widths);

/// A short table on a screen of so many characters, and below it the columns that do not fit.
std::string fitted_screen(const Table& table, int characters);

/// What the numbers and stars of short_table are.
std::string cost_legend();

/// How to read it, in a few lines.
std::string short_notes(const Statistics& statistics, const std::vector<WidthSummary>& widths);

}  // namespace notch::experiments
