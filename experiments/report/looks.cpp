#include "experiments/report/looks.h"

#include <span>

#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

/// Okabe and Ito's colours, the lighter ones a little darker for thin lines on white, and shades of
/// them.
constexpr Look kBaseline[] = {{"#444444", Mark::circle},
                              {"#1a75aa", Mark::square},
                              {"#6b6b6b", Mark::hexagon},
                              {"#46707f", Mark::bar}};
constexpr Look kPostTraining[] = {{"#0062a3", Mark::diamond},
                                  {"#5b3f8c", Mark::triangle_right},
                                  {"#1c6f6f", Mark::triangle_left},
                                  {"#3560c4", Mark::plus}};
constexpr Look kTrained[] = {{"#8f5d00", Mark::triangle_up},
                             {"#c04600", Mark::triangle_down},
                             {"#5c7300", Mark::spark},
                             {"#00704f", Mark::star}};
constexpr Look kHalf{"#9b4278", Mark::cross}, kOther{"#9b4278", Mark::plus};

}  // namespace

Look look_of(std::string_view name) {
  if (name == "fp16") return kHalf;
  const quant::Method* method = quant::find_method(name);
  if (!method) return kOther;
  const std::span<const Look> looks =
      method->family == quant::Family::baseline        ? std::span<const Look>(kBaseline)
      : method->family == quant::Family::post_training ? std::span<const Look>(kPostTraining)
                                                       : std::span<const Look>(kTrained);
  std::size_t before = 0;
  for (const quant::Method* other : quant::methods()) {
    if (other == method) break;
    before += other->family == method->family;
  }
  const std::size_t n = looks.size();
  return {looks[(before + before / n) % n].color, looks[before % n].mark};
}

}  // namespace notch::experiments
