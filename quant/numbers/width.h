// A width in a file.
#pragma once

#include <string>
#include <string_view>

#include "autograd/base/error.h"
#include "autograd/base/json.h"

namespace notch::quant {

/// Bits per weight. Fault::input for what no grid and no float type has.
inline int width_from_json(const Json& json, std::string_view where) {
  const std::int64_t bits = json.as_int(where);
  if (bits >= 1 && bits <= 32) return static_cast<int>(bits);
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "no width",
               .field = "bits",
               .found = str(bits),
               .expected = "1 to 32"});
}

}  // namespace notch::quant
