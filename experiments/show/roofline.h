// Roofline: speed over operations per byte under measured roofs, both axes logarithmic, so that
// bandwidth is a slope of one and a share of the roof a distance below it (Williams, Waterman,
// Patterson 2009).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"

namespace notch::experiments {

struct RooflineDot {
  std::string name{};   ///< of the model
  std::string phase{};  ///< "prompt" or "decode"
  std::int64_t batch = 1;
  double tokens = 0;                 ///< of a pass
  double seconds = 0;                ///< of a pass
  double operations = 0, bytes = 0;  ///< of a pass
  double roof_seconds = 0;           ///< of a pass that only reads these bytes
  /// 8-bit products per weight and token, which are under the roof of integer products; 0: floats.
  int products = 0;
  double tokens_per_second() const { return tokens / seconds; }
  double intensity() const { return operations / bytes; }
};

struct Roofline {
  double sgemm = 0, integer = 0;  ///< operations per second
  std::vector<RooflineDot> dots{};
  /// Operations per second that arithmetic allows a dot: sgemm's, or those of integer products over how
  /// many an operation takes.
  double peak(const RooflineDot& dot) const {
    return dot.products == 0 ? sgemm : integer / dot.products;
  }
  /// Share of min(peak, bandwidth · intensity) that a dot reaches.
  double share(const RooflineDot& dot) const;
};

/// Usage error for what no machine measures: nothing, or without end.
void require_measured(const Roofline& roofline);

/// An <svg> element; a description in words is part of it.
std::string roofline_svg(const Roofline& roofline);

inline constexpr const char* kRoofline = "roofline.json";  ///< in the directory of a run
Json to_json(const Roofline& roofline);
/// Throws Fault::input naming `where`.
Roofline roofline_from_json(const Json& json, std::string_view where);

}  // namespace notch::experiments
