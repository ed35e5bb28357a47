#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "optim/adamw.h"
#include "optim/sgd.h"
#include "tests/catch.h"

namespace optimizer_test {

using namespace notch;
using namespace notch::optim;

/// The two parameters of tests/fixtures/make_adamw.py.
struct Fixture {
  ParamStore store;
  Param& matrix = store.add("matrix", {2, 3});
  Param& vector = store.add("vector", {3});
  Fixture() {
    store.allocate_values();
    store.allocate_gradients();
    std::ranges::copy(std::array<real, 6>{1, -2, 0.5, 0, 3, -0.25}, matrix.value.data);
    std::ranges::copy(std::array<real, 3>{1, -1, 0.125}, vector.value.data);
  }
  void set_gradients(real factor) {
    std::ranges::copy(std::array<real, 6>{0.5, -0.25, 2, 1, -0.125, 0}, matrix.grad.data);
    std::ranges::copy(std::array<real, 3>{4, -0.5, 0.0625}, vector.grad.data);
    for (Param& p : store.params()) {
      for (real& g : p.grad.flat()) g *= factor;
    }
  }
  std::vector<real> values() const {
    std::vector<real> all(matrix.value.flat().begin(), matrix.value.flat().end());
    all.insert(all.end(), vector.value.flat().begin(), vector.value.flat().end());
    return all;
  }
};

constexpr double kDecay = 0.25;
constexpr std::array<double, 3> kLr{0.1, 0.05, 0.2};
constexpr std::array<real, 3> kFactor{1, -0.5, 0.25};
using Expected = std::array<std::array<double, 9>, 3>;

void check_steps(Fixture& f, Optimizer& optimizer, const Expected& expected) {
  for (std::size_t t = 0; t < 3; ++t) {
    f.set_gradients(kFactor[t]);
    optimizer.step(kLr[t]);
    CHECK(optimizer.steps() == static_cast<std::int64_t>(t) + 1);
    const std::vector<real> w = f.values();
    for (std::size_t i = 0; i < w.size(); ++i) {
      CAPTURE(t, i);
      CHECK(w[i] == Approx(expected[t][i]).epsilon(1e-6).margin(1e-7));
    }
  }
}

TEST_CASE("three AdamW steps equal torch.optim.AdamW in float64") {
  // Printed by tests/fixtures/make_adamw.py: matrix [2, 3] with decay 0.25, vector [3] without.
  const Expected torch = {
      {{0.875000002000, -1.850000004000, 0.387500000500, -0.099999999000, 3.024999992000,
        -0.243750000000, 0.900000000250, -0.900000002000, 0.025000016000},
       {0.850727530859, -1.813540033172, 0.369321279124, -0.112084970297, 3.000522462202,
        -0.240703125000, 0.886665028838, -0.886665030884, 0.011665047249},
       {0.739884285949, -1.654556165219, 0.282548345247, -0.174787591186, 2.918803201241,
        -0.228667968750, 0.818358158658, -0.818358162517, -0.056641806608}}};
  Fixture f;
  AdamW adamw(decay_matrices(f.store, kDecay), {.beta1 = 0.9, .beta2 = 0.99});
  check_steps(f, adamw, torch);
}

TEST_CASE("three SGD steps with momentum equal torch.optim.SGD in float64") {
  // Printed by tests/fixtures/make_adamw.py, the decay of the matrix multiplied in by hand.
  const Expected torch = {{{0.925, -1.925, 0.2875, -0.1, 2.9375, -0.24375, 0.6, -0.95, 0.11875},
                           {0.9071875, -1.8978125, 0.25890625, -0.11125, 2.90234375, -0.240703125,
                            0.55, -0.94375, 0.11796875},
                           {0.818078125, -1.781046875, 0.0709609375, -0.1931875, 2.7681640625,
                            -0.22866796875, 0.2, -0.9, 0.1125}}};
  Fixture f;
  Sgd sgd(decay_matrices(f.store, kDecay), 0.75);
  check_steps(f, sgd, torch);
}

TEST_CASE("SGD without momentum is w - lr g and keeps no state") {
  Fixture f;
  Sgd sgd(decay_matrices(f.store, 0));
  CHECK(sgd.state().empty());
  f.set_gradients(1);
  sgd.step(0.5);
  CHECK(f.matrix.value.data[2] == real(0.5 - 0.5 * 2));
  CHECK(f.vector.value.data[0] == real(1 - 0.5 * 4));
}

TEST_CASE("decay is on matrices only, and is lr times decay") {
  Fixture f;
  const auto groups = decay_matrices(f.store, 0.5);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].params == std::vector<Param*>{&f.matrix});
  CHECK(groups[1].params == std::vector<Param*>{&f.vector});
  const std::vector<real> before = f.values();
  AdamW adamw(groups);
  adamw.step(0.25);  // the gradients are zero: only the decay moves anything
  const std::vector<real> after = f.values();
  for (std::size_t i = 0; i < 6; ++i) CHECK(after[i] == before[i] * real(1 - 0.25 * 0.5));
  for (std::size_t i = 6; i < 9; ++i) CHECK(after[i] == before[i]);
}

