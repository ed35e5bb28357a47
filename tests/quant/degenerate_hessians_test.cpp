// Statistics that no text should give, a thousand of them: what reads a Hessian goes through, and says
// of its codes what one measures.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "quant/kernels/round.h"
#include "quant/methods/gptaq.h"
#include "quant/methods/lqer.h"
#include "quant/methods/sparsegpt.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"

namespace degenerate_hessians_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr std::string_view kKinds[] = {
    "no sample",          "one sample",      "two samples", "equal inputs", "pairs",
    "inputs always zero", "entries of 1e30", "sizes 1e±15", "sizes 1e-30",  "one live input"};

/// mean of x xᵀ of 3 K samples, in double.
Matrix moments(std::vector<double> x, std::int64_t K) {
  Matrix H(at(K * K), 0.0);
  const auto n = std::ssize(x) / K;
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t i = 0; i < K; ++i)
      for (std::int64_t j = 0; j < K; ++j)
        H[at(i * K + j)] += x[at(t * K + i)] * x[at(t * K + j)] / static_cast<double>(n);
  return H;
}

Matrix degenerate(std::string_view kind, std::int64_t K, Rng& rng) {
  const std::int64_t n = kind == "no sample"     ? 0
                         : kind == "one sample"  ? 1
                         : kind == "two samples" ? 2
                                                 : 3 * K;
  const auto zero = rng.below(2), only = rng.below(static_cast<std::uint64_t>(K));
  std::vector<double> x(at(n * K)), sizes(at(K), 1.0);
  for (double& v : x) v = rng.normal();
  if (kind == "sizes 1e±15")
    for (double& s : sizes) s = std::pow(10.0, 30 * rng.uniform() - 15);
  for (std::int64_t t = 0; t < n; ++t) {
    double* row = x.data() + t * K;
    for (std::int64_t j = 0; j < K; ++j) {
      if (kind == "equal inputs") row[j] = row[0];
      if (kind == "pairs" && j % 2 == 1) row[j] = row[j - 1];
      if (kind == "inputs always zero" && static_cast<std::uint64_t>(j % 3) != zero) row[j] = 0;
      if (kind == "one live input" && static_cast<std::uint64_t>(j) != only) row[j] = 0;
      if (kind == "entries of 1e30") row[j] *= 1e15;
      if (kind == "sizes 1e-30") row[j] *= 1e-15;
      row[j] *= sizes[at(j)];
    }
  }
  return moments(std::move(x), K);
}

/// H + λI without the inputs that were always zero.
Matrix minimised(Matrix H, std::int64_t K, double damp) {
  double sum = 0;
  std::int64_t live = 0;
  for (std::int64_t i = 0; i < K; ++i) sum += H[at(i * K + i)], live += H[at(i * K + i)] > 0;
  for (std::int64_t i = 0; i < K && live > 0; ++i)
    if (H[at(i * K + i)] > 0) H[at(i * K + i)] += damp * sum / static_cast<double>(live);
  return H;
}

TEST_CASE("none of a thousand degenerate Hessians stops a method") {
  constexpr std::int64_t kGroup = 4;
  const std::vector<Spec> specs = all_specs(kGroup);
  Rng rng(17, 0);
  for (int i = 0; i < 1000; ++i) {
    const std::string_view kind = kKinds[static_cast<std::size_t>(i) % std::size(kKinds)];
    const auto rows = static_cast<std::int64_t>(1 + rng.below(6)),
               K = kGroup * static_cast<std::int64_t>(1 + rng.below(8));
    const Spec& spec = specs[rng.below(specs.size())];
    const GptqOptions options{.damp = rng.below(2) ? 0.01 : 0.0,
                              .act_order = rng.below(2) == 0,
                              .clip = static_cast<Clip>(rng.below(4))};
    INFO(i << ", " << kind << ", [" << rows << ", " << K << "], " << name_of(spec) << ", damp "
           << options.damp);
    const std::vector<real> w = normal_matrix(rows * K, static_cast<std::uint64_t>(i), 0.1);
    const Matrix H = degenerate(kind, K, rng);

    const GptqResult g = gptq(w, rows, K, spec, H, options, "t");
    CHECK_NOTHROW(validate(g.q, "t"));
    CHECK(g.report.damp <= 1);
    CHECK(g.report.condition <= 1e14);
    const Matrix A = minimised(H, K, g.report.damp);
    CHECK(g.report.damped_error ==
          Approx(output_error(w, g.q, A)).epsilon(1e-9).margin(loss_slack(w, g.q, A)));

    const Pruned p = sparsegpt(w, rows, K, H, {.sparsity = 0.5}, "t");
    CHECK(std::ranges::count(p.keep, 0) == rows * K / 2);
    CHECK(all_finite(p.w));
    for (std::size_t k = 0; k < w.size(); ++k) CHECK((p.keep[k] != 0 || p.w[k] == 0));

    // H as its own drift asks for the weights to move by the share of H in H + λI: less than once.
    const DampedCholesky factor =
        damped_cholesky(H, gptq_order(H, K, spec, options, "t"), options.damp, "t");
    const std::vector<real> target = asymmetric_target(w, rows, factor, H, options.asymmetric, "t");
    CHECK(all_finite(target));

    std::vector<real> error = dequantize(g.q);
    for (std::size_t k = 0; k < w.size(); ++k) error[k] = w[k] - error[k];
    const LowRank low = low_rank(error, rows, K, H, 2, "t");
    CHECK(std::isfinite(low.caught));
    CHECK(all_finite(low.side.up));
    CHECK(all_finite(low.side.down));
  }
}

}  // namespace degenerate_hessians_test
