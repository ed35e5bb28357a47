// GPTQ against hand-worked examples, against the recursion it is derived from (OBQ, written here
// from the definition with a full inverse), and through the properties that known implementations
// lose.
#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::correlated_inputs;
using notch::test::error_of;
using notch::test::normal_matrix;

using Codes = std::vector<std::int8_t>;
using Matrix = std::vector<double>;

constexpr std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

Matrix identity(std::int64_t K, double c) {
  Matrix H(at(K * K), 0.0);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] = c;
  return H;
}

Matrix hessian_of(std::span<const real> x, std::int64_t K) {
  Hessian H(K);
  H.accumulate(x);
  return H.matrix();
}

QTensor rtn(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
            RangeRule rule) {
  return quantize(w, rows, cols, spec, choose_scales(w, rows, cols, spec, rule, "t").at, "t");
}

/// tr(dW H dWᵀ), summed element by element.
double output_error(std::span<const real> w, const QTensor& q, const Matrix& H) {
  const std::vector<real> back = dequantize(q);
  const std::int64_t K = q.cols;
  double sum = 0;
  for (std::int64_t r = 0; r < q.rows; ++r) {
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = 0; j < K; ++j) {
        const double di = double(w[at(r * K + i)]) - double(back[at(r * K + i)]);
        const double dj = double(w[at(r * K + j)]) - double(back[at(r * K + j)]);
        sum += di * H[at(i * K + j)] * dj;
      }
    }
  }
  return sum;
}

/// Inverse by Gauss-Jordan elimination with pivoting.
Matrix inverse(Matrix A, std::int64_t K) {
  Matrix B = identity(K, 1);
  for (std::int64_t c = 0; c < K; ++c) {
    std::int64_t p = c;
    for (std::int64_t r = c; r < K; ++r) {
      if (std::fabs(A[at(r * K + c)]) > std::fabs(A[at(p * K + c)])) p = r;
    }
    for (std::int64_t j = 0; j < K; ++j) {
      std::swap(A[at(c * K + j)], A[at(p * K + j)]);
      std::swap(B[at(c * K + j)], B[at(p * K + j)]);
    }
    const double pivot = A[at(c * K + c)];
    for (std::int64_t j = 0; j < K; ++j) A[at(c * K + j)] /= pivot, B[at(c * K + j)] /= pivot;
    for (std::int64_t r = 0; r < K; ++r) {
      const double f = A[at(r * K + c)];
      if (r == c || f == 0) continue;
      for (std::int64_t j = 0; j < K; ++j) {
        A[at(r * K + j)] -= f * A[at(c * K + j)];
        B[at(r * K + j)] -= f * B[at(c * K + j)];
      }
    }
  }
  return B;
}

/// OBQ in a fixed order of columns (Frantar et al. 2022, eqs. 2 and 3), on the narrow grid with
/// absmax ranges: a row's scale is fixed, a group's is taken from the weights as they are when its
/// first column is reached. Hinv is downdated in full after every column.
Codes obq(std::span<const real> w, std::int64_t rows, std::int64_t K, const Spec& spec, Matrix H,
          double damp, const std::vector<std::int64_t>& order) {
  const double qmax = grid_of(spec).qmax;
  double mean = 0;
  for (std::int64_t i = 0; i < K; ++i) mean += H[at(i * K + i)] / static_cast<double>(K);
  for (std::int64_t i = 0; i < K; ++i) H[at(i * K + i)] += damp * mean;
  const Matrix full = inverse(H, K);
  const std::int64_t group = spec.granularity == Granularity::group ? spec.group_size : K;
  Codes codes(w.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    Matrix Hinv = full;
    std::vector<double> row(w.begin() + r * K, w.begin() + (r + 1) * K);
    real scale = 1;
    for (std::int64_t n = 0; n < K; ++n) {
      const std::int64_t c = order[at(n)];
      if (n % group == 0) {
        real absmax = 0;
        for (std::int64_t j = c / group * group; j < c / group * group + group; ++j) {
          absmax = std::max(absmax, std::fabs(static_cast<real>(row[at(j)])));
        }
        scale = absmax / static_cast<real>(qmax);
      }
      const double q = std::min(
          qmax, std::max(-qmax, std::nearbyint(double(static_cast<real>(row[at(c)]) / scale))));
      codes[at(r * K + c)] = static_cast<std::int8_t>(q);
      const double d = Hinv[at(c * K + c)];
      const double error = (row[at(c)] - q * double(scale)) / d;
      const Matrix before = Hinv;
      for (std::int64_t i = 0; i < K; ++i) {
        row[at(i)] -= error * before[at(i * K + c)];
        for (std::int64_t j = 0; j < K; ++j) {
          Hinv[at(i * K + j)] -= before[at(i * K + c)] * before[at(c * K + j)] / d;
        }
      }
    }
  }
  return codes;
}

