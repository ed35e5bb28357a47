// Style and scripts of the site's pages. Without < and &, which XML and HTML read differently.
#pragma once

#include <string_view>

namespace notch::lessons {

extern const std::string_view kSiteStyle;
/// Of the figure "steps": back and next show its parts with data-step up to now and data-only now.
extern const std::string_view kStepScript;
/// Of the figure "staircase": a slider and a pointer move the weight, a button trains it.
extern const std::string_view kStaircaseScript;

}  // namespace notch::lessons
