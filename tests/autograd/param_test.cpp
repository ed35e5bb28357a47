// ParamStore: flat blocks that never move, gradients on request.

#include "autograd/param.h"

#include <algorithm>
#include <cstdint>

#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::param_test {

using test::error_of;

bool aligned(const real* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

TEST_CASE("parameters have shapes, then values, and gradients last") {
  ParamStore store;
  Param& p = store.add("p", {2, 3});
  CHECK(p.value.data == nullptr);
  CHECK(p.value.shape == Shape{2, 3});
  store.allocate_gradients();  // nothing has values yet
  CHECK(p.grad.data == nullptr);
  store.allocate_values();
  REQUIRE(p.value.data != nullptr);
  CHECK(p.grad.data == nullptr);
  store.allocate_gradients();
  REQUIRE(p.grad.data != nullptr);
  CHECK(p.grad.shape == p.value.shape);
  CHECK(std::ranges::all_of(p.value.flat(), [](real v) { return v == 0; }));
  CHECK(std::ranges::all_of(p.grad.flat(), [](real v) { return v == 0; }));
}

TEST_CASE("values lie aligned in order of declaration without overlap") {
  ParamStore store;
  for (const std::int64_t n : {1, 17, 16, 5}) store.add(str("p", n), {n});
  store.allocate_values();
  store.allocate_gradients();
  const Param* before = nullptr;
  for (const Param& p : store.params()) {
    CHECK(aligned(p.value.data));
    CHECK(aligned(p.grad.data));
    if (before) {
      CHECK(p.value.data >= before->value.data + before->value.size());
      CHECK(p.grad.data >= before->grad.data + before->grad.size());
    }
    before = &p;
  }
}

TEST_CASE("parameters, values and gradients never move") {
  ParamStore store;
  Param& p = store.add("p", {3});
  store.allocate_values();
  store.allocate_gradients();
  real *value = p.value.data, *grad = p.grad.data;
  p.value.data[1] = 5;
  for (int i = 0; i < 1000; ++i) store.add(str("later", i), {7});
  store.allocate_values();
  store.allocate_gradients();
  CHECK(store.find("p") == &p);
  CHECK(p.value.data == value);
  CHECK(p.grad.data == grad);
  CHECK(p.value.data[1] == 5);
  const ParamStore moved = std::move(store);
  CHECK(moved.find("p") == &p);
  CHECK(p.value.data[1] == 5);
}

TEST_CASE("only wanted parameters get values, others can later") {
  ParamStore store;
  Param& a = store.add("a", {3});
  Param& b = store.add("b", {3});
  store.allocate_values([](const Param& p) { return p.name == "b"; });
  CHECK(a.value.data == nullptr);
  REQUIRE(b.value.data != nullptr);
  store.allocate_gradients();
  CHECK(a.grad.data == nullptr);
  CHECK(b.grad.data != nullptr);
  real* const value = b.value.data;
  store.allocate_values();
  store.allocate_gradients();
  CHECK(a.value.data != nullptr);
  CHECK(a.grad.data != nullptr);
  CHECK(b.value.data == value);
}

TEST_CASE("zero_gradients zeroes the gradients of every block") {
  ParamStore store;
  Param& a = store.add("a", {3});
  store.allocate_values();
  store.allocate_gradients();
  Param& b = store.add("b", {2});
  store.allocate_values();
  store.allocate_gradients();
  for (const Param* p : {&a, &b}) std::ranges::fill(p->grad.flat(), real{1});
  store.zero_gradients();
  for (const Param* p : {&a, &b})
    CHECK(std::ranges::all_of(p->grad.flat(), [](real v) { return v == 0; }));
}

TEST_CASE("names are unique, found, and counted with their elements") {
  ParamStore store;
  store.add("a", {2, 3});
  store.add("b", {4});
  CHECK(error_of([&] { store.add("a", {1}); }).where == "params");
  CHECK(store.params().size() == 2);
  CHECK(store.count() == 10);
  CHECK(store.find("b")->value.size() == 4);
  CHECK(store.find("c") == nullptr);
}

TEST_CASE("copy_values copies equal stores and refuses unequal ones") {
  const auto make = [](const char* name, Shape shape) {
    auto store = std::make_unique<ParamStore>();
    store->add(name, shape);
    store->allocate_values();
    return store;
  };
  const auto from = make("a", {2, 3}), to = make("a", {2, 3});
  std::ranges::fill(from->params()[0].value.flat(), real{7});
  to->copy_values(*from);
  CHECK(test::copy(to->params()[0].value.flat()) == std::vector<real>(6, 7));
  CHECK(error_of([&] { to->copy_values(*make("b", {2, 3})); }).where == "params");
  CHECK(error_of([&] { to->copy_values(*make("a", {3, 2})); }).where == "params");
  CHECK(error_of([&] { to->copy_values(ParamStore{}); }).where == "params");
  ParamStore empty;
  empty.add("a", {2, 3});
  CHECK(error_of([&] { to->copy_values(empty); }).where == "params");
}

}  // namespace notch::param_test