std::vector<std::int64_t> ascending(std::int64_t K) {
  std::vector<std::int64_t> order(at(K));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

TEST_CASE("worked by hand: H = I + 4 makes GPTQ round (.1,.2,.3) to (0,0,1), error 1.18 not 1.58") {
  // Factors 4/9, 4/9, then 4/5: the third weight has become .54. A wrong sign, a static inverse or
  // a missing division by the diagonal gives (0,0,0). The third row makes the tensor's scale 1.
  const Matrix H{5, 4, 4, 4, 5, 4, 4, 4, 5};
  const std::vector<real> w{0.1f, 0.2f, 0.3f, 0.1f, 0.3f, 0.4f, 7, 0, 0};
  const Spec spec{.bits = 4, .granularity = Granularity::tensor};
  const GptqResult g = gptq(w, 3, 3, spec, H, {.damp = 0, .range = RangeRule::absmax}, "t");
  REQUIRE(g.q.at.scales == std::vector<real>{1});
  CHECK(g.q.codes == Codes{0, 0, 1, 0, 0, 1, 7, 0, 0});
  CHECK(g.report.error == Approx(1.18 + 0.62).epsilon(1e-6));
  CHECK(g.report.rtn_error == Approx(1.58 + 2.82).epsilon(1e-6));
  CHECK(g.report.damped_error == Approx(1.18 + 0.62).epsilon(1e-6));
}

TEST_CASE("without correlations GPTQ is round-to-nearest exactly, for every spec") {
  constexpr std::int64_t kRows = 7, kCols = 36;
  const std::vector<real> w = normal_matrix(kRows * kCols, 21, 0.04);
  Matrix diagonal = identity(kCols, 1);
  for (std::int64_t i = 0; i < kCols; ++i) diagonal[at(i * kCols + i)] = 1.0 + double(i * 7 % 11);
  for (const Spec& spec : all_specs(12)) {
    for (const RangeRule rule : {RangeRule::absmax, RangeRule::mse}) {
      if (rule == RangeRule::mse && spec.scale == ScaleType::bf16) continue;
      INFO(name_of(spec) << ' ' << name_of(rule));
      const QTensor nearest = rtn(w, kRows, kCols, spec, rule);
      const GptqOptions options{.range = rule};
      CHECK(gptq(w, kRows, kCols, spec, identity(kCols, 1), options, "t").q == nearest);
      CHECK(gptq(w, kRows, kCols, spec, identity(kCols, 3e-5), options, "t").q == nearest);
      const GptqOptions ordered{.act_order = true, .range = rule};
      CHECK(gptq(w, kRows, kCols, spec, diagonal, ordered, "t").q == nearest);
    }
  }
}

TEST_CASE("GPTQ gives the codes of the OBQ recursion in the same order") {
  constexpr std::int64_t kRows = 10, kCols = 24;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 100 + seed, 0.1);
    const Matrix H = hessian_of(correlated_inputs(200, kCols, seed), kCols);
    for (const Spec& spec : {Spec{.bits = 4}, Spec{.bits = 3},
                             Spec{.bits = 4, .granularity = Granularity::group, .group_size = 8}}) {
      INFO(name_of(spec) << " seed " << seed);
      const GptqResult g = gptq(w, kRows, kCols, spec, H, {.range = RangeRule::absmax}, "t");
      CHECK(g.q.codes == obq(w, kRows, kCols, spec, H, 0.01, ascending(kCols)));
    }
    std::vector<std::int64_t> order = ascending(kCols);
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return H[at(a * kCols + a)] > H[at(b * kCols + b)];
    });
    const Spec rows{.bits = 4};
    CHECK(gptq(w, kRows, kCols, rows, H, {.act_order = true, .range = RangeRule::absmax}, "t")
              .q.codes == obq(w, kRows, kCols, rows, H, 0.01, order));
  }
}

