// Learned levels: the least squared error by trying everything, and by published quantizers; the learned grid in
// memory, in bytes and under GPTQ.
#include "quant/numbers/learned_levels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/half.h"
#include "quant/methods/methods.h"
#include "quant/numbers/own_levels.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/tiny_models.h"

namespace learned_levels_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

using Doubles = std::vector<double>;

/// Σ wᵢ min_l (xᵢ - l)²
double error_of(const Doubles& x, const Doubles& weights, const Doubles& levels) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const double l : levels) least = std::min(least, (x[i] - l) * (x[i] - l));
    sum += (weights.empty() ? 1 : weights[i]) * least;
  }
  return sum;
}

/// The least error of all ways to give each number one of `count` levels, intervals or not.
double least_of_all(const Doubles& x, const Doubles& weights, int count) {
  std::size_t ways = 1;
  for (std::size_t i = 0; i < x.size(); ++i) ways *= at(count);
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t way = 0; way < ways; ++way) {
    Doubles weight(at(count)), sum(at(count));
    std::vector<std::size_t> of(x.size());
    for (std::size_t i = 0, rest = way; i < x.size(); ++i, rest /= at(count)) {
      of[i] = rest % at(count);
      weight[of[i]] += weights[i];
      sum[of[i]] += weights[i] * x[i];
    }
    double error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double d = x[i] - sum[of[i]] / weight[of[i]];
      error += weights[i] * d * d;
    }
    least = std::min(least, error);
  }
  return least;
}

Doubles sorted_normal(std::int64_t n, std::uint64_t seed) {
  const std::vector<real> w = normal_matrix(n, seed);
  Doubles x(w.begin(), w.end());
  std::ranges::sort(x);
  return x;
}

Spec learned(int bits, Granularity g = Granularity::channel, std::int64_t group = 0) {
  return {.bits = bits,
          .grid = GridKind::learned,
          .granularity = g,
          .group_size = group,
          .scale = ScaleType::f16};
}

TEST_CASE("no other way to share levels out has less error") {
  Rng rng(3);
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const Doubles x = sorted_normal(8, seed);
    Doubles weights(x.size());
    for (double& w : weights) w = 0.1 + rng.uniform() * (seed % 2 == 0 ? 10 : 1);
    for (const int count : {1, 2, 3, 4}) {
      const Doubles levels = best_levels(x, weights, count);
      CHECK(std::ranges::is_sorted(levels));
      CHECK(error_of(x, weights, levels) == Approx(least_of_all(x, weights, count)).margin(1e-12));
    }
  }
}

TEST_CASE("Lloyd's algorithm from quantiles ends no lower") {
  for (const int count : {4, 8, 16}) {
    const Doubles x = sorted_normal(600, std::uint64_t(count));
    Doubles levels;
    for (int k = 0; k < count; ++k) levels.push_back(x[at(600 * (2 * k + 1) / (2 * count))]);
    for (int step = 0; step < 300; ++step) {
      Doubles sum(levels.size()), n(levels.size());
      for (const double v : x) {
        const auto k =
            at(std::ranges::min_element(levels, {}, [&](double l) { return std::fabs(v - l); }) -
               levels.begin());
        sum[k] += v;
        n[k] += 1;
      }
      for (std::size_t k = 0; k < levels.size(); ++k)
        if (n[k] > 0) levels[k] = sum[k] / n[k];
    }
    const double lloyd = error_of(x, {}, levels), best = error_of(x, {}, best_levels(x, {}, count));
    CHECK(best <= lloyd * (1 + 1e-12));
    CHECK(best > 0.5 * lloyd);
  }
}

