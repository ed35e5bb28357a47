// Replaces operator new of the test program that includes this (in one file). Between begin and end of
// allocations_of it counts what asks the heap, and how much is held at most; one of the requests can
// be made to fail. Sanitizers bring their own operator new; there nothing is counted and none fails.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "tests/allocation_counters.h"

namespace notch::test {

#ifndef NOTCH_SANITIZED
// Before each block stands its size, in as many bytes as its alignment.
// Not inlined: the compiler would see that delete gets memory of aligned_alloc, and warn.
[[gnu::noinline]] inline void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  if (counting_allocations) {
    const long number = ++allocations;
    if (number >= failing_allocation && number <= failing_until) throw std::bad_alloc();
  }
  const std::size_t all = (bytes + alignment - 1) / alignment * alignment + alignment;
  if (all < bytes) throw std::bad_alloc();
  auto* begin = static_cast<char*>(std::aligned_alloc(alignment, all));
  if (!begin) throw std::bad_alloc();
  std::memcpy(begin, &bytes, sizeof bytes);
  const long held = held_bytes += static_cast<long>(bytes);
  for (long most = most_held_bytes; held > most;) {
    if (most_held_bytes.compare_exchange_weak(most, held)) break;
  }
  return begin + alignment;
}
[[gnu::noinline]] inline void counted_free(void* p, std::size_t alignment) {
  if (!p) return;
  char* begin = static_cast<char*>(p) - alignment;
  std::size_t bytes = 0;
  std::memcpy(&bytes, begin, sizeof bytes);
  held_bytes -= static_cast<long>(bytes);
  std::free(begin);
}
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
void operator delete(void* p) noexcept {
  notch::test::counted_free(p, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete[](void* p, std::size_t) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t a) noexcept {
  notch::test::counted_free(p, static_cast<std::size_t>(a));
}
void operator delete[](void* p, std::align_val_t a) noexcept { operator delete(p, a); }
void operator delete(void* p, std::size_t, std::align_val_t a) noexcept { operator delete(p, a); }
void operator delete[](void* p, std::size_t, std::align_val_t a) noexcept { operator delete(p, a); }
#endif
