// Looks: the mark and the colour by which a method is known in every plot of a report.
#pragma once

#include <string_view>

#include "experiments/show/svg.h"

namespace notch::experiments {

struct Look {
  std::string_view color{};
  Mark mark = Mark::circle;
};

inline constexpr std::string_view kControlColor = "#7a5195";

/// By family, in the order of the list of methods. No two methods of a family look alike, up to 24 of
/// them: after four the marks come again in other colours.
Look look_of(std::string_view method);

}  // namespace notch::experiments
