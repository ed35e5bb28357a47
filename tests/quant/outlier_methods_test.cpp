// Outliers and what is made for them: the fixture keeps the function, SmoothQuant and LLM.int8() equal
// their papers' formulas written out, and each takes back what outliers cost.
#include <algorithm>
#include <cmath>

#include "quant/kernels/hadamard.h"
#include "quant/methods/hadamard.h"
#include "quant/methods/llm_int8.h"
#include "quant/methods/outliers.h"
#include "quant/methods/post_training.h"
#include "quant/methods/smoothquant.h"
#include "quant/numbers/ranges.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace outlier_methods_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

std::vector<AnyModel> models() {
  nn::GptConfig config = tiny_config();
  config.n_embd = 32;
  return {any_model([=] { return make_gpt(config); }), any_model([] { return make_llama(false); })};
}

/// Only the linears of the blocks, so that differences are theirs.
const Plan kW8{.weights = {.bits = 8}};
Plan w8a8() {
  Plan plan = kW8;
  plan.activations = ActivationSpec{};
  plan.rules = {{"wte", {}}, {"lm_head", {}}};
  return plan;
}

/// The logits of what the method wrote, read back: as it is scored and as it is run.
struct Served {
  std::vector<real> scored, run;
};
Served served(const AnyModel& original, std::string_view name, Plan plan,
              const PostTrainingOptions& options = {}) {
  AnyModel work = copy_of(original);
  const bool gpt = work.get().architecture() == "gpt2";
  for (PlanRule& rule : plan.rules)
    if (rule.pattern == "wte" && !gpt) rule.pattern = "model.embed_tokens";
  if (gpt) std::erase_if(plan.rules, [](const PlanRule& r) { return r.pattern == "lm_head"; });
  const Text text(20, 8);
  const nn::Tokens tokens = text.tokens();
  const Quantized q =
      post_training(work.get(), method(name), resolve(plan, work.get()), {&tokens, 1}, options);
  const TemporaryDirectory dir;
  save_quantized(work.get(), q, dir.path());
  return {logits(*load_any(dir.path()).model), logits(*load_runnable(dir.path()).model)};
}

double distance(const std::vector<real>& a, const std::vector<real>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a[i]) - double(b[i]), 2);
  return sum;
}

TEST_CASE("outliers are added without a change of the function") {
  for (AnyModel& model : models()) {
    const std::vector<real> before = logits(model.get());
    AnyModel changed = copy_of(model);
    add_outliers(changed.get(), 2, 7);
    const std::vector<real> after = logits(changed.get());
    for (std::size_t i = 0; i < before.size(); ++i)
      CHECK(after[i] == Approx(before[i]).epsilon(1e-5).margin(1e-5));
    // Two channels of every norm in front of linears, 30 to 100 times; others as they were.
    int norms = 0;
    for (std::size_t p = 0; p < model.params().params().size(); ++p) {
      const Param &was = model.params().params()[p], &is = changed.params().params()[p];
      if (was.value.shape.rank() != 1 || !was.name.ends_with("weight")) continue;
      int larger = 0;
      for (std::int64_t j = 0; j < was.value.size(); ++j) {
        const double ratio = double(is.value.data[j]) / double(was.value.data[j]);
        if (ratio == 1) continue;
        ++larger;
        CHECK(ratio > 29.99);
        CHECK(ratio < 100.01);
      }
      const bool last = was.name == "ln_f.weight" || was.name == "model.norm.weight";
      CHECK(larger == (last ? 0 : 2));
      norms += last ? 0 : 1;
    }
    CHECK(norms == 4);
    // The same seed the same channels, another seed others; none none.
    AnyModel again = copy_of(model), other = copy_of(model), none = copy_of(model);
    add_outliers(again.get(), 2, 7);
    add_outliers(other.get(), 2, 8);
    add_outliers(none.get(), 0, 7);
    CHECK(same_bits(values_of(again.params()), values_of(changed.params())));
    CHECK_FALSE(same_bits(values_of(other.params()), values_of(changed.params())));
    CHECK(same_bits(values_of(none.params()), values_of(model.params())));
    CHECK(error_of([&] { add_outliers(none.get(), 33, 7); }).fault == Fault::usage);
  }
}

