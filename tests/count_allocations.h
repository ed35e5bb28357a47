// Replaces operator new of the test program that includes this (in one file) and counts what asks
// the heap between counting() = true and false. Sanitizers bring their own operator new; there
// nothing is counted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace notch::test {

inline std::atomic<bool> counting_allocations = false;
inline std::atomic<long> allocations = 0;

/// Number of allocations that `action` makes.
template <class Action>
long allocations_of(const Action& action) {
  allocations = 0;
  counting_allocations = true;
  action();
  counting_allocations = false;
  return allocations;
}

#ifndef NOTCH_SANITIZED
// Not inlined: the compiler would see that delete gets memory of aligned_alloc, and warn.
[[gnu::noinline]] inline void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  if (counting_allocations) ++allocations;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, bytes ? bytes : alignment)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] inline void counted_free(void* p) { std::free(p); }
inline constexpr bool kCountsAllocations = true;
#else
inline constexpr bool kCountsAllocations = false;
#endif

}  // namespace notch::test

#ifndef NOTCH_SANITIZED
void* operator new(std::size_t n) {
  return notch::test::counted_allocation(n, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new[](std::size_t n) {
  return notch::test::counted_allocation(n, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(std::size_t n, std::align_val_t a) {
  return notch::test::counted_allocation(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return notch::test::counted_allocation(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { notch::test::counted_free(p); }
void operator delete[](void* p) noexcept { notch::test::counted_free(p); }
void operator delete(void* p, std::size_t) noexcept { notch::test::counted_free(p); }
void operator delete[](void* p, std::size_t) noexcept { notch::test::counted_free(p); }
void operator delete(void* p, std::align_val_t) noexcept { notch::test::counted_free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { notch::test::counted_free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  notch::test::counted_free(p);
}
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  notch::test::counted_free(p);
}
#endif
