// What a report does where script runs.
#pragma once

#include <string_view>

namespace notch::experiments {

/// JavaScript: filters the plot of all rows and their table by method and width, sorts the table,
/// says what a mark is. Without < and &, which XML and HTML read differently there.
extern const std::string_view kPageScript;

}  // namespace notch::experiments
