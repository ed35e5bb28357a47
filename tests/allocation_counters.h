// What counted allocations say: the program has tests/count_allocations.h in one of its files.
#pragma once

#include <atomic>

namespace notch::test {

inline std::atomic<bool> counting_allocations = false;
inline std::atomic<long> allocations = 0;
inline std::atomic<long> failing_allocation = 0;  // the number of the one that fails; 0: none
inline std::atomic<long> failing_until = 0;       // and of the last one that does
inline std::atomic<long> held_bytes = 0, most_held_bytes = 0;

/// Number of allocations that `action` makes.
template <class Action>
long allocations_of(const Action& action) {
  struct Counting {
    Counting() {
      allocations = 0;
      most_held_bytes = held_bytes.load();
      counting_allocations = true;
    }
    ~Counting() { counting_allocations = false; }
  };
  const Counting counting;
  action();
  return allocations;
}

#ifndef NOTCH_SANITIZED
inline constexpr bool kCountsAllocations = true;
#else
inline constexpr bool kCountsAllocations = false;
#endif

}  // namespace notch::test