TEST_CASE("smoothing is the paper's equation 4 over all readers") {
  ParamStore params;
  Param &a = params.add("a", {3, 8}), &b = params.add("b", {2, 8});
  params.allocate_values();
  Rng rng(3, 1);
  for (Param* p : {&a, &b})
    for (real& v : p->value.flat()) v = static_cast<real>(rng.normal());
  for (std::int64_t r = 0; r < 3; ++r) a.value.data[r * 8 + 5] = 0;
  for (std::int64_t r = 0; r < 2; ++r) b.value.data[r * 8 + 5] = 0;
  const Target ta{.name = "a", .weight = &a}, tb{.name = "b", .weight = &b};
  const Target* const targets[] = {&ta, &tb};
  const std::vector<real> largest{1, 2, 100, 0, real(0.5), 3, 4, 5};
  for (const double alpha : {0.3, 0.5, 0.85}) {
    const std::vector<real> s = smoothing(targets, largest, alpha);
    for (std::size_t j = 0; j < 8; ++j) {
      double w = 0;
      for (const Param* p : {&a, &b})
        for (std::int64_t r = 0; r < p->value.rows(); ++r)
          w = std::max(w, std::fabs(double(p->value.data[r * 8 + std::int64_t(j)])));
      const double expected =
          j == 3 || j == 5 ? 1 : std::pow(double(largest[j]), alpha) / std::pow(w, 1 - alpha);
      CHECK(double(s[j]) == Approx(expected).epsilon(1e-5));
    }
  }
  CHECK(smoothing(targets, largest, 0) == std::vector<real>(8, 1));
}

TEST_CASE("without migration SmoothQuant is round-to-nearest") {
  for (const AnyModel& model : models()) {
    AnyModel a = copy_of(model), b = copy_of(model);
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    const auto run = [&](AnyModel& m, const char* name) {
      Plan plan{.weights = {.bits = 8}, .activations = ActivationSpec{}};
      return post_training(m.get(), method(name), resolve(plan, m.get()), {&tokens, 1},
                           {.smoothquant = {.alpha = 0}});
    };
    const Quantized smooth = run(a, "smoothquant"), rtn = run(b, "rtn");
    for (std::size_t i = 0; i < rtn.tensors.size(); ++i) {
      CHECK(smooth.tensors[i].q == rtn.tensors[i].q);
      CHECK(smooth.tensors[i].change.empty());
    }
    CHECK(same_bits(values_of(a.params()), values_of(b.params())));
  }
}

TEST_CASE("the searched strength has the least error of twenty") {
  const std::int64_t rows = 6, K = 16, tokens = 64;
  for (const bool rounds_inputs : {true, false}) {
    ParamStore params;
    Param& w = params.add("w", {rows, K});
    params.allocate_values();
    Rng rng(5, 1);
    for (real& v : w.value.flat()) v = static_cast<real>(rng.normal());
    std::vector<real> x;
    for (std::int64_t i = 0; i < tokens * K; ++i)
      x.push_back(static_cast<real>((i % K == 2 ? 50 : 1 + 0.1 * double(i % K)) * rng.normal()));
    Hessian H(K, {.moments = false, .magnitudes = true, .sample_every = 1});
    H.accumulate(x);
    CHECK(std::ssize(H.sample()) == tokens * K);
    Target t{.name = "w", .weight = &w, .spec = {.bits = 4}};
    if (rounds_inputs) t.input = InputQuantizer{.spec = {.bits = 8}};
    const Target* const targets[] = {&t};
    const Smoothing found = smoothing_of(targets, H, -1);
    double least = 1e300, nearest = 0;
    for (int k = 0; k < kSmoothStrengths; ++k) {
      const std::vector<real> s = smoothing(targets, H.largest(), k / 20.0);
      std::vector<real> ws(w.value.flat().begin(), w.value.flat().end());
      for (std::size_t i = 0; i < ws.size(); ++i) ws[i] *= s[i % 16];
      const std::vector<real> back = dequantize(quantize(
          ws, rows, K, t.spec, choose_scales(ws, rows, K, t.spec, RangeRule::absmax, "t").at, "t"));
      double error = 0;
      for (std::int64_t n = 0; n < tokens; ++n) {
        std::vector<double> in(16);
        double most = 0;
        for (std::size_t j = 0; j < 16; ++j) {
          in[j] = double(x[std::size_t(n * K) + j]) / double(s[j]);
          most = std::max(most, std::fabs(in[j]));
        }
        if (rounds_inputs)
          for (double& v : in) v = std::nearbyint(v / (most / 127)) * most / 127;
        for (std::int64_t r = 0; r < rows; ++r) {
          double y = 0;
          for (std::size_t j = 0; j < 16; ++j)
            y += in[j] * double(back[std::size_t(r * K) + j]) -
                 double(x[std::size_t(n * K) + j]) * double(w.value.data[r * K + std::int64_t(j)]);
          error += y * y;
        }
      }
      if (k == 0) nearest = error;
      least = std::min(least, error);
    }
    CHECK(found.error == Approx(least).epsilon(0.02));  // inputs on a tie may fall either way
    CHECK(found.rtn_error == Approx(nearest).epsilon(0.02));
    if (rounds_inputs) CHECK(found.error < 0.5 * found.rtn_error);
  }
}