TEST_CASE("the block size changes no bit, also when groups are smaller or larger than a block") {
  constexpr std::int64_t kRows = 21, kCols = 60;
  const std::vector<real> w = normal_matrix(kRows * kCols, 31);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 32), kCols);
  for (const std::int64_t group : {0, 4, 10, 30, 60}) {
    for (const bool act_order : {false, true}) {
      const Spec spec{.bits = 3,
                      .grid = GridKind::asymmetric,
                      .granularity = group == 0 ? Granularity::channel : Granularity::group,
                      .group_size = group};
      const auto with_block = [&](std::int64_t block) {
        return gptq(w, kRows, kCols, spec, H, {.act_order = act_order, .block = block}, "t");
      };
      const GptqResult reference = with_block(1);
      for (const std::int64_t block : {3, 4, 7, 16, 59, 60, 128}) {
        const GptqResult g = with_block(block);
        CHECK(g.q == reference.q);
        CHECK(g.report.damped_error == reference.report.damped_error);
      }
    }
  }
}

TEST_CASE("the scales of later groups come from the updated weights unless groups are static") {
  constexpr std::int64_t kRows = 8, kCols = 32;
  const std::vector<real> w = normal_matrix(kRows * kCols, 41);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 42), kCols);
  const Spec spec{.bits = 3, .granularity = Granularity::group, .group_size = 8};
  const std::vector<real> original =
      choose_scales(w, kRows, kCols, spec, RangeRule::absmax, "t").at.scales;
  const GptqResult dynamic = gptq(w, kRows, kCols, spec, H, {.range = RangeRule::absmax}, "t");
  int changed = 0;
  for (std::size_t u = 0; u < original.size(); ++u) {
    const bool first_group = u % 4 == 0;
    if (first_group) CHECK(dynamic.q.at.scales[u] == original[u]);
    changed += !first_group && dynamic.q.at.scales[u] != original[u];
  }
  CHECK(changed == kRows * 3);
  for (const GptqOptions& options : {GptqOptions{.static_groups = true, .range = RangeRule::absmax},
                                     GptqOptions{.act_order = true, .range = RangeRule::absmax}}) {
    const GptqResult fixed = gptq(w, kRows, kCols, spec, H, options, "t");
    CHECK(fixed.q.at.scales == original);
    CHECK(fixed.report.static_groups);
  }
}

TEST_CASE("the summed column losses are the output error that one measures") {
  constexpr std::int64_t kRows = 20, kCols = 48;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 200 + seed, 0.05);
    Matrix H = hessian_of(correlated_inputs(400, kCols, seed), kCols);
    for (const bool act_order : {false, true}) {
      const Spec spec{.bits = 2 + static_cast<int>(seed % 4)};
      const GptqResult g = gptq(w, kRows, kCols, spec, H, {.act_order = act_order}, "t");
      CHECK(g.report.error == Approx(output_error(w, g.q, H)).epsilon(1e-9));
      CHECK(g.report.rtn_error ==
            Approx(output_error(w, rtn(w, kRows, kCols, spec, RangeRule::mse), H)).epsilon(1e-9));
      Matrix damped = H;
      double mean = 0;
      for (std::int64_t i = 0; i < kCols; ++i) mean += H[at(i * kCols + i)] / double(kCols);
      for (std::int64_t i = 0; i < kCols; ++i) damped[at(i * kCols + i)] += g.report.damp * mean;
      CHECK(g.report.damped_error == Approx(output_error(w, g.q, damped)).epsilon(1e-9));
    }
  }
}