TEST_CASE("a group's lr_mult multiplies the learning rate, decay included") {
  Fixture a, b;
  AdamW slow({{.params = {&a.matrix, &a.vector}, .lr_mult = 0.25, .weight_decay = kDecay}});
  AdamW plain({{.params = {&b.matrix, &b.vector}, .weight_decay = kDecay}});
  a.set_gradients(1);
  b.set_gradients(1);
  slow.step(0.5);
  plain.step(0.125);
  CHECK(a.values() == b.values());
}

TEST_CASE("the gradient scale reaches the clipped groups and no others") {
  Fixture scaled, halved;
  const auto groups = [](Fixture& f) -> std::vector<ParamGroup> {
    return {{.params = {&f.matrix}}, {.params = {&f.vector}, .clip = false}};
  };
  Sgd a(groups(scaled)), b(groups(halved));
  scaled.set_gradients(1);
  halved.set_gradients(1);
  for (real& g : halved.matrix.grad.flat()) g *= real(0.5);
  a.step(0.5, 0.5);
  b.step(0.5);
  CHECK(scaled.values() == halved.values());
}

TEST_CASE("parameters side by side are one run, whatever their sizes") {
  ParamStore store;
  // 5 and 16 elements: the first needs padding up to 64 bytes, the second none.
  Param& a = store.add("a", {5});
  Param& b = store.add("b", {16});
  Param& c = store.add("c", {3});
  store.allocate_values();
  store.allocate_gradients();
  const auto runs = [](const std::vector<ParamGroup>& groups) {
    return FlatLayout(groups, FlatLayout::Gradients::required).runs().size();
  };
  CHECK(runs({{.params = {&a, &b, &c}}}) == 1);
  CHECK(runs({{.params = {&a, &c}}}) == 2);
  CHECK(runs({{.params = {&b, &a}}}) == 2);
  CHECK(runs({{.params = {&a}}, {.params = {&b, &c}}}) == 2);
}

TEST_CASE("merged runs move every parameter as if alone, and no others") {
  const auto make = [](ParamStore& store) {
    for (const auto& [name, n] : {std::pair{"a", 5}, {"frozen", 7}, {"b", 33}, {"c", 2}}) {
      store.add(name, {n});
    }
    store.allocate_values();
    store.allocate_gradients();
    for (Param& p : store.params()) {
      for (std::int64_t i = 0; i < p.value.size(); ++i) {
        p.value.data[i] = static_cast<real>(i + 1) / 8;
        p.grad.data[i] = static_cast<real>(i - 2) / 4;
      }
    }
  };
  ParamStore together, alone;
  make(together);
  make(alone);
  const auto param = [](ParamStore& store, const char* name) { return store.find(name); };
  AdamW merged({{.params = {param(together, "a"), param(together, "b"), param(together, "c")},
                 .weight_decay = kDecay}});
  for (int t = 0; t < 3; ++t) merged.step(0.1);
  for (const char* name : {"a", "b", "c"}) {
    AdamW single({{.params = {param(alone, name)}, .weight_decay = kDecay}});
    for (int t = 0; t < 3; ++t) single.step(0.1);
  }
  for (const Param& p : together.params()) {
    CAPTURE(p.name);
    CHECK(std::ranges::equal(p.value.flat(), alone.find(p.name)->value.flat()));
  }
}