TEST_CASE("LLM.int8() multiplies outliers in floats, the rest as integers") {
  CHECK(outlier_channels(std::vector<real>{1, 6, real(5.99), 60}, 6) ==
        std::vector<std::int32_t>{1, 3});
  for (AnyModel& model : models()) {
    add_outliers(model.get(), 1, 3);
    AnyModel work = copy_of(model);
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    Plan plan{.weights = {.bits = 8}, .activations = ActivationSpec{}};
    const std::vector<Target> targets = resolve(plan, work.get());
    const Quantized q = post_training(work.get(), method("llm-int8"), targets, {&tokens, 1},
                                      {.llm_int8 = {.threshold = 20}});
    double counted = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const NamedQTensor& t = q.tensors[i];
      counted += measure(q.layers[i], "outliers");
      if (!t.change.side) continue;
      const SideProduct& side = *t.change.side;
      const Param& w = *model.params().find(t.name);
      CHECK(side.rank == std::ssize(side.channels));
      std::vector<real> rest(w.value.flat().begin(), w.value.flat().end());
      for (std::int64_t r = 0; r < w.value.rows(); ++r) {
        for (std::int64_t k = 0; k < side.rank; ++k) {
          real& v = rest[std::size_t(r * w.value.cols() + side.channels[std::size_t(k)])];
          // Float16 has 11 bits.
          CHECK(double(side.up[std::size_t(r * side.rank + k)]) ==
                Approx(double(v)).epsilon(0x1p-11).margin(1e-7));
          v = 0;
        }
      }
      CHECK(t.q ==
            quantize(rest, t.q.rows, t.q.cols, t.q.spec,
                     choose_scales(rest, t.q.rows, t.q.cols, t.q.spec, RangeRule::absmax, "t").at,
                     "t"));
    }
    CHECK(counted >= 4);  // one of every norm at least
    const TemporaryDirectory dir;
    save_quantized(work.get(), q, dir.path());
    const LoadedModel back = load_any(dir.path());
    for (const NamedQTensor& t : back.tensors) {
      const auto at = std::ranges::find(q.tensors, t.name, &NamedQTensor::name);
      CHECK(t.change.side.has_value() == at->change.side.has_value());
      if (!t.change.side) continue;
      CHECK(t.change.side->channels == at->change.side->channels);
      CHECK(same_bits(t.change.side->up, at->change.side->up));
    }
  }
}

TEST_CASE("a rotation is the Hadamard matrix of its definition") {
  for (const std::int64_t cols : {1, 2, 8, 12, 96}) {
    const std::int64_t block = hadamard_block(cols);
    CHECK(cols % block == 0);
    CHECK((cols / block) % 2 == 1);
    const std::vector<std::int8_t> signs = rotation_signs(cols);
    const std::vector<real> x = normal_matrix(3 * cols, 2);
    std::vector<real> y = x;
    rotate_rows(y, signs);
    for (std::int64_t r = 0; r < 3; ++r) {
      for (std::int64_t i = 0; i < cols; ++i) {
        double sum = 0;
        for (std::int64_t j = i / block * block; j < (i / block + 1) * block; ++j) {
          const auto both = static_cast<std::uint64_t>((i % block) & (j % block));
          const double h = std::popcount(both) % 2 == 0 ? 1 : -1;
          sum += h * signs[std::size_t(j)] * double(x[std::size_t(r * cols + j)]);
        }
        CHECK(double(y[std::size_t(r * cols + i)]) ==
              Approx(sum / std::sqrt(double(block))).margin(1e-5));
      }
    }
    rotate_rows_back(y, signs);
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i] == Approx(x[i]).margin(1e-5));
  }
}

TEST_CASE("rotated models are the same function in floating point") {
  // Eight bits and a scale for each weight: what is left is the rotation.
  for (const AnyModel& model : models()) {
    Plan plan{.weights = {.bits = 8, .granularity = Granularity::group, .group_size = 1},
              .rules = {{"wte", {}}, {"lm_head", {}}}};
    const std::vector<real> expected = logits(model.get());
    double largest = 0;
    for (const real v : expected) largest = std::max(largest, std::fabs(double(v)));
    const Served got = served(model, "rtn-hadamard", plan);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(got.scored[i] == Approx(expected[i]).margin(1e-5 * largest));
      CHECK(got.run[i] == Approx(expected[i]).margin(1e-5 * largest));
    }
  }
}

