// Settings that would move parameters to NaN, and groups that are none, are refused before a step.
#include "tests/refused_calls.h"

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tests/catch.h"

namespace notch::optim::refused_calls_test {

TEST_CASE("groups, steps and settings that no training has are refused") {
  ParamStore store;
  Param& p = store.add("p", {4});
  store.allocate_values();
  store.allocate_gradients();
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const auto group = [&](double lr_mult, double decay) {
    return std::vector<ParamGroup>{{.params = {&p}, .lr_mult = lr_mult, .weight_decay = decay}};
  };
  const std::vector<ParamGroup> null{{.params = {nullptr}}};
  const auto step_after = [&](std::int64_t steps) {
    AdamW adamw(group(1, 0));
    adamw.set_steps(steps);
    adamw.step(0.1);
  };
  const std::vector<std::function<void()>> calls{
      [&] { AdamW adamw(group(nan, 0)); },
      [&] { AdamW adamw(group(-1, 0)); },
      [&] { AdamW adamw(group(1, nan)); },
      [&] { Sgd sgd(group(1, -1)); },
      [&] { Sgd sgd(group(infinity, 0)); },
      [&] { AdamW adamw(group(1, 0), {.eps = infinity}); },
      [&] { step_after(-1); },
      [&] { step_after(std::numeric_limits<std::int64_t>::min()); },
      [&] { step_after(std::numeric_limits<std::int64_t>::max()); },
      [&] { grad_norm(null, 1); },
      [&] { require_finite({.norm = nan}, null, 0); },
      [&] { Schedule{.steps = 0}(-1); },
  };
  test::check_refused(calls);
  for (const real value : p.value.flat()) CHECK(value == 0);
}

}  // namespace notch::optim::refused_calls_test
