// What no caller may ask for is refused in every build: sizes that do not fit, handles that are no
// nodes, memory that is not there. And products over nothing are zeros, whatever was in the memory.
#include "tests/refused_calls.h"

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "autograd/arena.h"
#include "autograd/base/arithmetic.h"
#include "autograd/base/large_block.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "autograd/kernels/activation.h"
#include "autograd/kernels/adamw.h"
#include "autograd/kernels/attention.h"
#include "autograd/kernels/bf16_matmul.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/dropout.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/embedding.h"
#include "autograd/kernels/gemv.h"
#include "autograd/kernels/loss.h"
#include "autograd/kernels/matmul.h"
#include "autograd/kernels/norm.h"
#include "autograd/kernels/rotary.h"
#include "autograd/kernels/softmax.h"
#include "autograd/kernels/syrk.h"
#include "autograd/ops.h"
#include "tests/catch.h"

namespace notch::refused_calls_test {

using test::check_refused;
using Reals = std::vector<real>;

constexpr std::int64_t kHuge = std::int64_t{1} << 40;  // twice: not even the count fits 64 bits

TEST_CASE("a product over no terms is zero, or bias, or what was there") {
  const Reals bias{1, 2, 3, 4};
  const std::span<const real> none;
  Reals out(12, 7);
  const auto all = [&](real v) { return out == Reals(12, v); };
  kernels::gemm(out, none, none, 3, 4, 0, {.accumulate = true});
  CHECK(all(7));
  kernels::gemm(out, none, none, 3, 4, 0);
  CHECK(all(0));
  out.assign(12, 7);
  kernels::gemm_serial(out, none, none, 3, 4, 0, {.trans_b = true});
  CHECK(all(0));
  for (const std::int64_t rows : {1, 3}) {
    out.assign(12, 7);
    kernels::gemm(std::span(out).first(static_cast<std::size_t>(4 * rows)), none, none, rows, 4, 0);
    CHECK(out[0] == 0);
    CHECK(out[static_cast<std::size_t>(4 * rows - 1)] == 0);
  }
  out.assign(12, 7);
  kernels::linear_forward(out, none, none, bias, 3, 4, 0);
  CHECK(out == Reals{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4});
  kernels::linear_forward(out, none, none, none, 3, 4, 0);
  CHECK(all(0));
  out.assign(12, 7);
  kernels::matmul({.out = out.data(), .bias = bias.data(), .M = 3, .N = 4, .ld_out = 4});
  CHECK(out == Reals{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4});
}

TEST_CASE("ops over an empty axis do not show what the arena held") {
  Graph g;
  Reals values(4096, 5);
  for (int step = 0; step < 3; ++step) {
    g.begin(Graph::Mode::inference);
    const Var x = g.constant({values.data(), {64, 64}});
    const Var y = scale(x, 3);
    if (step == 0) {
      scale(y, 3), scale(y, 5);  // what the next steps find in the memory
      continue;
    }
    const Var a = g.constant({values.data(), {64, 0}}), b = g.constant({values.data(), {0, 64}});
    const Var product = matmul(a, b);
    const Var weights = g.constant({values.data(), {64, 0}});
    const Var layer = linear(a, weights);
    for (const Var v : {product, layer}) {
      REQUIRE(v.shape() == Shape{64, 64});
      for (const real value : v.value().flat()) REQUIRE(value == 0);
    }
    CHECK(y.value().flat()[0] == 15);
  }
}

TEST_CASE("shapes that no memory holds and absent axes are refused") {
  const Shape shape{2, 3};
  check_refused({[] {
                   Shape{kHuge, kHuge};
                 },
                 [] {
                   Shape{kHuge, kHuge, 0};
                 },
                 [] {
                   Shape{1 << 30, 1 << 30, 4};
                 },
                 [] {
                   Shape{2, -1};
                 },
                 [] {
                   Shape{1, 1, 1, 1, 1};
                 },
                 [&] { shape.with(2, 1); }, [&] { shape.with(-1, 1); }, [&] { shape.with(0, -4); },
                 [&] { shape.with(0, std::numeric_limits<std::int64_t>::max()); },
                 [&] { shape.without(2); }, [&] { shape.without(-1); }, [&] { shape[2]; },
                 [&] { shape[-1]; }});
  CHECK(Shape{0, 1 << 20}.size() == 0);
}

TEST_CASE("handles that are no nodes of the step are refused") {
  Graph g;
  g.begin(Graph::Mode::training);
  Reals values{1, 2};
  const Var x = g.input({values.data(), {2}});
  const Var forged{&g, 1000, x.epoch}, empty, old{&g, 0, x.epoch - 1};
  const std::vector<Var> parts{x, empty};
  check_refused({[&] { add(x, forged); },
                 [&] { add(forged, x); },
                 [&] { forged.value(); },
                 [&] { forged.item(); },
                 [&] { g.grad(forged); },
                 [&] { g.keep(forged); },
                 [&] { g.backward(forged); },
                 [&] { add(x, empty); },
                 [&] { empty.value(); },
                 [&] { concat(parts, 0); },
                 [&] { add(x, old); },
                 [&] { g.constant({}); },
                 [&] {
                   g.input({nullptr, {3}});
                 },
                 [&] { g.backward(x, std::span<const real>(static_cast<real*>(nullptr), 2)); },
                 [&] {
                   const std::int32_t* none = nullptr;
                   embedding(g.constant({values.data(), {2, 1}}), {none, 2}, 1, 2);
                 },
                 [&] { embedding(x, {}, kHuge, kHuge); },
                 [&] { embedding(x, {}, -1, -1); },
                 [&] {
                   mean(g.constant({nullptr, {0}}));
                 },
                 [&] { g.memory(&g, &g, ~std::size_t{0}); },
                 [&] {
                   const Var nothing = g.constant({nullptr, {1, 2, 0}});
                   causal_attention(nothing, nothing, nothing, 1);
                 }});
}

TEST_CASE("kernels refuse spans that are too short or negative sizes") {
  Reals four(4), eight(8);
  std::vector<double> losses(2);
  const std::span<real> null(static_cast<real*>(nullptr), 4);
  const std::vector<std::int32_t> ids{0, 1}, outside{0, 4}, negative{0, -1};
  const std::span<real> a(four), b(eight);
  const kernels::Qkv qkv{.q = b, .k = b, .v = b, .q_row = 12, .kv_row = 12};
  check_refused({
      [&] { kernels::gemm(a, a, a, -1, 4, 1); },
      [&] { kernels::gemm(a, a, a, 2, 2, 3); },
      [&] { kernels::gemm(a, a, a, kHuge, kHuge, kHuge); },
      [&] { kernels::gemm(a, a, a, 1 << 16, 1 << 16, std::int64_t{1} << 32); },
      [&] { kernels::gemm(null, a, a, 2, 2, 2); },
      [&] { kernels::gemm(a, a, a, 2, 2, 2, {.ld_out = 1}); },
      [&] { kernels::gemm_serial(a, null, a, 2, 2, 2); },
      [&] { kernels::gemv(a, a, a, {}, -1, -4, 1); },
      [&] { kernels::linear_forward(a, a, a, null, 1, 4, 1); },
      [&] { kernels::fill(null, 0); },
      [&] { kernels::add(b, a, a); },
      [&] { kernels::add(a, a, null); },
      [&] { kernels::scale(b, a, 1); },
      [&] { kernels::accumulate(b, a); },
      [&] { kernels::bias_forward(b, b, a, 1, 8); },
      [&] { kernels::bias_backward(a, a, 2, 4); },
      [&] { kernels::bias_backward(a, a, -1, -4); },
      [&] { kernels::dot(b, a); },
      [&] { kernels::gelu_forward(a, b, kernels::Gelu::exact); },
      [&] { kernels::gelu_backward(a, b, b, kernels::Gelu::tanh); },
      [&] { kernels::exp_forward(a, b); },
      [&] { kernels::tanh_backward(a, b, b); },
      [&] { kernels::dropout_forward(a, b, 0.5, 1); },
      [&] { kernels::dropout_backward(b, a, 0.5, 1); },
      [&] { kernels::softmax_forward(a, a, 2, 4); },
      [&] { kernels::softmax_backward({}, a, a, 1, 4); },
      [&] { kernels::log_sum_exp(a, a, kHuge, kHuge); },
      [&] { kernels::layernorm_forward(b, a, a, b, a, {}, 1, 8, 1e-5); },
      [&] { kernels::layernorm_backward(b, a, {}, b, b, a, a, a, 2, 4, {}); },
      [&] { kernels::embedding_forward(b, b, outside, 2, 4); },
      [&] { kernels::embedding_forward(b, b, negative, 2, 4); },
      [&] { kernels::embedding_backward(b, b, outside, 2, 4); },
      [&] { kernels::embedding_forward(b, b, ids, 3, 2); },
      [&] { kernels::cross_entropy_forward(losses, b, outside, 2, 4); },
      [&] { kernels::cross_entropy_forward(losses, b, ids, 3, 2); },
      [&] { kernels::attention_forward(b, a, qkv, {.B = 1, .T = 2, .NH = 1, .HS = 4}, b); },
      [&] {
        kernels::attention_forward(b, a, qkv, {.B = 1, .T = 1, .NH = 3, .HS = 1, .KV = 2}, b);
      },
      [&] { kernels::attention_forward(b, a, qkv, {.B = kHuge, .T = kHuge, .NH = 1, .HS = 4}, b); },
      [&] { kernels::rotary_table(a, 2, 4, 1e4); },
      [&] { kernels::rotary_table(b, 1, 3, 1e4); },
      [&] { kernels::rotary_table(b, 1, 4, 1e4, std::vector<double>(1, 1.0)); },
      [&] { kernels::rotary_forward(b, b, a, {.B = 1, .T = 2, .H = 1, .HS = 4}); },
      [&] { kernels::rotary_forward(b, a, b, {.B = 1, .T = 2, .H = 1, .HS = 4}); },
      [&] { kernels::rotary_backward(a, b, b, {.B = 1, .T = 2, .H = 1, .HS = 4}); },
      [&] { kernels::rotary_backward(b, b, b, {.B = 1, .T = 1, .H = 2, .HS = 3}); },
      [&] { kernels::adamw(b, b, a, b, {}); },
      [&] { kernels::sgd(b, a, b, {}); },
      [&] { kernels::ema(b, a, 0.5); },
      [&] { kernels::swiglu_forward(b, a, b); },
      [&] { kernels::swiglu_forward(b, b, a); },
      [&] { kernels::swiglu_forward(null, a, a); },
      [&] { kernels::swiglu_backward(a, {}, a, a, {}); },
      [&] { kernels::swiglu_backward(a, b, b, b, b); },
      [&] { kernels::syrk(losses, a, 2, 2); },
      [&] { kernels::syrk(losses, a, 1, -1); },
      [&] { kernels::syrk(losses, a, kHuge, kHuge); },
      [&] { kernels::rmsnorm_forward(b, a, b, {}, 2, 4, 1e-5); },
      [&] { kernels::rmsnorm_forward(b, {}, b, a, 2, 4, 1e-5); },
      [&] { kernels::rmsnorm_forward(b, a, b, a, kHuge, kHuge, 1e-5); },
      [&] { kernels::rmsnorm_again(b, a, a, a, 2, 4); },
      [&] { kernels::rmsnorm_backward(b, a, b, b, a, a, 2, 4, {}); },
      [&] { kernels::rmsnorm_backward(b, std::span(a).first(3), b, b, a, a, 2, 4, b); },
      [&] { kernels::layernorm_backward_workspace(kHuge, kHuge); },
      [&] { kernels::attention_workspace({.B = 1, .T = kHuge, .NH = 1, .HS = kHuge}); },
      [&] { kernels::attention_workspace({.B = 1, .T = 4, .NH = 0, .HS = 4}); },
      [&] { kernels::matmul(kernels::Matmul{.M = 2, .N = 2, .K = 2}); },
      [&] { kernels::matmul(kernels::Matmul{.out = four.data(), .M = -1, .N = 2, .K = 2}); },
      [&] {
        const real* x = four.data();
        kernels::matmul(
            kernels::Matmul{.out = four.data(), .a = x, .b = x, .M = 2, .N = 2, .K = 2});
      },
      [&] { FlatBlock block(~std::size_t{0} / 4); },
      [&] { allocate_large(~std::size_t{0}); },
      [&] { Arena().allocate(~std::size_t{0}); },
      [] { Rng(1).set_state({}); },
      [&] { Sha256 hash(nullptr); },
  });
}

TEST_CASE("kernels refuse settings without a meaning, as ops do") {
  Reals x(4, 1), y(4);
  std::vector<double> losses(2);
  const std::vector<std::int32_t> ids{0, 1}, ignored{0, -2};
  std::vector<std::function<void()>> calls{
      [&] { kernels::cross_entropy_forward_backward(losses, x, ignored, 1, 2, 2); }};
  for (const double bad : {std::nan(""), -1.0}) {
    calls.push_back([&, bad] { kernels::layernorm_forward(y, y, y, x, x, {}, 1, 4, bad); });
    calls.push_back([&, bad] { kernels::rmsnorm_forward(y, y, x, x, 1, 4, bad); });
    calls.push_back([&, bad] { kernels::dropout_forward(y, x, bad, 1); });
    calls.push_back([&, bad] { kernels::dropout_backward(y, x, 1 - bad, 1); });
    calls.push_back([&, bad] { kernels::rotary_table(y, 1, 4, bad); });
    calls.push_back([&, bad] { kernels::rotary_table(y, 1, 4, 1e4, std::vector{1.0, bad}); });
    calls.push_back(
        [&, bad] { kernels::distillation_forward(losses, {}, x, x, ids, {.tau = bad}, 2, 2); });
  }
  check_refused(calls);
}

TEST_CASE("parameters that no memory holds are refused first") {
  ParamStore store;  // together 2^64 elements: the sum of their bytes would wrap around to none
  for (int i = 0; i < 32; ++i) store.add(str("p", i), {1 << 30, 1 << 29});
  check_refused({[&] { store.allocate_values(); }, [&] { store.count(); }});
  CHECK(store.params().front().value.data == nullptr);
}

TEST_CASE("a matrix with a NaN is not positive definite") {
  const double nan = std::nan("");
  for (const Arithmetic arithmetic : {Arithmetic::native, Arithmetic::portable}) {
    const ScopedArithmetic scope(arithmetic);
    std::vector<double> first{nan, 0, 0, 1}, second{4, 0, nan, 1}, whole{4, 0, 2, 5};
    CHECK(kernels::cholesky(first, 2) == 1);
    CHECK(kernels::cholesky(second, 2) == 2);
    CHECK(kernels::cholesky(whole, 2) == 0);
  }
}

#ifndef NOTCH_DOUBLE
TEST_CASE("a bfloat16 product of no terms is zero, bias or what was") {
  if (!kernels::bf16_available()) return;
  const Reals bias{1, 2};
  Reals out(4, 7);
  kernels::Bf16Product product{.out = out.data(), .M = 2, .N = 2, .ld_out = 2, .accumulate = true};
  kernels::bf16_matmul(product);
  CHECK(out == Reals{7, 7, 7, 7});
  product.accumulate = false;
  kernels::bf16_matmul(product);
  CHECK(out == Reals{0, 0, 0, 0});
  product.bias = bias.data();
  kernels::bf16_matmul(product);
  CHECK(out == Reals{1, 2, 1, 2});
  product.K = 3;
  check_refused({[&] { kernels::bf16_matmul(product); }});
}
#endif

}  // namespace notch::refused_calls_test
