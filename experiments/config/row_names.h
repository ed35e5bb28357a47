// Names that a table gives to rows of its own, and that no label may have.
#pragma once

#include <string_view>

namespace notch::experiments {

/// The row that every other is compared with, and fp32 trained on for as long as those that train: also
/// their methods.
inline constexpr std::string_view kBaseRow = "fp32", kControlRow = "fp32-continue";
/// Rows made from a control begin with it: "control-gptq-int4".
inline constexpr std::string_view kOfControl = "control";
/// The method of a row in half precision, also of stages that end in floating point.
inline constexpr std::string_view kHalfMethod = "fp16";

}  // namespace notch::experiments
