// One pool of threads for the whole program.
//
// Determinism rule: a caller cuts its work into tiles that depend on the problem's shape only, and
// body(i) computes tile i alone. Which thread runs a tile, and how many there are, then cannot change
// a bit of the result. Reductions keep one partial per tile and add them in tile order.
#pragma once

#include <cstdint>
#include <type_traits>

namespace notch {

/// Number of threads that parallel_for uses, the caller included. At least 1.
int threads();

/// Resizes the pool; 0 means all cores. Not to be called inside parallel_for.
void set_threads(int n);

namespace detail {
void parallel_run(std::int64_t n, void (*call)(const void* body, std::int64_t i), const void* body);
}

/// Runs body(i) once for each i in [0, n) and returns when all are done. Called inside one of several
/// bodies it runs inline. Of the exceptions that bodies throw, the one of the lowest i is rethrown
/// here. No heap allocation.
template <class Body>
void parallel_for(std::int64_t n, const Body& body) {
  detail::parallel_run(
      n, [](const void* b, std::int64_t i) { (*static_cast<const Body*>(b))(i); }, &body);
}

}  // namespace notch
