// GPTQ against hand-worked examples, against OBQ, and through the properties that known
// implementations lose.
#include "quant/methods/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/names.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"

namespace gptq_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

TEST_CASE("by hand: with H = I + 4 GPTQ rounds (.1,.2,.3) to (0,0,1)") {
  // Factors 4/9, 4/9, then 4/5: the third weight has become .54. A wrong sign, a static inverse or
  // a missing division by the diagonal gives (0,0,0). The third row makes the tensor's scale 1.
  const Matrix H{5, 4, 4, 4, 5, 4, 4, 4, 5};
  const std::vector<real> w{0.1f, 0.2f, 0.3f, 0.1f, 0.3f, 0.4f, 7, 0, 0};
  const Spec spec{.bits = 4, .granularity = Granularity::tensor};
  const GptqResult g = gptq(w, 3, 3, spec, H, {.damp = 0, .clip = Clip::absmax}, "t");
  REQUIRE(g.q.at.scales == std::vector<real>{1});
  CHECK(g.q.codes == Codes{0, 0, 1, 0, 0, 1, 7, 0, 0});
  CHECK(g.report.error == Approx(1.18 + 0.62).epsilon(1e-6));
  CHECK(g.report.rtn_error == Approx(1.58 + 2.82).epsilon(1e-6));
  CHECK(g.report.damped_error == Approx(1.18 + 0.62).epsilon(1e-6));
}

TEST_CASE("without correlations GPTQ is round-to-nearest for every spec") {
  constexpr std::int64_t kRows = 7, kCols = 36;
  const std::vector<real> w = normal_matrix(kRows * kCols, 21, 0.04);
  Matrix diagonal = identity(kCols, 1);
  for (std::int64_t i = 0; i < kCols; ++i) diagonal[at(i * kCols + i)] = 1.0 + double(i * 7 % 11);
  for (const Spec& spec : all_specs(12)) {
    for (const RangeRule rule : {RangeRule::absmax, RangeRule::mse}) {
      if (rule == RangeRule::mse && spec.scale == ScaleType::bf16) continue;
      INFO(name_of(spec) << ' ' << word_of(rule));
      const QTensor nearest = rtn(w, kRows, kCols, spec, rule);
      const Clip clip = rule == RangeRule::mse ? Clip::mse : Clip::absmax;
      const GptqOptions options{.clip = clip};
      CHECK(gptq(w, kRows, kCols, spec, identity(kCols, 1), options, "t").q == nearest);
      CHECK(gptq(w, kRows, kCols, spec, identity(kCols, 3e-5), options, "t").q == nearest);
      const GptqOptions ordered{.act_order = true, .clip = clip};
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
      const GptqOptions in_order{.act_order = false, .clip = Clip::absmax};
      const GptqResult g = gptq(w, kRows, kCols, spec, H, in_order, "t");
      CHECK(g.q.codes == reference_gptq(w, kRows, kCols, spec, H, 0.01, ascending(kCols)));
    }
    std::vector<std::int64_t> order = ascending(kCols);
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return H[at(a * kCols + a)] > H[at(b * kCols + b)];
    });
    const Spec rows{.bits = 4};
    CHECK(gptq(w, kRows, kCols, rows, H, {.act_order = true, .clip = Clip::absmax}, "t").q.codes ==
          reference_gptq(w, kRows, kCols, rows, H, 0.01, order));
  }
}

TEST_CASE("the block size changes no bit, for groups of any size") {
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

TEST_CASE("later groups are scaled by updated weights unless static") {
  constexpr std::int64_t kRows = 8, kCols = 32;
  const std::vector<real> w = normal_matrix(kRows * kCols, 41);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 42), kCols);
  const Spec spec{.bits = 3, .granularity = Granularity::group, .group_size = 8};
  const std::vector<real> original =
      choose_scales(w, kRows, kCols, spec, RangeRule::absmax, "t").at.scales;
  const GptqOptions in_order{.act_order = false, .clip = Clip::absmax};
  const GptqResult dynamic = gptq(w, kRows, kCols, spec, H, in_order, "t");
  int changed = 0;
  for (std::size_t u = 0; u < original.size(); ++u) {
    const bool first_group = u % 4 == 0;
    if (first_group) CHECK(dynamic.q.at.scales[u] == original[u]);
    changed += !first_group && dynamic.q.at.scales[u] != original[u];
  }
  CHECK(changed == kRows * 3);
  for (const GptqOptions& options :
       {GptqOptions{.act_order = false, .static_groups = true, .clip = Clip::absmax},
        GptqOptions{.act_order = true, .clip = Clip::absmax}}) {
    const GptqResult fixed = gptq(w, kRows, kCols, spec, H, options, "t");
    CHECK(fixed.q.at.scales == original);
    CHECK(fixed.report.static_groups);
  }
}

