// Size plots: what models of several sizes reach, each size in its colour and each family of methods
// with its mark.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/report/figures.h"
#include "experiments/report/statistics.h"
#include "experiments/report/summary.h"

namespace notch::experiments {

/// A model of one size, by what its run found. It refers to what must live as long.
struct SizeSeen {
  std::string_view title{};
  const Statistics* statistics = nullptr;
  const std::vector<WidthSummary>* widths = nullptr;
  std::size_t questions = 0;  ///< of the task
};

/// A row that the plots show: fp32, the run's control, or the best row of a family at its width.
struct SizePoint {
  const SizeSeen* size = nullptr;
  const RowResult* row = nullptr;
  const FamilyBest* best = nullptr;  ///< null for fp32 and the control
  std::string width{};               ///< "4 bits", "fp32", "control"
  double bytes() const { return size->statistics->file_bytes(row->name); }
};
/// fp32, control and the best of each family at each width; and all rows besides.
std::vector<SizePoint> size_points(const std::vector<SizeSeen>& sizes);
std::vector<SizePoint> all_points(const std::vector<SizeSeen>& sizes);

/// Of these, by their bytes, those that have a lower loss than all that are as small or smaller.
std::vector<SizePoint> size_front(const std::vector<SizePoint>& points);

/// Loss against bytes, with a frontier of each size; what rounding costs over bits per weight,
/// against each size's own fp32 or control; and right answers against bytes where there is a task.
std::vector<Figure> size_figures(const std::vector<SizeSeen>& sizes);

}  // namespace notch::experiments
