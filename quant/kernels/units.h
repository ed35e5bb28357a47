// What every kernel over units of weights takes for granted.
#pragma once

#include <cstdint>
#include <string_view>

#include "autograd/base/extents.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

/// Usage Error unless units are not empty, the spans hold every one of them, and zero points are
/// none or one for each.
template <class... Spans>
void require_units(std::string_view where, const Units& units, const Spans&... spans) {
  check(units.size > 0, where, "units of ", units.size, " weights");
  require_extent(where, extent(where, {std::ssize(units.scales), units.size}), spans...);
  require_extent(where, units.zeros.empty() ? 0 : std::ssize(units.scales), units.zeros);
}

}  // namespace notch::quant
