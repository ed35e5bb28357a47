// GPTQ's options: ranges by the output error or by standard deviations, and GPTAQ's asymmetric
// target.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/methods/column_update.h"
#include "quant/methods/gptaq.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"

namespace gptq_options_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

/// The error of one row on its own, at a range of so many standard deviations.
double loss_at(std::span<const real> row, const Spec& spec, const Matrix& H, double deviations) {
  const GptqOptions options{.act_order = false, .clip = Clip::deviations, .deviations = deviations};
  return gptq(row, 1, std::ssize(row), spec, H, options, "t").report.damped_error;
}

/// The least of a row at the multiples that a search tries of its least-squares range.
double least_loss(std::span<const real> row, const Spec& spec, const Matrix& H) {
  const auto n = static_cast<double>(row.size());
  const MinMax extremes = min_max(row);
  const double absmax = double(std::max(extremes.hi, -extremes.lo));
  double mean = 0, variance = 0;
  for (const real v : row) mean += double(v) / n;
  for (const real v : row) variance += (double(v) - mean) * (double(v) - mean) / n;
  double least = std::numeric_limits<double>::infinity();
  for (const double multiple : {1.0, 0.7, 0.8, 0.88, 0.94, 1.07, 1.15, 1.3, 1.6}) {
    // A range is not widened beyond the extremes.
    const double ratio = std::min(1.0, double(best_ratio(row, spec)) * multiple);
    least = std::min(least, loss_at(row, spec, H, ratio * absmax / std::sqrt(variance)));
  }
  return least;
}

DampedCholesky factor_of(const Matrix& H, std::int64_t cols, double damp, bool act_order) {
  return damped_cholesky(H, order_columns(H, cols, act_order, "t"), damp, "t");
}

TEST_CASE("the clip search keeps the range that is best for each row") {
  constexpr std::int64_t kRows = 40, kCols = 48;
  const std::vector<real> w = normal_matrix(kRows * kCols, 111);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 112), kCols);
  for (const int bits : {2, 4}) {
    const Spec spec{.bits = bits};
    const GptqResult searched = gptq(w, kRows, kCols, spec, H, {.act_order = false}, "t");
    double expected = 0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      expected += least_loss(std::span(w).subspan(at(r * kCols), at(kCols)), spec, H);
    }
    // The two ways to a scale differ in its last bit, which now and then decides a code.
    CHECK(searched.report.damped_error == Approx(expected).epsilon(5e-3));
    const double plain =
        gptq(w, kRows, kCols, spec, H, {.act_order = false, .clip = Clip::mse}, "t")
            .report.damped_error;
    CHECK(searched.report.damped_error < plain);
  }
}

TEST_CASE("the clip search lowers the output error in every granularity") {
  constexpr std::int64_t kRows = 37, kCols = 48;
  const std::vector<real> w = normal_matrix(kRows * kCols, 113);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 114), kCols);
  for (const Granularity granularity :
       {Granularity::tensor, Granularity::channel, Granularity::group}) {
    for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric}) {
      for (const bool act_order : {false, true}) {
        const Spec spec{.bits = 2,
                        .grid = grid,
                        .granularity = granularity,
                        .group_size = granularity == Granularity::group ? 12 : 0};
        INFO(name_of(spec) << (act_order ? " act-order" : ""));
        const auto run = [&](bool search, std::int64_t block) {
          return gptq(
              w, kRows, kCols, spec, H,
              {.act_order = act_order, .clip = search ? Clip::output : Clip::mse, .block = block},
              "t");
        };
        set_threads(1);
        const GptqResult searched = run(true, 128);
        set_threads(3);
        CHECK(run(true, 5).q == searched.q);
        set_threads(0);
        const double plain = run(false, 128).report.error;
        CHECK(searched.report.error <= plain);
        // A single scale can be right from the start.
        if (granularity != Granularity::tensor) CHECK(searched.report.error < plain);
        const double slack =
            loss_slack(w, searched.q, reference::damped(H, kCols, searched.report.damp));
        CHECK(searched.report.error ==
              Approx(output_error(w, searched.q, H)).epsilon(1e-9).margin(slack));
      }
    }
  }
}

