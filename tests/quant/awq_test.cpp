// AWQ: its scales and ranges against the formulas in double, its folding against the model it came
// from. Sources of expected numbers: Lin et al. 2023 (arXiv:2306.00978), eqs. 4 and 5, written out.
#include "quant/methods/awq.h"

#include <algorithm>
#include <cmath>

#include "quant/methods/post_training.h"
#include "quant/numbers/ranges.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/tiny_models.h"

namespace awq_test {

using namespace notch;
using namespace notch::quant;

/// A matrix of its own, and inputs whose channels differ in size; channel 3 is never seen.
struct Problem {
  std::int64_t rows, cols, tokens = 64;
  ParamStore params{};
  Target target{};
  std::vector<real> x;
  Hessian H;

  Problem(std::int64_t n, std::int64_t k, const Spec& spec, std::uint64_t seed)
      : rows(n), cols(k), x(static_cast<std::size_t>(64 * k)), H(k, {.magnitudes = true}) {
    Rng rng(seed, 5);
    Param& w = params.add("w", {n, k});
    params.allocate_values();
    for (real& v : w.value.flat()) v = static_cast<real>(rng.normal());
    for (std::int64_t i = 0; i < 64 * k; ++i) {
      const std::int64_t j = i % k;
      const double size = j == 3 ? 0 : j == 1 ? 30 : 1 + 0.2 * static_cast<double>(j);
      x[static_cast<std::size_t>(i)] = static_cast<real>(size * rng.normal());
    }
    H.accumulate(x);
    target = {.name = "w", .weight = &w, .spec = spec};
  }
  std::span<const real> w() const { return target.weight->value.flat(); }

  /// Mean over tokens of |x (w - ŵ)ᵀ|², from the inputs themselves.
  double error(std::span<const real> rounded, std::int64_t first = 0, std::int64_t width = 0,
               std::int64_t row = -1) const {
    if (width == 0) width = cols;
    double sum = 0;
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t r = 0; r < rows; ++r) {
        if (row >= 0 && r != row) continue;
        double y = 0;
        for (std::int64_t j = first; j < first + width; ++j) {
          const auto i = static_cast<std::size_t>(r * cols + j);
          y += (double{w()[i]} - double{rounded[i]}) *
               double{x[static_cast<std::size_t>(t * cols + j)]};
        }
        sum += y * y;
      }
    return sum / static_cast<double>(tokens);
  }
};

std::vector<real> nearest_values(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                                 const Spec& spec) {
  Ranges ranges = choose_scales(w, rows, cols, spec, RangeRule::absmax, "w");
  return dequantize(quantize(w, rows, cols, spec, std::move(ranges.at), "w"));
}

const std::vector<Spec> kSpecs{{.bits = 3},
                               {.bits = 4, .granularity = Granularity::group, .group_size = 8},
                               {.bits = 4, .grid = GridKind::asymmetric},
                               {.bits = 4, .granularity = Granularity::tensor}};

TEST_CASE("AWQ takes the exponent of least output error") {
  for (const Spec& spec : kSpecs) {
    Problem p(6, 16, spec, 1);
    const Target* const targets[] = {&p.target};
    const AwqScales found = awq_scales(targets, p.H);
    double least = 1e300, best = 0;
    for (int k = 0; k < 20; ++k) {
      const double a = k / 20.0;
      double low = 1e300, high = 0;
      std::vector<double> m(16, 0.0);
      for (std::size_t i = 0; i < p.x.size(); ++i) m[i % 16] += std::abs(double{p.x[i]}) / 64;
      for (const double v : m) {
        if (v == 0) continue;
        low = std::min(low, std::pow(v, a)), high = std::max(high, std::pow(v, a));
      }
      std::vector<real> scaled(p.w().begin(), p.w().end());
      std::vector<double> s(16, 1.0);
      for (std::size_t j = 0; j < 16; ++j)
        if (m[j] > 0) s[j] = std::pow(m[j], a) / std::sqrt(low * high);
      for (std::size_t i = 0; i < scaled.size(); ++i)
        scaled[i] = static_cast<real>(double{scaled[i]} * s[i % 16]);
      std::vector<real> back = nearest_values(scaled, 6, 16, spec);
      for (std::size_t i = 0; i < back.size(); ++i)
        back[i] = static_cast<real>(double{back[i]} / s[i % 16]);
      const double error = p.error(back);
      if (k == 0) CHECK(found.rtn_error == Approx(error).epsilon(1e-4));
      if (error < least) least = error, best = a;
      if (a == found.exponent) {
        CHECK(found.error == Approx(error).epsilon(1e-3));
        for (std::size_t j = 0; j < 16; ++j) CHECK(found.s[j] == Approx(s[j]).epsilon(1e-5));
      }
    }
    CHECK(found.error == Approx(least).epsilon(1e-3));
    CHECK(found.exponent == Approx(best).margin(0.051));  // float errors may swap neighbours
    CHECK(found.error <= found.rtn_error);
    CHECK(found.s[3] == 1);
    CHECK(found.error < 0.9 * found.rtn_error);  // one channel is 30 times the others
  }
}