TEST_CASE("of a normal distribution they are Max's quantizers") {
  // Max, "Quantizing for minimum distortion" (1960), table I: mean squared errors, and the levels of N = 4.
  const Doubles x =
      sorted_normal(300'000, 1);  // more than ends: intervals end at every fourth or fifth
  const Doubles four = best_levels(x, {}, 4);
  CHECK(four[3] == Approx(1.510).epsilon(0.01));
  CHECK(four[2] == Approx(0.4528).epsilon(0.01));
  CHECK(error_of(x, {}, four) / 300'000 == Approx(0.1175).epsilon(0.01));
  CHECK(error_of(x, {}, best_levels(x, {}, 8)) / 300'000 == Approx(0.03454).epsilon(0.01));
  CHECK(error_of(x, {}, best_levels(x, {}, 16)) / 300'000 == Approx(0.009497).epsilon(0.01));
}

TEST_CASE("few or weightless numbers leave usable levels") {
  CHECK(best_levels({}, {}, 4) == Doubles(4, 0));
  const Doubles two = {-1, -1, 2};
  const Doubles levels = best_levels(two, {}, 4);
  CHECK(std::ranges::is_sorted(levels));
  CHECK(error_of(two, {}, levels) == 0);
  const Doubles x{-3, 0, 1, 2}, weights{0, 0, 1, 1};
  CHECK(error_of(x, weights, best_levels(x, weights, 2)) == 0);
  CHECK(test::error_of([&] { best_levels(x, Doubles{1}, 2); }).where == "learned levels");
}

TEST_CASE("codes are the unit's nearest levels, of float16") {
  const std::vector<real> w = normal_matrix(3 * 32, 7, 0.05);
  for (const Spec& spec :
       {learned(2), learned(3, Granularity::group, 16), learned(4, Granularity::tensor)}) {
    INFO(name_of(spec));
    const Ranges ranges = choose_scales(w, 3, 32, spec, RangeRule::mse, "t");
    const std::size_t each = std::size_t{1} << spec.bits;
    CHECK(ranges.at.scales.size() == each * at(unit_count(spec, 3, 32)));
    const QTensor q = quantize(w, 3, 32, spec, ranges.at, "t");
    const std::vector<real> back = dequantize(q);
    const std::size_t unit = at(unit_size(spec, 3, 32));
    for (std::size_t i = 0; i < w.size(); ++i) {
      const auto levels = std::span(q.at.scales).subspan(i / unit * each, each);
      CHECK(back[i] == levels[at(q.codes[i])]);
      for (const real level : levels)
        CHECK(std::fabs(double(back[i]) - double(w[i])) <=
              std::fabs(double(level) - double(w[i])) + 1e-9);
    }
#ifndef NOTCH_DOUBLE
    for (const real level : q.at.scales) CHECK(level == from_f16(to_f16(level)));
#endif
    CHECK(unpack(pack(q), "t") == q);
    // Of the whole matrix the levels are no worse than the best of any one scale.
    Spec narrow = spec;
    narrow.grid = GridKind::narrow;
    const auto error = [&](const QTensor& of) {
      return test::output_error(w, of, identity(32, 1));
    };
    CHECK(error(q) < error(rtn(w, 3, 32, narrow, RangeRule::mse)));
  }
}

TEST_CASE("learned levels take the bytes that were predicted") {
  // By hand: 4 x 48 codes of 3 bits, 18 bytes a row; 8 levels of 2 bytes for a row, 3 groups of it, all.
  const auto bytes = [](const Spec& spec) { return storage_bytes(spec, 4, 48); };
  CHECK(bytes(learned(3)).codes == 72);
  CHECK(bytes(learned(3)).scales == 4 * 16);
  CHECK(bytes(learned(3, Granularity::group, 16)).scales == 12 * 16);
  CHECK(bytes(learned(3, Granularity::tensor)).total() == 72 + 16);
  CHECK(bits_per_weight(learned(3), 64, 128) == 3 + 8 * 16 / 128.0);
  CHECK(name_of(learned(3)) == "3-bit learned channel f16");
  const QTensor q = rtn(normal_matrix(4 * 48, 2), 4, 48, learned(3), RangeRule::absmax);
  CHECK(pack(q).codes.size() == 72);
  CHECK(pack(q).scales.size() == 64);
}

TEST_CASE("levels that are not levels are refused") {
  QTensor q = rtn(normal_matrix(2 * 8, 3), 2, 8, learned(2), RangeRule::absmax);
  CHECK_NOTHROW(validate(q, "t"));
  const auto refused = [&](std::size_t i, real level) {
    QTensor wrong = q;
    wrong.at.scales[i] = level;
    return test::error_of([&] { validate(wrong, "t"); });
  };
  CHECK(refused(5, -100).field == "level 1 of unit 1");
  CHECK(refused(0, std::numeric_limits<real>::quiet_NaN()).fault == Fault::input);
  CHECK_NOTHROW(validate(q, "t"));
  q.at.scales.pop_back();
  CHECK(test::error_of([&] { validate(q, "t"); }).field == "scales");
  for (const ScaleType type : {ScaleType::e8m0, ScaleType::nested, ScaleType::f16_7}) {
    Spec spec = learned(2);
    spec.scale = type;
    CHECK(test::error_of([&] { validate(spec, 8, "t"); }).field == "scale");
  }
  const std::vector<real> large{1, 2, 70000, 4};
  const ErrorParts e =
      test::error_of([&] { choose_scales(large, 1, 4, learned(2), RangeRule::mse, "t"); });
  CHECK(e.fault == Fault::numeric);
  CHECK(e.field == "row 0");
  CHECK(test::error_of([&] {
          choose_scales(large, 1, 4, learned(2), RangeRule::entropy, "t");
        }).what.find("entropy") != std::string::npos);
}

TEST_CASE("uncorrelated inputs weigh GPTQ's learned levels") {
  const std::int64_t rows = 5, K = 24;
  const std::vector<real> w = normal_matrix(rows * K, 11);
  Matrix H = identity(K, 1);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] = i % 3 == 0 ? 100 : 1;
  const GptqResult found = gptq(w, rows, K, learned(2), H, {.damp = 0}, "t");
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<std::pair<double, double>> of_row;
    for (std::int64_t i = 0; i < K; ++i)
      of_row.emplace_back(double(w[at(r * K + i)]), H[at(i * K + i)]);
    std::ranges::sort(of_row);
    Doubles x, weights, stored;
    for (const auto& [value, weight] : of_row) x.push_back(value), weights.push_back(weight);
    for (std::size_t k = 0; k < 4; ++k) stored.push_back(double(found.q.at.scales[at(4 * r) + k]));
    // float16 levels: an error of at most 2^-11 of each, squared and weighed.
    const double best = error_of(x, weights, best_levels(x, weights, 4));
    CHECK(error_of(x, weights, stored) == Approx(best).epsilon(1e-3));
  }
  CHECK(found.q.codes == quantize(w, rows, K, learned(2), found.q.at, "t").codes);
  CHECK(found.report.error < found.report.rtn_error);
}

TEST_CASE("GPTQ feeds back what learned levels leave") {
  const std::int64_t rows = 12, K = 48;
  const std::vector<real> w = normal_matrix(rows * K, 5);
  const Matrix H = hessian_of(correlated_inputs(300, K, 6), K);
  for (const int bits : {2, 3, 4}) {
    for (const Spec& spec : {learned(bits), learned(bits, Granularity::group, 16),
                             learned(bits, Granularity::tensor)}) {
      INFO(name_of(spec));
      const GptqResult found = gptq(w, rows, K, spec, H, {}, "t");
      CHECK(found.report.error == Approx(test::output_error(w, found.q, H)).epsilon(1e-3));
      CHECK(found.report.error < found.report.rtn_error);
      // Levels of the targets lose less than levels of the weights.
      const GptqResult of_weights = gptq(w, rows, K, spec, H, {.clip = Clip::mse}, "t");
      CHECK(found.report.damped_error <= of_weights.report.damped_error);
      if (bits == 2) CHECK(found.report.damped_error < of_weights.report.damped_error);
      CHECK(found.report.rtn_error ==
            Approx(test::output_error(w, rtn(w, rows, K, spec, RangeRule::mse), H)).epsilon(1e-3));
      CHECK_NOTHROW(validate(found.q, "t"));
    }
  }
}

TEST_CASE("kernels look learned levels up as dequantized") {
  const std::int64_t rows = 22, K = 64;
  const std::vector<real> w = normal_matrix(rows * K, 8);
  for (const Spec& spec :
       {learned(2), learned(3, Granularity::group, 32), learned(4, Granularity::group, 4),
        learned(4, Granularity::tensor), learned(3)}) {
    INFO(name_of(spec));
    const QTensor q = rtn(w, rows, K, spec, RangeRule::mse);
    const ServedMatrix served(q);
    CHECK(served.products() == 0);
    CHECK(served.bytes() <= ServedLanes::bytes(spec, rows, K) + 64);
    const std::vector<real> expected = dequantize(q);
    std::vector<float> row(at(K));
    for (std::int64_t r = 0; r < rows; ++r) {
      served.dequantize_row(row, r);
      for (std::int64_t c = 0; c < K; ++c) CHECK(row[at(c)] == float(expected[at(r * K + c)]));
    }
  }
}

}  // namespace learned_levels_test