TEST_CASE("with many columns the clip search tries less and loses little") {
  constexpr std::int64_t kRows = 24, kCols = 320;
  const std::vector<real> w = normal_matrix(kRows * kCols, 115);
  const Matrix H = hessian_of(correlated_inputs(800, kCols, 116), kCols);
  for (const int bits : {2, 4}) {
    const Spec spec{.bits = bits};
    double exhaustive = 0, plain = 0, searched = 0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto row = std::span(w).subspan(at(r * kCols), at(kCols));
      const auto loss = [&](Clip clip) {
        return gptq(row, 1, kCols, spec, H, {.act_order = false, .clip = clip}, "t")
            .report.damped_error;
      };
      CHECK(loss(Clip::output) <= loss(Clip::mse));
      plain += loss(Clip::mse);
      searched += loss(Clip::output);
      exhaustive += least_loss(row, spec, H);
    }
    CHECK(searched < 1.02 * exhaustive);
    CHECK(searched < 0.99 * plain);
  }
}

TEST_CASE("a forecast is the loss that rounding the column adds, in float") {
  const std::vector<real> w = normal_matrix(3 * kStripRows, 117);
  std::vector<double> losses(at(kStripRows));
  std::vector<real> target(losses.size()), moved(target), scale(target.size()),
      lo(target.size(), -7), hi(target.size(), 7), forecast(target.size());
  std::vector<std::int16_t> codes(target.size());
  for (std::size_t i = 0; i < target.size(); ++i) {
    target[i] = w[i] + real(1e-3);
    scale[i] = real(0.05) + std::fabs(w[i + target.size()]) / 4;
  }
  for (const Grid& grid : {Grid{-7, 7}, Grid{-7, 7, 2}}) {
    StripColumn column{.target = target.data(),
                       .original = w.data(),
                       .scale = scale.data(),
                       .lo = lo.data(),
                       .hi = hi.data(),
                       .grid = &grid,
                       .moved = moved.data(),
                       .losses = losses.data(),
                       .codes = codes.data()};
    round_column(column, 1.5);
    forecast_losses(column, real(1.5), forecast.data());
    for (std::size_t i = 0; i < target.size(); ++i)  // sums of both grids' losses
      CHECK(double(forecast[i]) == Approx(losses[i]).epsilon(1e-4).margin(1e-9));
  }
}

TEST_CASE("a sweep's column is a chain of multiply-adds in any panel") {
  constexpr std::int64_t kCols = 37, kTerms = 11, kFirst = 5, kBegin = 17, kEnd = 36;
  const std::vector<real> w = normal_matrix(kCols * kStripRows, 118);
  const std::vector<real> d = normal_matrix(kTerms * kStripRows, 119);
  PackedFactor R(kCols);
  const std::vector<real> random = normal_matrix(std::ssize(R.values), 120);
  R.values = random;
  std::vector<real> moved = w;
  update_columns(moved.data(), d.data(), R, kFirst, kTerms, kBegin, kEnd);
  bool fused = true, separate = true;  // as the CPU has it, but everywhere the same
  for (std::int64_t j = 0; j < kCols; ++j)
    for (std::int64_t s = 0; s < kStripRows; ++s) {
      real once = w[at(j * kStripRows + s)], twice = once;
      for (std::int64_t i = 0; j >= kBegin && j < kEnd && i < kTerms; ++i) {
        const real r = R.at(j / kPanelCols, kFirst + i)[j % kPanelCols];
        once = std::fma(d[at(i * kStripRows + s)], r, once);
        twice += d[at(i * kStripRows + s)] * r;
      }
      fused &= moved[at(j * kStripRows + s)] == once;
      separate &= moved[at(j * kStripRows + s)] == twice;
    }
  CHECK((fused || separate));
}

TEST_CASE("ranges by standard deviations are k·σ / qmax, however large") {
  const std::vector<real> w{1, -1, 1, -1, 3, -3, 3, -3};  // σ = 1 and 3
  for (const double k : {0.5, 7.0}) {
    const GptqResult g = gptq(w, 2, 4, {.bits = 4}, identity(4, 1),
                              {.clip = Clip::deviations, .deviations = k}, "t");
    CHECK(double(g.q.at.scales[0]) == Approx(k / 7));
    CHECK(double(g.q.at.scales[1]) == Approx(3 * k / 7));
    CHECK(g.q.codes ==
          (k < 1 ? Codes{7, -7, 7, -7, 7, -7, 7, -7} : Codes{1, -1, 1, -1, 1, -1, 1, -1}));
  }
}

