// Looks: the mark and the colour by which a method is known in every plot of a report.
#pragma once

#include <cstddef>
#include <string_view>

#include "experiments/show/palette.h"
#include "experiments/show/svg.h"

namespace notch::experiments {

struct Look {
  std::string_view color{};
  Mark mark = Mark::circle;
};

inline constexpr std::string_view kControlColor = kPurple;

/// By family, in the order of the list of methods. No two methods of a family look alike, up to 24 of
/// them: after four the marks come again in other colours. `variant`: of rows of one method with several
/// labels, which of them; the next mark in another colour.
Look look_of(std::string_view method, std::size_t variant = 0);

}  // namespace notch::experiments
