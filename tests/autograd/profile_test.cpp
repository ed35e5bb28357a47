// Profile: every op that ran has a row of its layer, and the rows lie inside the step's time.

#include "autograd/profile.h"

#include <chrono>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::profile_test {

using test::Array;

/// Σ tanh(x y) of 2^16 elements, with the product recorded under "layer"; the time it took.
double step(Graph& g) {
  static Array x{{1 << 16}, std::vector<real>(1 << 16, real(0.5))};
  const auto start = std::chrono::steady_clock::now();
  g.begin(Graph::Mode::training);
  const Var a = g.input(x.tensor());
  const Var product = [&] {
    const LabelScope scope(g, "layer");
    return mul(a, a);
  }();
  g.backward(sum(tanh(product)));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_CASE("a profile has a row per op with the layer that recorded it") {
  Profile profile;
  Graph g;
  g.set_profile(&profile);
  const double seconds = step(g);
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[0].op == "mul");
  CHECK(profile.rows()[0].label == "layer");
  CHECK(profile.rows()[1].op == "tanh");
  CHECK(profile.rows()[1].label.empty());
  CHECK(profile.rows()[2].op == "sum");
  double all = 0;
  for (const Profile::Row& row : profile.rows()) {
    CHECK(row.forward > 0);
    CHECK(row.backward > 0);
    CHECK(row.optimizer == 0);
    all += row.forward + row.backward;
  }
  CHECK(all < seconds);
}

TEST_CASE("a second step adds to the same rows, clear() zeroes them") {
  Profile profile;
  Graph g;
  g.set_profile(&profile);
  step(g);
  const double first = profile.rows()[1].forward;
  step(g);
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[1].forward > first);
  profile.clear();
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[1].op == "tanh");
  CHECK(profile.rows()[1].forward == 0);
  g.set_profile(nullptr);
  step(g);
  CHECK(profile.rows()[1].forward == 0);
}

TEST_CASE("a scope adds its pass's time, and nothing without a profile") {
  Profile profile;
  { const Profile::Scope scope(&profile, "update", {}, Profile::Pass::optimizer); }
  { const Profile::Scope scope(nullptr, "unseen", {}, Profile::Pass::optimizer); }
  REQUIRE(profile.rows().size() == 1);
  CHECK(profile.rows()[0].optimizer > 0);
  CHECK(profile.rows()[0].forward == 0);
  CHECK(profile.rows()[0].backward == 0);
}

}  // namespace notch::profile_test