TEST_CASE("the asymmetric target solves its equations, no drift no move") {
  constexpr std::int64_t kRows = 5, kCols = 70, kTokens = 150;
  const std::vector<real> w = normal_matrix(kRows * kCols, 96);
  std::vector<real> x = correlated_inputs(kTokens, kCols, 97);
  std::vector<real> reference = x;
  Rng rng(98);
  for (real& v : reference) v += static_cast<real>(0.2 * rng.normal());
  for (std::int64_t t = 0; t < kTokens; ++t) {
    x[at(t * kCols + 9)] = 0;  // an input that the quantized model lost
    x[at(t * kCols + 10)] = real(0.5) * reference[at(t * kCols + 10)];
  }
  Hessian statistics(kCols);
  statistics.accumulate(std::span(x).first(40 * kCols), std::span(reference).first(40 * kCols));
  statistics.accumulate(std::span(x).subspan(40 * kCols), std::span(reference).subspan(40 * kCols));
  const Matrix H = statistics.matrix(), C = statistics.drift();
  const double damp = 0.03;
  double mean = 0;
  for (std::int64_t i = 0; i < kCols; ++i) mean += H[at(i * kCols + i)] / double(kCols - 1);
  for (const bool act_order : {false, true}) {
    const DampedCholesky factor = factor_of(H, kCols, damp, act_order);
    const auto target = [&](double share) {
      return asymmetric_target(w, kRows, factor, C, share, "t");
    };
    const std::vector<real> full = target(1), half = target(0.5);
    double worst = 0, worst_half = 0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto moved = [&](std::int64_t k) {
        return double(full[at(r * kCols + k)]) - double(w[at(r * kCols + k)]);
      };
      for (std::int64_t j = 0; j < kCols; ++j) {
        // Gradient of mean ‖w x̃ - q x‖² + λ‖q - w‖² with respect to q_j, halved, from the data.
        double gradient = damp * mean * moved(j);
        for (std::int64_t t = 0; t < kTokens; ++t) {
          double output = 0;
          for (std::int64_t k = 0; k < kCols; ++k) {
            output += double(full[at(r * kCols + k)]) * double(x[at(t * kCols + k)]) -
                      double(w[at(r * kCols + k)]) * double(reference[at(t * kCols + k)]);
          }
          gradient += output * double(x[at(t * kCols + j)]) / double(kTokens);
        }
        worst = std::max(worst, std::fabs(gradient));
        worst_half = std::max(worst_half, std::fabs(double(half[at(r * kCols + j)]) -
                                                    double(w[at(r * kCols + j)]) - 0.5 * moved(j)));
      }
      CHECK(full[at(r * kCols + 9)] == w[at(r * kCols + 9)]);
    }
    CHECK(worst < 2e-5);
    CHECK(worst_half < 1e-6);
    const Matrix still(C.size(), 0.0);
    CHECK(asymmetric_target(w, kRows, factor, still, 1, "t") == w);
    CHECK(error_of([&] { asymmetric_target(w, kRows, factor, C, 1.5, "t"); }).fault ==
          Fault::usage);
    CHECK(error_of([&] { asymmetric_target(w, kRows, factor, {}, 0, "t"); }).fault == Fault::usage);
  }
}

TEST_CASE("asymmetric targets miss float outputs by less on drifted inputs") {
  constexpr std::int64_t kRows = 12, kCols = 32, kTokens = 400;
  int better = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 300 + seed);
    const std::vector<real> reference = correlated_inputs(kTokens, kCols, 300 + seed);
    std::vector<real> x = reference;
    Rng rng(seed, 5);
    for (real& v : x) v = static_cast<real>(0.95 * v + 0.2 * rng.normal());
    Hessian statistics(kCols);
    statistics.accumulate(x, reference);
    const Matrix H = statistics.matrix();
    const auto missed = [&](const std::vector<real>& goal) {
      const std::vector<real> q =
          dequantize(gptq(goal, kRows, kCols, {.bits = 4}, H, {.clip = Clip::mse}, "t").q);
      double sum = 0;
      for (std::int64_t t = 0; t < kTokens; ++t)
        for (std::int64_t r = 0; r < kRows; ++r) {
          double e = 0;
          for (std::int64_t k = 0; k < kCols; ++k)
            e += double(w[at(r * kCols + k)]) * double(reference[at(t * kCols + k)]) -
                 double(q[at(r * kCols + k)]) * double(x[at(t * kCols + k)]);
          sum += e * e;
        }
      return sum;
    };
    const auto target = [&](bool act_order) {
      return asymmetric_target(w, kRows, factor_of(H, kCols, GptqOptions{}.damp, act_order),
                               statistics.drift(), 1, "t");
    };
    better += missed(target(true)) < missed(w);
    // Solved in another order of the columns the targets differ in their last places, the codes do not.
    const auto rounded = [&](const std::vector<real>& goal) {
      return gptq(goal, kRows, kCols, {.bits = 4}, H, {}, "t").q;
    };
    CHECK(rounded(target(true)) == rounded(target(false)));
  }
  CHECK(better == 20);
}

}  // namespace gptq_options_test