TEST_CASE("on 200 random layers with correlated inputs GPTQ beats round-to-nearest 200 times") {
  constexpr std::int64_t kRows = 16, kCols = 32;
  int better = 0;
  double ratio = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 1000 + seed);
    const Matrix H = hessian_of(correlated_inputs(256, kCols, 1000 + seed), kCols);
    const GptqReport report =
        gptq(w, kRows, kCols, {.bits = 4}, H, {.range = RangeRule::absmax}, "t").report;
    better += report.error < report.rtn_error;
    ratio += report.error / report.rtn_error / 200;
  }
  CHECK(better == 200);
  CHECK(ratio < 0.7);
}

TEST_CASE("with act-order, permuting the inputs permutes the codes") {
  constexpr std::int64_t kRows = 9, kCols = 30;
  const std::vector<real> w = normal_matrix(kRows * kCols, 51);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 52), kCols);
  std::vector<std::int64_t> perm(at(kCols));
  for (std::int64_t i = 0; i < kCols; ++i) perm[at(i)] = i * 7 % kCols;
  std::vector<real> pw(w.size());
  Matrix pH(H.size());
  for (std::int64_t j = 0; j < kCols; ++j) {
    for (std::int64_t r = 0; r < kRows; ++r) pw[at(r * kCols + j)] = w[at(r * kCols + perm[at(j)])];
    for (std::int64_t i = 0; i < kCols; ++i) {
      pH[at(i * kCols + j)] = H[at(perm[at(i)] * kCols + perm[at(j)])];
    }
  }
  const GptqOptions options{.act_order = true, .range = RangeRule::absmax};
  const QTensor a = gptq(w, kRows, kCols, {.bits = 3}, H, options, "t").q;
  const QTensor b = gptq(pw, kRows, kCols, {.bits = 3}, pH, options, "t").q;
  CHECK(a.at.scales == b.at.scales);
  int wrong = 0;
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t j = 0; j < kCols; ++j) {
      wrong += a.codes[at(r * kCols + perm[at(j)])] != b.codes[at(r * kCols + j)];
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("scaling the inputs changes nothing, and neither does the number of threads") {
  constexpr std::int64_t kRows = 40, kCols = 64;
  const std::vector<real> w = normal_matrix(kRows * kCols, 61);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 62), kCols);
  Matrix scaled = H;
  for (double& h : scaled) h *= 0x1p-40;
  const Spec spec{.bits = 4, .granularity = Granularity::group, .group_size = 16};
  set_threads(1);
  const GptqResult one = gptq(w, kRows, kCols, spec, H, {}, "t");
  set_threads(3);
  CHECK(gptq(w, kRows, kCols, spec, H, {}, "t").q == one.q);
  CHECK(gptq(w, kRows, kCols, spec, scaled, {}, "t").q == one.q);
  set_threads(0);
}

TEST_CASE("degenerate statistics never fail: no sample, one sample, fewer samples than inputs") {
  constexpr std::int64_t kRows = 12, kCols = 40;
  const std::vector<real> w = normal_matrix(kRows * kCols, 71);
  for (const Granularity granularity : {Granularity::channel, Granularity::group}) {
    const Spec spec{.bits = 4,
                    .granularity = granularity,
                    .group_size = granularity == Granularity::group ? 8 : 0};
    const QTensor nearest = rtn(w, kRows, kCols, spec, RangeRule::mse);
    const GptqResult none = gptq(w, kRows, kCols, spec, Hessian(kCols).matrix(), {}, "t");
    CHECK(none.q == nearest);
    CHECK(none.report.dead_columns == kCols);
    for (const std::int64_t samples : {1, 2, 39}) {
      const Matrix H = hessian_of(correlated_inputs(samples, kCols, 72), kCols);
      for (const double damp : {0.0, 0.01}) {
        for (const bool act_order : {false, true}) {
          const GptqResult g =
              gptq(w, kRows, kCols, spec, H, {.damp = damp, .act_order = act_order}, "t");
          CHECK_NOTHROW(validate(g.q, "t"));
          CHECK(g.report.damp >= damp);
          CHECK(g.report.damp > 0);  // a singular H needs some
          CHECK(g.report.condition < 1e14);
          CHECK(g.report.error < g.report.rtn_error);
        }
      }
    }
  }
}