TEST_CASE("a resumed optimizer continues bit for bit") {
  const auto train = [](Fixture& f, Optimizer& optimizer, std::size_t first, std::size_t last) {
    for (std::size_t t = first; t < last; ++t) {
      f.set_gradients(kFactor[t]);
      optimizer.step(kLr[t]);
    }
  };
  const auto check_round_trip = [&](auto make) {
    Fixture straight, stopped, resumed;
    auto a = make(straight), b = make(stopped);
    train(straight, *a, 0, 3);
    train(stopped, *b, 0, 2);

    resumed.store.copy_values(stopped.store);
    auto c = make(resumed);
    const auto from = b->state();
    const auto to = c->state();
    REQUIRE(from.size() == to.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
      CHECK(from[i].name == to[i].name);
      REQUIRE(from[i].tensor.shape == to[i].tensor.shape);
      std::ranges::copy(from[i].tensor.flat(), to[i].tensor.data);
    }
    c->set_steps(b->steps());
    train(resumed, *c, 2, 3);
    CHECK(resumed.values() == straight.values());
  };
  check_round_trip(
      [](Fixture& f) { return std::make_unique<AdamW>(decay_matrices(f.store, kDecay)); });
  check_round_trip(
      [](Fixture& f) { return std::make_unique<Sgd>(decay_matrices(f.store, kDecay), 0.5); });
}

TEST_CASE("state is one tensor per moment and parameter, with its shape") {
  Fixture f;
  AdamW adamw(decay_matrices(f.store, kDecay));
  const auto state = adamw.state();
  REQUIRE(state.size() == 4);
  CHECK(state[0].name == "m.matrix");
  CHECK(state[0].tensor.shape == Shape{2, 3});
  CHECK(state[3].name == "v.vector");
  f.set_gradients(1);
  adamw.step(0.1);
  CHECK(state[3].tensor.data[0] == Approx(0.001 * 16));  // (1 - β2) g²
}

TEST_CASE("an optimizer refuses parameters it cannot train") {
  Fixture f;
  ParamStore bare;
  Param& shape_only = bare.add("shape_only", {4});
  Param& no_grad = bare.add("no_grad", {4});
  bare.allocate_values([&](const Param& p) { return &p == &no_grad; });
  const auto fault = [](std::vector<ParamGroup> groups) {
    return test::error_of([&] { AdamW adamw(std::move(groups)); }).fault;
  };
  CHECK(fault({{.params = {&shape_only}}}) == Fault::usage);
  CHECK(fault({{.params = {&no_grad}}}) == Fault::usage);
  CHECK(fault({{.params = {&f.matrix}}, {.params = {&f.matrix}}}) == Fault::usage);
  CHECK(fault({{.params = {nullptr}}}) == Fault::usage);
  CHECK(fault({}) == Fault::usage);
  CHECK(decay_matrices(bare, 0.1)[1].params == std::vector<Param*>{&no_grad});

  AdamW adamw(decay_matrices(f.store, 0));
  CHECK(test::error_of([&] { adamw.step(std::nan("")); }).fault == Fault::usage);
  CHECK(test::error_of([&] { adamw.step(-1); }).fault == Fault::usage);
  CHECK(adamw.steps() == 0);
  const auto bad = [&](AdamWConfig config) {
    return test::error_of([&] { AdamW unused(decay_matrices(f.store, 0), config); }).fault;
  };
  CHECK(bad({.beta1 = 1}) == Fault::usage);
  CHECK(bad({.eps = 0}) == Fault::usage);
}

}  // namespace optimizer_test
