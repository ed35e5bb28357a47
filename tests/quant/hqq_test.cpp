// HQQ beside a naive implementation of its formulas in double, and what has to hold of any result.
#include "quant/methods/hqq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace hqq_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::error_of;
using notch::test::normal_matrix;

constexpr std::int64_t kRows = 40, kCols = 48;

/// Rows whose weights lie more to one side: exp of a normal number, less 1.
std::vector<real> skewed_matrix(std::uint64_t seed) {
  std::vector<real> w = normal_matrix(kRows * kCols, seed);
  for (real& v : w) v = std::exp(v / 2) - 1;
  return w;
}

double shrunk(double r, double p, double beta) {
  const double size = std::max(0.0, std::fabs(r) - std::pow(std::fabs(r), p - 1) / beta);
  return r < 0 ? -size : size;
}

double sum_of_errors(const std::vector<double>& w, double s, double z, int lo, int hi, double p) {
  double sum = 0;
  for (const double v : w) {
    const double q = std::max<double>(lo, std::min<double>(hi, std::nearbyint(v / s + z)));
    sum += std::pow(std::fabs(v - (q - z) * s), p);
  }
  return sum;
}

struct Found {
  double s = 1;
  int z = 0;
};

/// What the iteration finds on the codes lo … hi; a zero point moves where there is one.
Found naive_fit(const std::vector<double>& w, Found now, int lo, int hi, bool has_zero,
                const HqqOptions& o) {
  const auto error = [&](Found f) { return sum_of_errors(w, f.s, f.z, lo, hi, o.p); };
  Found best = now;
  double beta = o.beta, least = error(now);
  for (int i = 0; i < o.iterations; ++i) {
    double above = 0, below = 0;
    for (const double v : w) {
      const double q =
          std::max<double>(lo, std::min<double>(hi, std::nearbyint(v / now.s + now.z)));
      const double l = q - now.z;
      above += (v / now.s - shrunk(v / now.s - l, o.p, beta)) * l;
      below += l * l;
    }
    now.s *= above / below;
    beta *= o.kappa;
    Found moved = now;
    for (int z = std::max(lo, now.z - 1); has_zero && z <= std::min(hi, now.z + 1); ++z) {
      if (error({now.s, z}) < error(moved)) moved.z = z;
    }
    now = moved;
    if (error(now) >= least) return best;
    least = error(now);
    best = now;
  }
  return best;
}

std::vector<double> row_of(const std::vector<real>& w, std::int64_t r) {
  return {w.begin() + r * kCols, w.begin() + (r + 1) * kCols};
}

double error_of_scales(const std::vector<real>& w, const Spec& spec, const Scales& at, double p) {
  const std::vector<real> back = dequantize(quantize(w, kRows, kCols, spec, at, "t"));
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    sum += std::pow(std::fabs(double(w[i]) - double(back[i])), p);
  return sum;
}

TEST_CASE("HQQ finds the scales and zero points of a naive iteration") {
  int moved = 0;
  for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric}) {
    for (const int bits : {2, 3, 4}) {
      // The last ones tell a beta that grows from one that does not.
      for (const HqqOptions& o :
           {HqqOptions{}, HqqOptions{.p = 0.5, .beta = 4}, HqqOptions{.beta = 3, .kappa = 3}}) {
        const Spec spec{.bits = bits, .grid = grid};
        INFO(name_of(spec) << ", beta " << o.beta);
        const bool has_zero = grid == GridKind::asymmetric;
        const int hi = (1 << (bits - 1)) - 1, lo = has_zero ? -hi - 1 : -hi;
        const std::vector<real> w = skewed_matrix(7 + static_cast<std::uint64_t>(bits));
        const Scales rtn = choose_scales(w, kRows, kCols, spec, RangeRule::absmax, "t").at;
        const Scales found = half_quadratic_scales(w, kRows, kCols, spec, o, "t");
        int same = 0;
        for (std::int64_t r = 0; r < kRows; ++r) {
          const auto u = static_cast<std::size_t>(r);
          const Found start{rtn.scales[u], has_zero ? rtn.zero_points[u] : 0};
          const Found expected = naive_fit(row_of(w, r), start, lo, hi, has_zero, o);
          const int z = has_zero ? found.zero_points[u] : 0;
          same += z == expected.z && std::fabs(double(found.scales[u]) / expected.s - 1) < 1e-5;
          moved += z != start.z;
        }
        CHECK(same >= kRows - 2);  // a stored scale's last bit may decide a code
      }
    }
  }
  CHECK(moved > 0);
}

