#include "autograd/base/extents.h"

namespace notch {

std::int64_t extent(std::string_view where, std::initializer_list<std::int64_t> factors) {
  constexpr std::int64_t kMost = std::int64_t{1} << 60;
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t f : factors) {
    check(f >= 0, where, "extent ", f, " is negative");
    if (f == 0) {
      empty = true;
    } else {
      check(product < kMost / f, where, "the product of its extents, one of them ", f,
            ", is no size of memory");
      product *= f;
    }
  }
  return empty ? 0 : product;
}

}  // namespace notch