TEST_CASE("clipped ranges are the best of ten, unit by unit") {
  for (const Spec& spec : kSpecs) {
    Problem p(5, 16, spec, 2);
    const QTensor q = round_clipped(p.target, p.H);
    const std::vector<real> values = dequantize(q);
    const bool whole = spec.granularity == Granularity::tensor;
    const std::int64_t width = spec.granularity == Granularity::group ? 8 : 16;
    for (std::int64_t row = whole ? -1 : 0; row < (whole ? 0 : 5); ++row) {
      for (std::int64_t first = 0; first < 16; first += width) {
        double least = 1e300;
        for (int i = 0; i < 10; ++i) {
          Scales scales;
          const std::int64_t size = unit_size(spec, 5, 16);
          for (std::int64_t u = 0; u < unit_count(spec, 5, 16); ++u) {
            const auto unit =
                p.w().subspan(static_cast<std::size_t>(u * size), static_cast<std::size_t>(size));
            const UnitScale at = scale_unit(unit, spec, 1 - static_cast<real>(i) / 20);
            scales.scales.push_back(at.scale);
            if (has_zero_points(spec))
              scales.zero_points.push_back(static_cast<std::int8_t>(at.zero_point));
          }
          const auto candidate = dequantize(quantize(p.w(), 5, 16, spec, std::move(scales), "w"));
          least = std::min(least, p.error(candidate, first, width, row));
        }
        CHECK(p.error(values, first, width, row) == Approx(least).epsilon(1e-4));
      }
    }
  }
}

/// Every input divided by numbers between 1/4 and 4, and 8 bits with a scale for each weight: what
/// is left is the folding.
Transform any_divisors(std::span<const Target* const> targets, const Hessian&,
                       const PostTrainingOptions&) {
  Transform by;
  for (std::int64_t j = 0; j < targets[0]->weight->value.cols(); ++j)
    by.divide.push_back(static_cast<real>(std::exp2(std::sin(static_cast<double>(j) + 1) * 2)));
  return by;
}

const Method kFoldAlone{
    .name = "fold",
    .needs = {.hessian = true},
    .transform = any_divisors,
    .round = [](const MatrixView& m, const PostTrainingOptions&) -> Rounded {
      return {.q = quantize(m.w, m.rows(), m.cols(), m.target.spec,
                            choose_scales(m.w, m.rows(), m.cols(), m.target.spec, RangeRule::absmax,
                                          m.target.name)
                                .at,
                            m.target.name)};
    }};

TEST_CASE("moving scales into weights leaves the model's function alone") {
  for (const bool tied : {true, false}) {
    for (const bool bias : {true, false}) {
      for (const bool true_sequential : {false, true}) {
        const auto original = test::make_gpt(test::config_of(tied, bias));
        const auto model = test::make_gpt(test::config_of(tied, bias));
        nn::Model& view = *model;
        const Plan plan{.weights = {.bits = 8, .granularity = Granularity::group, .group_size = 1},
                        .rules = {{"wte", {}}, {"wpe", {}}}};
        const test::Text text(20, 8);
        const nn::Tokens tokens = text.tokens();
        PostTrainingOptions options;
        options.gptq.true_sequential = true_sequential;
        const Quantized q =
            post_training(view, kFoldAlone, resolve(plan, view), {&tokens, 1}, options);
        const test::TemporaryDirectory dir;
        save_quantized(*model, q, dir.path());
        const LoadedModel loaded = load_any(dir.path());
        const std::vector<real> expected = test::logits(*original),
                                got = test::logits(*loaded.model);
        for (std::size_t i = 0; i < got.size(); ++i)
          CHECK(got[i] == Approx(expected[i]).margin(2e-5));
        // Norms absorb what c_attn and c_fc read; v what c_proj reads, unless it is rounded already.
        for (const NamedQTensor& t : q.tensors) {
          const bool stored = t.name.ends_with("mlp.c_proj.weight") ||
                              (true_sequential && t.name.ends_with("attn.c_proj.weight"));
          INFO(t.name);
          CHECK(t.change.multiply.empty() != stored);
        }
        const RunnableModel runnable = load_runnable(dir.path());
        const std::vector<real> packed = test::logits(*runnable.model);
        for (std::size_t i = 0; i < got.size(); ++i)
          CHECK(packed[i] == Approx(expected[i]).margin(2e-5));
      }
    }
  }
}

TEST_CASE("an outlier channel costs AWQ less than round-to-nearest") {
  const auto with_outlier = [] {
    auto model = test::make_gpt(test::config_of(false, true));
    for (Param& p : model->params().params()) {
      if (p.name.ends_with("ln_1.weight") || p.name.ends_with("ln_2.weight")) p.value.data[2] *= 40;
    }
    return model;
  };
  const auto original = with_outlier();
  const std::vector<real> expected = test::logits(*original);
  const test::Text text(20, 8);
  const nn::Tokens tokens = text.tokens();
  const auto loss_of = [&](const char* name) {
    const auto model = with_outlier();
    nn::Model& view = *model;
    const Plan plan{.weights = {.bits = 4}, .rules = {{"wte", {}}, {"wpe", {}}, {"lm_head", {}}}};
    const Quantized q = post_training(view, method(name), resolve(plan, view), {&tokens, 1}, {});
    const test::TemporaryDirectory dir;
    save_quantized(*model, q, dir.path());
    const std::vector<real> got = test::logits(*load_any(dir.path()).model);
    double sum = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      sum += (double{got[i]} - double{expected[i]}) * (double{got[i]} - double{expected[i]});
    return sum;
  };
  CHECK(loss_of("awq") < 0.5 * loss_of("rtn"));
}

TEST_CASE("a stored input multiplier that is not one is refused") {
  const auto model = test::make_gpt();
  Quantized q = test::rounded(*model, {.weights = {.bits = 4}});
  const std::size_t cols = static_cast<std::size_t>(q.tensors[0].q.cols);
  for (const real bad : {real{0}, real{-1}, std::numeric_limits<real>::infinity(),
                         std::numeric_limits<real>::quiet_NaN()}) {
    q.tensors[0].change.multiply.assign(cols, 1);
    q.tensors[0].change.multiply[1] = bad;
    const test::TemporaryDirectory dir;
    save_quantized(*model, q, dir.path());
    CHECK(test::error_of([&] { load_any(dir.path()); }).fault == Fault::input);
  }
}

}  // namespace awq_test
