// Profile: every op that ran has a row of its layer with the time between two readings of the clock.

#include "autograd/profile.h"

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::profile_test {

using test::Array;

double ticks = 0;  // of the clock below, which is a plain function

/// A second passes from each reading to the next.
double ticking() { return ++ticks; }

/// Σ tanh(x x), with the product recorded under "layer".
void step(Graph& g) {
  static Array x{{4}, std::vector<real>(4, real(0.5))};
  g.begin(Graph::Mode::training);
  const Var a = g.input(x.tensor());
  const Var product = [&] {
    const LabelScope scope(g, "layer");
    return mul(a, a);
  }();
  g.backward(sum(tanh(product)));
}

TEST_CASE("a profile has a row per op with the layer that recorded it") {
  Profile profile(ticking);
  Graph g;
  g.set_profile(&profile);
  step(g);
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[0].op == "mul");
  CHECK(profile.rows()[0].label == "layer");
  CHECK(profile.rows()[1].op == "tanh");
  CHECK(profile.rows()[1].label.empty());
  CHECK(profile.rows()[2].op == "sum");
  for (const Profile::Row& row : profile.rows()) {
    CHECK(row.forward == 1);
    CHECK(row.backward == 1);
    CHECK(row.optimizer == 0);
  }
}

TEST_CASE("a second step adds to the same rows, clear() zeroes them") {
  Profile profile(ticking);
  Graph g;
  g.set_profile(&profile);
  step(g);
  step(g);
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[1].forward == 2);
  profile.clear();
  REQUIRE(profile.rows().size() == 3);
  CHECK(profile.rows()[1].op == "tanh");
  CHECK(profile.rows()[1].forward == 0);
  g.set_profile(nullptr);
  step(g);
  CHECK(profile.rows()[1].forward == 0);
}

TEST_CASE("a scope adds its pass's time, and nothing without a profile") {
  Profile profile(ticking);
  { const Profile::Scope scope(&profile, "update", {}, Profile::Pass::optimizer); }
  { const Profile::Scope scope(nullptr, "unseen", {}, Profile::Pass::optimizer); }
  REQUIRE(profile.rows().size() == 1);
  CHECK(profile.rows()[0].optimizer == 1);
  CHECK(profile.rows()[0].forward == 0);
  CHECK(profile.rows()[0].backward == 0);
}

}  // namespace notch::profile_test
