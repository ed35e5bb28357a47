// How often the program asked the heap: the bench shows it per training step.
#pragma once

#include <atomic>
#include <cstdint>

namespace notch::experiments {

/// Calls of operator new so far; below zero where the program does not count them (only `notch`
/// does, through heap_allocations.cpp; the tests bring a counter of their own).
inline std::atomic<std::int64_t> heap_allocations = -1;

}  // namespace notch::experiments
