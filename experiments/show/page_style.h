// What every page looks like.
#pragma once

#include <string_view>

namespace notch::experiments {

/// CSS, light and dark; drawings bring rules of their own (svg::dark_rules).
extern const std::string_view kPageStyle;

}  // namespace notch::experiments