TEST_CASE("damping is raised tenfold, no further than needed, and reported") {
  // Eigenvalues 2.05 and -0.05 of a mean of 1: 0.01 is not enough, 0.1 is.
  Matrix H = identity(6, 1);
  H[1] = H[6] = 1.05;
  const std::vector<real> w = normal_matrix(4 * 6, 75);
  CHECK(gptq(w, 4, 6, {.bits = 4}, H, {}, "t").report.damp == Approx(0.1).epsilon(1e-12));
  CHECK(gptq(w, 4, 6, {.bits = 4}, identity(6, 1), {}, "t").report.damp == 0.01);
}

TEST_CASE("inputs that were always zero are counted and rounded to nearest") {
  constexpr std::int64_t kRows = 6, kCols = 24;
  const std::vector<real> w = normal_matrix(kRows * kCols, 81);
  std::vector<real> x = correlated_inputs(200, kCols, 82);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % kCols == 3 || i % kCols == 17) x[i] = 0;
  }
  for (const bool act_order : {false, true}) {
    const Matrix H = hessian_of(x, kCols);
    const GptqResult g = gptq(w, kRows, kCols, {.bits = 4}, H, {.act_order = act_order}, "t");
    const QTensor nearest = rtn(w, kRows, kCols, {.bits = 4}, RangeRule::mse);
    CHECK(g.report.dead_columns == 2);
    for (std::int64_t r = 0; r < kRows; ++r) {
      CHECK(int{g.q.codes[at(r * kCols + 3)]} == int{nearest.codes[at(r * kCols + 3)]});
      CHECK(int{g.q.codes[at(r * kCols + 17)]} == int{nearest.codes[at(r * kCols + 17)]});
    }
  }
}

TEST_CASE("the Hessian is the mean of x xᵀ, however the rows arrive") {
  constexpr std::int64_t kCols = 5;
  const std::vector<real> x = correlated_inputs(37, kCols, 91);
  Hessian whole(kCols), parts(kCols);
  whole.accumulate(x);
  parts.accumulate(std::span(x).first(10 * kCols));
  parts.accumulate(std::span(x).subspan(10 * kCols));
  CHECK(whole.rows() == 37);
  CHECK(parts.rows() == 37);
  const Matrix a = whole.matrix(), b = parts.matrix();
  for (std::int64_t i = 0; i < kCols; ++i) {
    for (std::int64_t j = 0; j < kCols; ++j) {
      double mean = 0, magnitude = 0;
      for (std::int64_t t = 0; t < 37; ++t) {
        const double product = double(x[at(t * kCols + i)]) * double(x[at(t * kCols + j)]) / 37;
        mean += product;
        magnitude += std::fabs(product);
      }
      const double bound = sizeof(real) == 4 ? 38 * 0x1p-24 * magnitude : 1e-13;
      CHECK(a[at(i * kCols + j)] == Approx(mean).epsilon(0).margin(bound));
      CHECK(b[at(i * kCols + j)] == Approx(mean).epsilon(0).margin(bound));
      CHECK(a[at(i * kCols + j)] == a[at(j * kCols + i)]);
    }
  }
  CHECK(error_of([&] { whole.accumulate(std::span(x).first(7)); }).fault == Fault::usage);
}

/// The error of one row on its own, at a range of so many standard deviations.
double loss_at(std::span<const real> row, const Spec& spec, const Matrix& H, double deviations) {
  return gptq(row, 1, std::ssize(row), spec, H, {.deviations = deviations}, "t")
      .report.damped_error;
}

TEST_CASE("the clip search keeps, row by row, the range that the sweep itself does best with") {
  constexpr std::int64_t kRows = 40, kCols = 48;
  const std::vector<real> w = normal_matrix(kRows * kCols, 111);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 112), kCols);
  for (const int bits : {2, 4}) {
    const Spec spec{.bits = bits};
    const GptqResult searched =
        gptq(w, kRows, kCols, spec, H, {.deviations = 2, .search_clip = true}, "t");
    double expected = 0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto row = std::span(w).subspan(at(r * kCols), at(kCols));
      const MinMax extremes = min_max(row);
      const double absmax = double(std::max(extremes.hi, -extremes.lo));
      double mean = 0, variance = 0;
      for (const real v : row) mean += double(v) / double(kCols);
      for (const real v : row) variance += (double(v) - mean) * (double(v) - mean) / double(kCols);
      double least = std::numeric_limits<double>::infinity();
      for (const double multiple : {1.0, 0.7, 0.8, 0.88, 0.94, 1.07, 1.15, 1.3, 1.6}) {
        // A range is not widened beyond the extremes.
        const double k = std::min(2 * multiple, absmax / std::sqrt(variance));
        least = std::min(least, loss_at(row, spec, H, k));
      }
      expected += least;
    }
    // The two ways to a scale differ in its last bit, which now and then decides a code.
    CHECK(searched.report.damped_error == Approx(expected).epsilon(5e-3));
    const double plain = gptq(w, kRows, kCols, spec, H, {.deviations = 2}, "t").report.damped_error;
    CHECK(searched.report.damped_error < plain);
  }
}

