#include "optim/ema.h"

#include <algorithm>

#include "tests/catch.h"

namespace ema_test {

using namespace notch;
using namespace notch::optim;

struct Fixture {
  ParamStore store;
  Param& w = store.add("w", {1});
  Param& b = store.add("b", {2});
  Fixture() {
    store.allocate_values();
    w.value.data[0] = 1;
  }
  std::vector<ParamGroup> groups() { return {{.params = {&w, &b}}}; }
};

TEST_CASE("the average starts at the weights and decays to later ones") {
  Fixture f;
  Ema ema(f.groups(), 0.75);
  const auto state = ema.state();
  REQUIRE(state.size() == 2);
  CHECK(state[0].name == "ema.w");
  CHECK(state[0].tensor.data[0] == 1);
  f.w.value.data[0] = 5;
  ema.update();
  CHECK(state[0].tensor.data[0] == 2);  // 0.75 · 1 + 0.25 · 5
  ema.update();
  CHECK(state[0].tensor.data[0] == 2.75);  // 0.75 · 2 + 0.25 · 5
  CHECK(f.w.value.data[0] == 5);
}

TEST_CASE("EmaWeights shows averages and gives trained weights back") {
  Fixture f;
  Ema ema(f.groups(), 0.5);
  f.w.value.data[0] = 3;
  f.b.value.data[1] = 4;
  ema.update();
  {
    const EmaWeights averaged(ema);
    CHECK(f.w.value.data[0] == 2);
    CHECK(f.b.value.data[1] == 2);
    CHECK(test::error_of([&] { ema.update(); }).fault == Fault::usage);
    CHECK(test::error_of([&] { ema.state(); }).fault == Fault::usage);
    CHECK(test::error_of([&] { EmaWeights twice(ema); }).fault == Fault::usage);
  }
  CHECK(f.w.value.data[0] == 3);
  CHECK(f.b.value.data[1] == 4);
  ema.update();
  CHECK(ema.state()[0].tensor.data[0] == 2.5);
}

TEST_CASE("a restored average continues bit for bit") {
  Fixture straight, resumed;
  Ema a(straight.groups(), 0.9), b(resumed.groups(), 0.9);
  straight.w.value.data[0] = real(0.3);
  a.update();
  resumed.store.copy_values(straight.store);
  const auto from = a.state(), to = b.state();
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::ranges::copy(from[i].tensor.flat(), to[i].tensor.data);
  }
  a.update();
  b.update();
  CHECK(from[0].tensor.data[0] == to[0].tensor.data[0]);
}

TEST_CASE("a decay below 0 or from 1 on is refused") {
  Fixture f;
  for (const double decay : {-0.1, 1.0}) {
    CHECK(test::error_of([&] { Ema ema(f.groups(), decay); }).fault == Fault::usage);
  }
}

}  // namespace ema_test