TEST_CASE("HQQ's error is never above round-to-nearest's on any grid") {
  const std::vector<real> w = skewed_matrix(27);
  for (const Spec& spec : all_specs(12)) {
    INFO(name_of(spec));
    const Scales rtn = choose_scales(w, kRows, kCols, spec, RangeRule::absmax, "t").at;
    const Scales found = half_quadratic_scales(w, kRows, kCols, spec, {}, "t");
    const double error = error_of_scales(w, spec, found, 0.7);
    CHECK(error <= error_of_scales(w, spec, rtn, 0.7));
    // From one power of two no factor near 1 leads to another.
    const bool moves = spec.scale != ScaleType::e8m0;
    if (spec.bits <= 3 && spec.granularity != Granularity::tensor && moves)
      CHECK(error < error_of_scales(w, spec, rtn, 0.7));
  }
}

TEST_CASE("weights on the grid, and of zero, stay as they are under HQQ") {
  std::vector<real> w(kRows * kCols, 0);
  for (std::int64_t i = 0; i < kRows * kCols; ++i)
    w[static_cast<std::size_t>(i)] =
        i < kCols ? real(0) : real(0.25) * static_cast<real>(i % 8 - 4);
  for (const GridKind grid : {GridKind::asymmetric, GridKind::signed_max}) {
    const Spec spec{.bits = 3, .grid = grid};
    const Scales found = half_quadratic_scales(w, kRows, kCols, spec, {}, "t");
    CHECK(dequantize(quantize(w, kRows, kCols, spec, found, "t")) == w);
  }
}

TEST_CASE("HQQ rounds a matrix and its multiple alike") {
  const std::vector<real> w = skewed_matrix(37);
  std::vector<real> small = w;
  for (real& v : small) v *= real(0x1p-7);
  for (const GridKind grid : {GridKind::asymmetric, GridKind::narrow}) {
    const Spec spec{.bits = 3, .grid = grid, .granularity = Granularity::group, .group_size = 16};
    const Scales at = half_quadratic_scales(w, kRows, kCols, spec, {}, "t");
    Scales scaled = half_quadratic_scales(small, kRows, kCols, spec, {}, "t");
    CHECK(scaled.zero_points == at.zero_points);
    for (real& s : scaled.scales) s *= real(0x1p7);
    CHECK(scaled.scales == at.scales);
  }
}

TEST_CASE("HQQ reads no text and reports the errors that it sums") {
  test::AnyModel model = test::any_model([] { return test::make_gpt(); }),
                 before = test::copy_of(model);
  const std::vector<Target> targets =
      resolve({.weights = {.bits = 2, .grid = GridKind::asymmetric}}, model.get());
  const Quantized q = post_training(model.get(), method("hqq"), targets, {}, {.hqq = {.p = 0.5}});
  double all = 0;
  for (std::size_t i = 0; i < q.layers.size(); ++i) {
    INFO(q.layers[i].name);
    const auto w = before.params().find(q.tensors[i].name)->value.flat();
    const auto back = dequantize(q.tensors[i].q);
    double error = 0;
    for (std::size_t j = 0; j < w.size(); ++j)
      error += std::sqrt(std::fabs(double(w[j]) - double(back[j])));
    CHECK(measure(q.layers[i], "lp_error") == Approx(error));
    CHECK(measure(q.layers[i], "lp_error") < measure(q.layers[i], "rtn_lp_error"));
    all += error;
  }
  REQUIRE(method("hqq").row_figures.size() == 1);
  CHECK(method("hqq").row_figures[0].of(q.layers) == Approx(all / total(q.layers, "rtn_lp_error")));
}

TEST_CASE("HQQ's options outside their ranges are refused") {
  const std::vector<real> w = normal_matrix(kRows * kCols, 47);
  for (const HqqOptions& o : {HqqOptions{.p = 0}, HqqOptions{.p = 1.5}, HqqOptions{.beta = 0},
                              HqqOptions{.kappa = 0.5}}) {
    const ErrorParts e =
        error_of([&] { half_quadratic_scales(w, kRows, kCols, {.bits = 4}, o, "here"); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.where == "here");
  }
}

}  // namespace hqq_test