TEST_CASE("each takes back what outliers cost 8-bit inputs") {
  for (AnyModel& model : models()) {
    const double without = distance(served(model, "rtn", w8a8()).scored, logits(model.get()));
    add_outliers(model.get(), 2, 5);
    const std::vector<real> expected = logits(model.get());
    const double cost = distance(served(model, "rtn", w8a8()).scored, expected);
    REQUIRE(cost > 20 * without);
    // A rotation spreads an outlier over its block, of 16 channels here; the others take it away.
    for (const auto& [name, share] : {std::pair{"smoothquant", 0.05},
                                      {"llm-int8", 0.05},
                                      {"rtn-hadamard", 0.4},
                                      {"gptq-hadamard", 0.4}}) {
      const Served got = served(model, name, w8a8());
      INFO(name);
      CHECK(distance(got.scored, expected) < share * cost);
      CHECK(distance(got.scored, got.run) < 0.01 * cost);
    }
  }
}

TEST_CASE("a transform that needs no second moments has none summed") {
  const auto summed = [](bool asks) {
    const Method m{
        .name = "sums",
        .needs = {.text = true, .hessian = asks, .magnitudes = true},
        .transform =
            [](std::span<const Target* const>, const Hessian& H, const PostTrainingOptions&) {
              H.matrix();
              return Transform{};
            },
        .round = method("rtn").round};
    const AnyModel model = models()[0];
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    post_training(model.get(), m, resolve({.weights = {.bits = 8}}, model.get()), {&tokens, 1}, {});
  };
  CHECK_NOTHROW(summed(true));
  CHECK(error_of([&] { summed(false); }).where == "hessian");
  CHECK_FALSE(method("smoothquant").needs.hessian);
  CHECK_FALSE(method("llm-int8").needs.hessian);
}

TEST_CASE("methods read as much text as they look at") {
  for (const AnyModel& model : models()) {
    const auto products = [&](std::string_view name, std::span<const nn::Tokens> text) {
      AnyModel work = copy_of(model);
      int n = 0;
      const nn::Attachment counting = work.get().hooks().linear_chain.attach(
          [&n](Graph& g, const nn::Linear& l, Var x, const auto& next) {
            ++n;
            return next(g, l, x);
          });
      post_training(work.get(), method(name), resolve({.weights = {.bits = 8}}, work.get()), text,
                    {});
      return n;
    };
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    CHECK(products("rtn-hadamard", {}) == 0);
    // AWQ looks at the magnitudes of inputs, transforms, and at the moments of what comes of it;
    // the others at the first alone.
    const int twice = products("awq", {&tokens, 1}), once = products("smoothquant", {&tokens, 1});
    CHECK(once > 0);
    CHECK(once < twice);
    CHECK(products("llm-int8", {&tokens, 1}) < twice);
  }
}

TEST_CASE("what changes an input is refused where a file has it wrong") {
  AnyModel model = models()[0];
  const auto broken = [&](const auto& damage) {
    AnyModel work = copy_of(model);
    Quantized q = rounded(work.get(), {.weights = {.bits = 4}});
    damage(q.tensors[0]);
    const TemporaryDirectory dir;
    save_quantized(work.get(), q, dir.path());
    return error_of([&] { load_any(dir.path()); }).fault;
  };
  const auto side = [](const NamedQTensor& t, std::vector<std::int32_t> channels) {
    const auto rank = std::ssize(channels);
    return SideProduct{.channels = std::move(channels),
                       .up = std::vector<real>(static_cast<std::size_t>(t.q.rows * rank), 1),
                       .rank = rank};
  };
  CHECK(broken([&](NamedQTensor& t) { t.change.side = side(t, {3, 2}); }) == Fault::input);
  CHECK(broken([&](NamedQTensor& t) { t.change.side = side(t, {0, 32}); }) == Fault::input);
  CHECK(broken([&](NamedQTensor& t) { t.change.side = side(t, {-1}); }) == Fault::input);
  CHECK(broken([&](NamedQTensor& t) {
          t.change.side = side(t, {0, 1});
          t.change.side->up[0] = std::numeric_limits<real>::infinity();
        }) == Fault::input);
}

}  // namespace outlier_methods_test
