#include "experiments/report/looks.h"

#include <array>
#include <cstddef>

#include "experiments/config/row_names.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

/// A family's: n marks, and then the same again in the next colours.
struct FamilyLooks {
  std::array<std::string_view, 6> colors;
  std::array<Mark, 4> marks;
};

// Colours of the palette, and shades of them.
constexpr FamilyLooks kBaseline{{kGrey, "#1a75aa", "#6b6b6b", "#46707f", "#222222", "#5d6872"},
                                {Mark::circle, Mark::square, Mark::hexagon, Mark::bar}};
constexpr FamilyLooks kPostTraining{
    {kBlue, "#5b3f8c", kTeal, "#3560c4", "#0b4560", "#4a4f6e"},
    {Mark::diamond, Mark::triangle_right, Mark::triangle_left, Mark::plus}};
constexpr FamilyLooks kTrained{{kBrown, kVermilion, kOlive, "#00704f", "#6e4a2a", "#8a3324"},
                               {Mark::triangle_up, Mark::triangle_down, Mark::spark, Mark::star}};
constexpr Look kHalf{kPink, Mark::cross}, kOther{kPink, Mark::plus};

}  // namespace

Look look_of(std::string_view name, std::size_t variant) {
  if (name == kHalfMethod) return kHalf;
  const quant::Method* method = quant::find_method(name);
  if (!method) return kOther;
  const FamilyLooks& looks = method->family == quant::Family::baseline        ? kBaseline
                             : method->family == quant::Family::post_training ? kPostTraining
                                                                              : kTrained;
  std::size_t before = 0;
  for (const quant::Method* other : quant::methods()) {
    if (other == method) break;
    before += other->family == method->family;
  }
  const std::size_t n = looks.marks.size();
  return {looks.colors[(before % n + before / n + 2 * variant) % looks.colors.size()],
          looks.marks[(before + variant) % n]};
}

}  // namespace notch::experiments