TEST_CASE("the summed column losses are the output error that one measures") {
  constexpr std::int64_t kRows = 20, kCols = 48;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 200 + seed, 0.05);
    const Matrix H = hessian_of(correlated_inputs(400, kCols, seed), kCols);
    for (const bool act_order : {false, true}) {
      const Spec spec{.bits = 2 + static_cast<int>(seed % 4)};
      const GptqResult g = gptq(w, kRows, kCols, spec, H, {.act_order = act_order}, "t");
      const Matrix damped = reference::damped(H, kCols, g.report.damp);
      const double slack = loss_slack(w, g.q, damped), error = output_error(w, g.q, damped);
      CHECK(slack < 2e-3 * error);
      CHECK(g.report.damped_error == Approx(error).epsilon(1e-9).margin(slack));
      CHECK(g.report.error == Approx(output_error(w, g.q, H)).epsilon(1e-9).margin(slack));
      const QTensor nearest = rtn(w, kRows, kCols, spec, RangeRule::mse);
      CHECK(
          g.report.rtn_error ==
          Approx(output_error(w, nearest, H)).epsilon(1e-9).margin(loss_slack(w, nearest, damped)));
    }
  }
}

TEST_CASE("GPTQ beats round-to-nearest on 200 random correlated layers") {
  constexpr std::int64_t kRows = 16, kCols = 32;
  int better = 0;
  double ratio = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<real> w = normal_matrix(kRows * kCols, 1000 + seed);
    const Matrix H = hessian_of(correlated_inputs(256, kCols, 1000 + seed), kCols);
    const GptqReport report =
        gptq(w, kRows, kCols, {.bits = 4}, H, {.clip = Clip::absmax}, "t").report;
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
  const GptqOptions options{.act_order = true, .clip = Clip::absmax};
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

TEST_CASE("neither the scale of inputs nor the threads change the codes") {
  constexpr std::int64_t kRows = 40, kCols = 64;
  const std::vector<real> w = normal_matrix(kRows * kCols, 61);
  const Matrix H = hessian_of(correlated_inputs(300, kCols, 62), kCols);
  Matrix scaled = H;
  for (double& h : scaled) h *= 0x1p-40;
  const Spec spec{.bits = 4, .granularity = Granularity::group, .group_size = 16};
  set_threads(1);
  const GptqResult one = gptq(w, kRows, kCols, spec, H, {.clip = Clip::mse}, "t");
  set_threads(3);
  CHECK(gptq(w, kRows, kCols, spec, H, {.clip = Clip::mse}, "t").q == one.q);
  CHECK(gptq(w, kRows, kCols, spec, scaled, {.clip = Clip::mse}, "t").q == one.q);
  set_threads(0);
}

TEST_CASE("statistics of no sample, one or too few never fail") {
  constexpr std::int64_t kRows = 12, kCols = 40;
  const std::vector<real> w = normal_matrix(kRows * kCols, 71);
  for (const Granularity granularity : {Granularity::channel, Granularity::group}) {
    const Spec spec{.bits = 4,
                    .granularity = granularity,
                    .group_size = granularity == Granularity::group ? 8 : 0};
    const QTensor nearest = rtn(w, kRows, kCols, spec, RangeRule::mse);
    const GptqResult none =
        gptq(w, kRows, kCols, spec, Hessian(kCols).matrix(), {.clip = Clip::mse}, "t");
    CHECK(none.q == nearest);
    CHECK(none.report.dead_columns == kCols);
    for (const std::int64_t samples : {1, 2, 39}) {
      const Matrix H = hessian_of(correlated_inputs(samples, kCols, 72), kCols);
      for (const double damp : {0.0, 0.01}) {
        for (const bool act_order : {false, true}) {
          const GptqOptions options{.damp = damp, .act_order = act_order, .clip = Clip::mse};
          const GptqResult g = gptq(w, kRows, kCols, spec, H, options, "t");
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

}  // namespace gptq_test
