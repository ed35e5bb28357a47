// Values of the general ops on numbers small enough to do by hand, and the errors of all ops.
// (The kernels behind the large ones are tested in autograd/kernels/, gradients in gradients/.)

#include "autograd/ops.h"

#include <cmath>
#include <limits>

#include "tests/autograd/array.h"
#include "tests/catch.h"

namespace notch::ops_test {

using test::Array;
using test::copy;
using test::error_of;
using Reals = std::vector<real>;

constexpr real kInf = std::numeric_limits<real>::infinity();
constexpr real kNan = std::numeric_limits<real>::quiet_NaN();

/// A graph and leaves that live as long as it does.
struct Bench {
  Graph g;
  std::vector<std::unique_ptr<Array>> arrays;
  Bench() { g.begin(Graph::Mode::training); }
  Var leaf(Shape shape, Reals values) {
    return g.input(arrays.emplace_back(new Array{shape, std::move(values)})->tensor());
  }
  Var zeros(Shape shape) { return leaf(shape, Reals(static_cast<std::size_t>(shape.size()))); }
};

Reals values(Var v) { return copy(v.value().flat()); }

TEST_CASE("binary ops repeat b over a's leading dimensions") {
  Bench t;
  const Var a = t.leaf({2, 3}, {1, 2, 3, 4, 5, 6});
  const Var row = t.leaf({3}, {10, 20, 40}), one = t.leaf({1}, {2});
  CHECK(values(add(a, row)) == Reals{11, 22, 43, 14, 25, 46});
  CHECK(values(sub(a, row)) == Reals{-9, -18, -37, -6, -15, -34});
  CHECK(values(mul(a, row)) == Reals{10, 40, 120, 40, 100, 240});
  CHECK(values(div(row, t.leaf({3}, {4, 5, 8}))) == Reals{2.5, 4, 5});
  CHECK(values(add(a, one)) == Reals{3, 4, 5, 6, 7, 8});
  CHECK(values(div(a, one)) == Reals{0.5, 1, 1.5, 2, 2.5, 3});
  for (const Var wrong : {t.zeros({2}), t.zeros({2, 3, 1}), t.zeros({3, 3}), t.zeros({1, 2, 3})}) {
    CHECK(error_of([&] { add(a, wrong); }).where == "add");
    CHECK(error_of([&] { div(a, wrong); }).where == "div");
  }
}

TEST_CASE("reductions drop their axis") {
  Bench t;
  const Var x = t.leaf({2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(values(sum(x)) == Reals{78});
  CHECK(values(sum(x, 0)) == Reals{8, 10, 12, 14, 16, 18});
  CHECK(values(sum(x, 1)) == Reals{5, 7, 9, 17, 19, 21});
  CHECK(values(sum(x, 2)) == Reals{6, 15, 24, 33});
  CHECK(sum(x, 1).shape() == Shape{2, 3});
  CHECK(values(mean(x, 2)) == Reals{2, 5, 8, 11});
  CHECK(values(mean(x)) == Reals{6.5});
  CHECK(values(max(x, 1)) == Reals{4, 5, 6, 10, 11, 12});
  CHECK(values(max(x)) == Reals{12});
  CHECK(error_of([&] { sum(x, 3); }).where == "sum");
  CHECK(error_of([&] { max(x, -2); }).where == "max");
  CHECK(error_of([&] { max(t.zeros({0})); }).where == "max");
  CHECK(error_of([&] { max(t.zeros({2, 0}), 1); }).where == "max");
}

TEST_CASE("max sends its gradient to the first maximum and shows a NaN") {
  Bench t;
  const Var x = t.leaf({4}, {1, 3, 3, 2});
  const Var y = t.leaf({3}, {1, kNan, 2});
  CHECK(std::isnan(max(y).item()));
  t.g.backward(max(x));
  CHECK(copy(t.g.grad(x)) == Reals{0, 1, 0, 0});
}

TEST_CASE("unary ops at their edges") {
  Bench t;
  const Var x = t.leaf({4}, {-1, 0, 2, kInf});
  CHECK(values(relu(x)) == Reals{0, 0, 2, kInf});
  const Reals logs = values(log(x));
  CHECK(std::isnan(logs[0]));
  CHECK(logs[1] == -kInf);
  CHECK(logs[3] == kInf);
  CHECK(std::isnan(values(relu(t.leaf({1}, {kNan})))[0]));
  const Var zero = t.leaf({1}, {0});
  t.g.backward(relu(zero));
  CHECK(copy(t.g.grad(zero)) == Reals{0});
}

TEST_CASE("transpose, slice and concat put elements where the axes say") {
  Bench t;
  const Var x = t.leaf({2, 2, 2}, {0, 1, 10, 11, 100, 101, 110, 111});  // digits are the index
  CHECK(values(transpose(x, 0, 1)) == Reals{0, 1, 100, 101, 10, 11, 110, 111});
  CHECK(values(transpose(x, 0, 2)) == Reals{0, 100, 10, 110, 1, 101, 11, 111});
  CHECK(values(transpose(x, 2, 0)) == values(transpose(x, 0, 2)));
  CHECK(values(slice(x, 0, 1, 2)) == Reals{100, 101, 110, 111});
  CHECK(values(slice(x, 1, 0, 1)) == Reals{0, 1, 100, 101});
  CHECK(values(slice(x, 2, 1, 2)) == Reals{1, 11, 101, 111});
  CHECK(slice(x, 1, 1, 1).shape() == Shape{2, 0, 2});
  const Var a = t.leaf({2, 1}, {1, 2}), b = t.leaf({2, 2}, {3, 4, 5, 6});
  const Var parts[] = {a, b};
  CHECK(values(concat(parts, 1)) == Reals{1, 3, 4, 2, 5, 6});
  const Var rows[] = {b, b};
  CHECK(values(concat(rows, 0)) == Reals{3, 4, 5, 6, 3, 4, 5, 6});
  CHECK(error_of([&] { concat(parts, 0); }).where == "concat");
  CHECK(error_of([&] { concat(parts, 2); }).where == "concat");
  CHECK(error_of([&] { concat({}, 0); }).where == "concat");
  CHECK(error_of([&] { transpose(a, 0, 2); }).where == "transpose");
  CHECK(error_of([&] { transpose(a, 1, 1); }).where == "transpose");
  CHECK(error_of([&] { slice(a, 0, 1, 3); }).where == "slice");
  CHECK(error_of([&] { slice(a, 0, 2, 1); }).where == "slice");
  CHECK(error_of([&] { reshape(a, {3}); }).where == "reshape");
}

TEST_CASE("products multiply rows by columns, batch by batch") {
  Bench t;
  const Var a = t.leaf({2, 2}, {1, 2, 3, 4}), b = t.leaf({2, 1}, {10, 100});
  CHECK(values(matmul(a, b)) == Reals{210, 430});
  CHECK(values(linear(a, t.leaf({1, 2}, {10, 100}), t.leaf({1}, {7}))) == Reals{217, 437});
  const Var batch_a = t.leaf({2, 1, 2}, {1, 2, 3, 4});
  const Var batch_b = t.leaf({2, 2, 1}, {1, 1, 10, 100});
  CHECK(values(matmul(batch_a, batch_b)) == Reals{3, 430});
  CHECK(matmul(batch_a, b).shape() == Shape{2, 1, 1});
  CHECK(matmul(t.zeros({0, 1, 2}), t.zeros({0, 2, 1})).shape() == Shape{0, 1, 1});
  CHECK(error_of([&] { matmul(a, t.zeros({3, 1})); }).where == "matmul");
  CHECK(error_of([&] { matmul(batch_a, t.zeros({3, 2, 1})); }).where == "matmul");
  CHECK(error_of([&] { matmul(t.zeros({2}), b); }).where == "matmul");
  CHECK(error_of([&] { linear(a, t.zeros({2, 3})); }).where == "linear");
  CHECK(error_of([&] { linear(a, a, t.zeros({3})); }).where == "linear");
}

TEST_CASE("the transformer's ops name themselves in shape errors") {
  Bench t;
  const Var x = t.zeros({1, 2, 6});
  CHECK(error_of([&] { layernorm(x, t.zeros({5}), std::nullopt); }).where == "layernorm");
  CHECK(error_of([&] { layernorm(x, t.zeros({6}), t.zeros({1})); }).where == "layernorm");
  CHECK(error_of([&] { causal_attention(x, 4); }).where == "causal_attention");
  CHECK(error_of([&] { causal_attention(x, 0); }).where == "causal_attention");
  CHECK(error_of([&] { causal_attention(t.zeros({2, 6}), 1); }).where == "causal_attention");
  CHECK(error_of([&] { causal_attention(x, 1, 1.0); }).where == "causal_attention");
  CHECK(error_of([&] { rmsnorm(x, t.zeros({5}), 1e-5); }).where == "rmsnorm");
  CHECK(error_of([&] { swiglu(x, t.zeros({1, 2, 5})); }).where == "swiglu");
  const Var k = t.zeros({1, 2, 2}), longer = t.zeros({1, 3, 2});
  CHECK_NOTHROW(causal_attention(x, k, k, 3));
  CHECK(error_of([&] { causal_attention(x, k, x, 3); }).where == "causal_attention");
  CHECK(error_of([&] { causal_attention(x, longer, longer, 3); }).where == "causal_attention");
  const Var four = t.zeros({1, 2, 4});  // two heads of keys do not serve three of queries
  CHECK(error_of([&] { causal_attention(x, four, four, 3); }).where == "causal_attention");
  CHECK(error_of([&] { causal_attention(x, k, k, 0); }).where == "causal_attention");
  const Tensor table = t.zeros({2, 2}).value(), odd = t.zeros({2, 3}).value();
  CHECK_NOTHROW(rotary(x, table));
  CHECK(error_of([&] { rotary(x, table, 1); }).where == "rotary");
  CHECK(error_of([&] { rotary(x, table, 2); }).where == "rotary");
  CHECK(error_of([&] { rotary(x, odd); }).where == "rotary");
  const std::int32_t ids[] = {0, 3}, negative[] = {-1, 0};
  CHECK(error_of([&] { embedding(t.zeros({3, 2}), ids, 1, 2); }).where == "embedding");
  CHECK(error_of([&] { embedding(t.zeros({3, 2}), negative, 1, 2); }).where == "embedding");
  CHECK(error_of([&] { embedding(t.zeros({4, 2}), ids, 1, 3); }).where == "embedding");
}

TEST_CASE("losses average over the targets that count, in nats") {
  Bench t;
  // p = (1/4, 3/4): losses ln 4 and ln 4/3.
  const real ln3 = std::log(3.0f);
  const Var logits = t.leaf({3, 2}, {0, ln3, 0, ln3, 50, -50});
  const std::int32_t targets[] = {0, 1, -1};
  CHECK(cross_entropy(logits, targets).item() ==
        Approx((std::log(4.0) + std::log(4.0 / 3)) / 2).epsilon(1e-6));
  const Var head = t.leaf({2, 2}, {1, 0, 0, 1});
  CHECK(head_loss(logits, head, targets).item() ==
        Approx((std::log(4.0) + std::log(4.0 / 3)) / 2).epsilon(1e-6));
}

TEST_CASE("losses refuse unknown targets and batches without targets") {
  Bench t;
  const Var logits = t.zeros({2, 3}), head = t.zeros({3, 3});
  const std::int32_t high[] = {0, 3}, low[] = {-2, 0}, none[] = {-1, -1}, one[] = {0};
  for (const std::span<const std::int32_t> wrong :
       {std::span<const std::int32_t>(high), {low}, {none}, {one}}) {
    CHECK(error_of([&] { cross_entropy(logits, wrong); }).where == "cross_entropy");
    CHECK(error_of([&] { head_loss(logits, head, wrong); }).where == "head_loss");
  }
}

TEST_CASE("head_loss refuses unfit teachers and meaningless settings") {
  Bench t;
  const Var x = t.zeros({2, 3}), head = t.zeros({5, 3});
  const std::int32_t targets[] = {0, 1};
  const Tensor tx = t.zeros({2, 4}).value(), thead = t.zeros({5, 4}).value();
  const auto refused = [&](const Teacher& teacher) {
    return error_of([&] { head_loss(x, head, targets, teacher); }).where == "head_loss";
  };
  CHECK_NOTHROW(head_loss(x, head, targets, Teacher{tx, thead}));
  CHECK(refused({tx, t.zeros({6, 4}).value()}));     // another vocabulary
  CHECK(refused({tx, t.zeros({5, 3}).value()}));     // another width than its own states
  CHECK(refused({t.zeros({3, 4}).value(), thead}));  // another number of rows
  CHECK(refused({tx, thead, /*tau=*/0, /*alpha=*/1}));
  CHECK(refused({tx, thead, /*tau=*/kInf, /*alpha=*/1}));
  CHECK(refused({tx, thead, /*tau=*/1, /*alpha=*/1.5}));
  CHECK(refused({tx, thead, /*tau=*/1, /*alpha=*/kNan}));
}

}  // namespace notch::ops_test
