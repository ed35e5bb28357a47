#include "optim/clip.h"

#include <algorithm>
#include <array>
#include <limits>

#include "autograd/base/thread_pool.h"
#include "tests/catch.h"

namespace clip_test {

using namespace notch;
using namespace notch::optim;

/// Gradients (3, 4) in `a` and (12) in `b`: norms 5 and 12, together 13.
struct Fixture {
  ParamStore store;
  Param& a = store.add("a", {2});
  Param& b = store.add("b", {1});
  Fixture() {
    store.allocate_values();
    store.allocate_gradients();
    std::ranges::copy(std::array<real, 2>{3, -4}, a.grad.data);
    b.grad.data[0] = 12;
  }
};

TEST_CASE("the gradient norm is over all groups and is scaled to the clip") {
  Fixture f;
  const std::vector<ParamGroup> groups{{.params = {&f.a}}, {.params = {&f.b}}};
  CHECK(grad_norm(groups, 6.5).norm == 13);
  CHECK(grad_norm(groups, 6.5).scale == 0.5);
  CHECK(grad_norm(groups, 13).scale == 1);
  CHECK(grad_norm(groups, 20).scale == 1);
  CHECK(grad_norm(groups, 0).scale == 1);  // off
  CHECK(f.a.grad.data[0] == 3);            // the gradients themselves stay
  CHECK(test::error_of([&] { grad_norm(groups, -1); }).fault == Fault::usage);
}

TEST_CASE("a group outside the clip is reported apart") {
  Fixture f;
  const std::vector<ParamGroup> groups{{.params = {&f.a}}, {.params = {&f.b}, .clip = false}};
  const GradNorm norm = grad_norm(groups, 1);
  CHECK(norm.norm == 5);
  CHECK(norm.norm_outside == 12);
  CHECK(norm.scale == 0.2);
}

TEST_CASE("zero gradients have norm zero and are not scaled") {
  Fixture f;
  f.store.zero_gradients();
  const GradNorm norm = grad_norm({{.params = {&f.a, &f.b}}}, 1);
  CHECK(norm.norm == 0);
  CHECK(norm.scale == 1);
}

TEST_CASE("a gradient that is not finite stops the step and is named") {
  for (const real bad :
       {std::numeric_limits<real>::quiet_NaN(), std::numeric_limits<real>::infinity()}) {
    for (const bool clip : {true, false}) {
      Fixture f;
      const std::vector<ParamGroup> groups{{.params = {&f.a}}, {.params = {&f.b}, .clip = clip}};
      REQUIRE_NOTHROW(require_finite(grad_norm(groups, 1), groups, 7));
      f.b.grad.data[0] = bad;
      const ErrorParts parts =
          test::error_of([&] { require_finite(grad_norm(groups, 1), groups, 7); });
      CHECK(parts.fault == Fault::numeric);
      CHECK(parts.where == "step 7");
      CHECK(parts.field == "b");
    }
  }
}

TEST_CASE("the gradient norm has the same bits with any number of threads") {
  ParamStore store;
  Param& p = store.add("p", {100'003});
  store.allocate_values();
  store.allocate_gradients();
  for (std::int64_t i = 0; i < p.grad.size(); ++i) {
    p.grad.data[i] = static_cast<real>((i * 7919) % 1013) / 1000 - real(0.3);
  }
  const int before = threads();
  set_threads(1);
  const double one = grad_norm({{.params = {&p}}}, 0).norm;
  for (const int n : {2, 3, 5}) {
    set_threads(n);
    CHECK(grad_norm({{.params = {&p}}}, 0).norm == one);
  }
  set_threads(before);
}

}  // namespace clip_test
