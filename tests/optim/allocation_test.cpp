// Replaces operator new of this test program to count allocations. Sanitizers bring their own, so
// there the test is left out.
#ifndef NOTCH_SANITIZED
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/sgd.h"
#include "tests/catch.h"

namespace {
std::atomic<long> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, rounded ? rounded : alignment)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t n) { return counted(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) {
  return counted(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n) { return counted(n, alignof(std::max_align_t)); }
void* operator new[](std::size_t n, std::align_val_t a) {
  return counted(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

TEST_CASE("norm, step and average allocate nothing") {
  using namespace notch;
  using namespace notch::optim;
  ParamStore store;
  for (const char* name : {"a", "b"}) store.add(name, {300, 100});
  store.add("c", {7});
  store.allocate_values();
  store.allocate_gradients();
  AdamW adamw(decay_matrices(store, 0.1));
  Sgd sgd(decay_matrices(store, 0.1), 0.9);
  Ema ema(decay_matrices(store, 0), 0.99);
  const auto step = [&] {
    for (Optimizer* optimizer : {static_cast<Optimizer*>(&adamw), static_cast<Optimizer*>(&sgd)}) {
      const GradNorm norm = grad_norm(optimizer->groups(), 1);
      require_finite(norm, optimizer->groups(), optimizer->steps());
      optimizer->step(1e-3, norm.scale);
    }
    ema.update();
  };
  step();  // starts the thread pool
  const long before = allocations;
  REQUIRE(before > 0);
  step();
  CHECK(allocations - before == 0);
}
#endif
