// Palette: the colours of lines and marks. Hues are those of Okabe and Ito (2008), which colour-blind
// people tell apart; published for areas, they are darker here, so that a thin line or a word of its colour
// has the contrast that text needs on white paper (WCAG 2: 4.5 : 1).
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace notch::experiments {

inline constexpr std::string_view kBlue = "#0062a3", kVermilion = "#c04600", kOlive = "#5c7300",
                                  kPurple = "#7a5195", kBrown = "#8f5d00", kTeal = "#1c6f6f",
                                  kPink = "#9b4278", kGrey = "#444444";

/// Of series that have no colour of their own, in this order.
inline constexpr std::array kSeriesColors{kBlue,  kVermilion, kOlive, kPurple,
                                          kBrown, kTeal,      kPink,  kGrey};
/// That of the i-th; after the last they come again.
constexpr std::string_view series_color(std::size_t i) {
  return kSeriesColors[i % kSeriesColors.size()];
}

}  // namespace notch::experiments
