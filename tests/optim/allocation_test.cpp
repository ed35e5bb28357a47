// An optimizer step asks nothing of the heap.
#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/sgd.h"
#include "tests/catch.h"
#include "tests/count_allocations.h"

namespace allocation_test {

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
  CHECK(notch::test::allocations_of(step) == 0);
}

}  // namespace allocation_test
