// Sizes that callers hand over: checked in every build, since a wrong one reads or writes memory of
// others.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string_view>

#include "autograd/base/error.h"

namespace notch {

/// The product of extents. Usage Error naming `where` for a negative one, and for a product of 2^60
/// or more, whose bytes could not be counted.
std::int64_t extent(std::string_view where, std::initializer_list<std::int64_t> factors);

/// Whether there is memory for at least `n` values.
template <class Span>
bool holds(const Span& span, std::int64_t n) {
  return n == 0 || (std::ssize(span) >= n && span.data() != nullptr);
}

/// Usage Error unless each of the spans holds at least `n` values.
template <class... Spans>
void require_extent(std::string_view where, std::int64_t n, const Spans&... spans) {
  if ((holds(spans, n) && ...)) return;
  std::string sizes;
  ((sizes += str(sizes.empty() ? "" : ", ", spans.data() ? std::ssize(spans) : 0)), ...);
  check(false, where, "spans of ", sizes, " values; ", n, " are needed");
}

}  // namespace notch
