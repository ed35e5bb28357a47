// Replaces operator new of the program by one that counts. Linked into `notch` itself, not into the
// library: a program has one operator new. Sanitizers bring their own; there nothing is counted.
#include "experiments/machine/heap_allocations.h"

#include <cstdlib>
#include <new>

#ifndef NOTCH_SANITIZED
namespace {

using notch::experiments::heap_allocations;

[[maybe_unused]] const bool counting = (heap_allocations = 0, true);

// Not inlined: the compiler would see that delete gets memory of aligned_alloc, and warn.
[[gnu::noinline]] void* counted(void* p) {
  if (!p) throw std::bad_alloc();
  heap_allocations.fetch_add(1, std::memory_order_relaxed);
  return p;
}
[[gnu::noinline]] void release(void* p) { std::free(p); }

}  // namespace

void* operator new(std::size_t n) { return counted(std::malloc(n ? n : 1)); }
void* operator new(std::size_t n, std::align_val_t alignment) {
  const auto a = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(a, (n + a - 1) / a * a + (n == 0) * a));
}
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
#endif