TEST_CASE("the clip search lowers the output error in every granularity, whatever runs it") {
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
          return gptq(w, kRows, kCols, spec, H,
                      {.act_order = act_order, .block = block, .search_clip = search}, "t");
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
        CHECK(searched.report.error == Approx(output_error(w, searched.q, H)).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("ranges by standard deviations: k·σ / qmax, above the largest weight as well") {
  const std::vector<real> w{1, -1, 1, -1, 3, -3, 3, -3};  // σ = 1 and 3
  for (const double k : {0.5, 7.0}) {
    const GptqResult g = gptq(w, 2, 4, {.bits = 4}, identity(4, 1), {.deviations = k}, "t");
    CHECK(double(g.q.at.scales[0]) == Approx(k / 7));
    CHECK(double(g.q.at.scales[1]) == Approx(3 * k / 7));
    CHECK(g.q.codes ==
          (k < 1 ? Codes{7, -7, 7, -7, 7, -7, 7, -7} : Codes{1, -1, 1, -1, 1, -1, 1, -1}));
  }
}

TEST_CASE("the asymmetric target solves its normal equations, and no drift moves nothing") {
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
  const auto target = [&](double share) {
    return asymmetric_target(w, kRows, kCols, H, C, {.damp = damp, .asymmetric = share}, "t");
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
  CHECK(asymmetric_target(w, kRows, kCols, H, still, {.asymmetric = 1}, "t") == w);
  CHECK(error_of([&] {
          asymmetric_target(w, kRows, kCols, H, C, {.asymmetric = 1.5}, "t");
        }).fault == Fault::usage);
  CHECK(error_of([&] { asymmetric_target(w, kRows, kCols, H, {}, {}, "t"); }).fault ==
        Fault::usage);
}

TEST_CASE(
    "where inputs have drifted, codes of the asymmetric target miss the float outputs by less") {
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
      const std::vector<real> q = dequantize(gptq(goal, kRows, kCols, {.bits = 4}, H, {}, "t").q);
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
    better += missed(asymmetric_target(w, kRows, kCols, H, statistics.drift(), {.asymmetric = 1},
                                       "t")) < missed(w);
  }
  CHECK(better == 20);
}

TEST_CASE("what cannot be right is refused, naming the layer") {
  const std::vector<real> w = normal_matrix(4 * 6, 95);
  const auto fault = [&](const Matrix& H, const GptqOptions& options) {
    const auto e = error_of([&] { gptq(w, 4, 6, {.bits = 4}, H, options, "h.0.attn.c_proj"); });
    CHECK(e.where == "h.0.attn.c_proj");
    return e.fault;
  };
  CHECK(fault(identity(5, 1), {}) == Fault::usage);
  CHECK(fault(identity(6, 1), {.damp = -0.1}) == Fault::usage);
  CHECK(fault(identity(6, 1), {.damp = 1.5}) == Fault::usage);
  CHECK(fault(identity(6, 1), {.block = 0}) == Fault::usage);
  CHECK(fault(identity(6, 1), {.deviations = -1}) == Fault::usage);
  CHECK(fault(identity(6, -1), {}) == Fault::numeric);
  CHECK(fault(identity(6, std::numeric_limits<double>::quiet_NaN()), {}) == Fault::numeric);
  Matrix indefinite = identity(6, 1);
  indefinite[1] = indefinite[6] = 100;
  CHECK(fault(indefinite, {}) == Fault::numeric);
}

}  // namespace
