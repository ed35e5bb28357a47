// SpQR against the paper's algorithm in double, with the inverse Hessian's factor; and the files that
// hold it.
#include "quant/methods/spqr.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/half.h"
#include "quant/methods/leave_one_out.h"
#include "quant/methods/post_training.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/gptq_oracle.h"
#include "tests/quant/quantized_models.h"

namespace spqr_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Normal weights, some of them six times as far out.
std::vector<real> heavy(std::int64_t n, std::uint64_t seed) {
  std::vector<real> w = normal_matrix(n, seed, 0.1);
  Rng rng(seed, 7);
  for (std::int64_t i = 0; i < n / 40; ++i)
    w[static_cast<std::size_t>(rng.below(static_cast<std::uint64_t>(n)))] *= 6;
  return w;
}

struct MinMaxGrid {
  double scale = 1, zero = 0, last = 0;
  MinMaxGrid(const std::vector<double>& w, int bits) : last((1 << bits) - 1) {
    double lo = 0, hi = 0;
    for (const double v : w) lo = std::min(lo, v), hi = std::max(hi, v);
    if (hi > lo) scale = (hi - lo) / last;
    zero = std::nearbyint(-lo / scale);
  }
  double code(double v) const { return std::clamp(std::nearbyint(v / scale) + zero, 0.0, last); }
  double value(double v) const { return (code(v) - zero) * scale; }
};

struct Expected {
  std::vector<double> codes, rests, loss;
};

/// Algorithm 1 of the paper for rows of w [rows, K]: U upper with (H + λI)⁻¹ = Uᵀ U, and errors over
/// U_jj that move the columns after j.
Expected paper_spqr(const std::vector<real>& w, std::int64_t rows, std::int64_t K,
                    std::int64_t group, int bits, const Matrix& H, double damp, double threshold) {
  double trace = 0;
  for (std::int64_t j = 0; j < K; ++j) trace += H[at(j * K + j)];
  Matrix A = H, inverse = identity(K, 1);
  for (std::int64_t j = 0; j < K; ++j) A[at(j * K + j)] += damp * trace / double(K);
  for (std::int64_t p = 0; p < K; ++p) {  // Gauss and Jordan; A is positive definite
    const double pivot = A[at(p * K + p)];
    for (std::int64_t j = 0; j < K; ++j) A[at(p * K + j)] /= pivot, inverse[at(p * K + j)] /= pivot;
    for (std::int64_t i = 0; i < K; ++i) {
      const double f = i == p ? 0 : A[at(i * K + p)];
      for (std::int64_t j = 0; f != 0 && j < K; ++j) {
        A[at(i * K + j)] -= f * A[at(p * K + j)];
        inverse[at(i * K + j)] -= f * inverse[at(p * K + j)];
      }
    }
  }
  Matrix U(at(K * K), 0.0);  // inverse = Uᵀ U, row after row
  for (std::int64_t i = 0; i < K; ++i) {
    for (std::int64_t j = i; j < K; ++j) {
      double sum = inverse[at(i * K + j)];
      for (std::int64_t k = 0; k < i; ++k) sum -= U[at(k * K + i)] * U[at(k * K + j)];
      U[at(i * K + j)] = i == j ? std::sqrt(sum) : sum / U[at(i * K + i)];
    }
  }
  double tau = 0;
  for (std::int64_t j = 0; j < K; ++j) {
    double sum = 0, squares = 0;
    for (std::int64_t r = 0; r < rows; ++r) sum += double(w[at(r * K + j)]);
    for (std::int64_t r = 0; r < rows; ++r)
      squares += std::pow(double(w[at(r * K + j)]) - sum / double(rows), 2);
    tau +=
        threshold * squares / double(rows - 1) / (U[at(j * K + j)] * U[at(j * K + j)]) / double(K);
  }
  Expected out;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<double> v(w.begin() + r * K, w.begin() + (r + 1) * K);
    double loss = 0;
    for (std::int64_t first = 0; first < K; first += group) {
      const std::vector<double> all(v.begin() + first, v.begin() + first + group);
      const auto error = [&](std::int64_t without) {
        std::vector<double> some = all;
        if (without >= 0) some.erase(some.begin() + without);
        const MinMaxGrid grid(some, bits);
        double sum = 0;
        for (std::int64_t i = 0; i < group; ++i) {
          const double u = U[at((first + i) * (K + 1))], e = all[at(i)] - grid.value(all[at(i)]);
          sum += i == without ? 0 : e * e / (u * u);
        }
        return sum;
      };
      std::vector<double> kept;
      std::vector<bool> outlier;
      for (std::int64_t i = 0; i < group; ++i) {
        outlier.push_back(error(-1) - error(i) > tau);
        if (!outlier.back()) kept.push_back(all[at(i)]);
      }
      const MinMaxGrid grid(kept.empty() ? all : kept, bits);
      for (std::int64_t i = 0; i < group; ++i) {
        const std::int64_t j = first + i;
        const double rounded = grid.value(v[at(j)]);
        const double rest =
            outlier[at(i)] ? from_f16(to_f16(static_cast<float>(v[at(j)] - rounded))) : 0;
        out.codes.push_back(grid.code(v[at(j)]) - (1 << (bits - 1)));
        out.rests.push_back(rest);
        const double e = (v[at(j)] - rounded - rest) / U[at(j * K + j)];
        loss += e * e;
        for (std::int64_t k = j; k < K; ++k) v[at(k)] -= e * U[at(j * K + k)];
      }
    }
    out.loss.push_back(loss);
  }
  return out;
}

Spec small_groups(int bits, std::int64_t group) {
  return {.bits = bits,
          .grid = GridKind::asymmetric,
          .granularity = Granularity::group,
          .group_size = group};
}

TEST_CASE("a leave-one-out gain is what leaving the weight out gains") {
  for (const Format& format : formats()) {
    if (format.has_own_levels()) continue;  // SpQR does not know them
    const Spec spec{.bits = format.has_bits(3) ? 3 : format.fewest_bits, .grid = format.kind};
    for (const std::int64_t n : {1, 2, 9, 16}) {
      std::vector<real> w = heavy(n, static_cast<std::uint64_t>(n) + 40);
      if (n == 9) w[3] = w[5];  // of two equal weights neither is the only extreme
      if (n == 2) w = {real(0.5), real(-0.5)};
      std::vector<double> a;
      for (std::int64_t i = 0; i < n; ++i) a.push_back(1 + 0.3 * double(i % 4));
      // Of the weights `at` alone, with the range of those.
      const auto error = [&](const std::vector<std::size_t>& of) {
        std::vector<real> some;
        for (const std::size_t i : of) some.push_back(w[i]);
        double sum = 0;
        if (some.empty()) return sum;
        const QTensor q = rtn(some, 1, std::ssize(some), spec, RangeRule::absmax);
        const std::vector<real> back = dequantize(q);
        for (std::size_t k = 0; k < of.size(); ++k)
          sum += std::pow((double(some[k]) - double(back[k])) * a[of[k]], 2);
        return sum;
      };
      std::vector<std::size_t> all;
      for (std::size_t i = 0; i < w.size(); ++i) all.push_back(i);
      const std::vector<double> gains = leave_one_out_gains(w, a, spec);
      for (std::size_t i = 0; i < w.size(); ++i) {
        std::vector<std::size_t> rest = all;
        rest.erase(rest.begin() + std::ptrdiff_t(i));
        INFO(format.name << ' ' << n << ' ' << i);
        CHECK(gains[i] == Approx(error(all) - error(rest)).margin(1e-9));
      }
    }
  }
}

TEST_CASE("SpQR gives the paper's codes and outliers") {
  constexpr std::int64_t kRows = 12, kCols = 48;
  std::int64_t outliers = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const std::vector<real> w = heavy(kRows * kCols, 50 + seed);
    const Matrix H = hessian_of(correlated_inputs(200, kCols, seed), kCols);
    for (const std::int64_t group : {8, 16}) {
      for (const double threshold : {0.05, 0.2, 1e9}) {
        INFO("seed " << seed << " group " << group << " threshold " << threshold);
        std::vector<real> rests;
        const GptqResult got = gptq(w, kRows, kCols, small_groups(3, group), H,
                                    {.act_order = false, .clip = Clip::absmax}, "t", {},
                                    {.threshold = threshold, .rests = &rests});
        const Expected want = paper_spqr(w, kRows, kCols, group, 3, H, 0.01, threshold);
        double loss = 0;
        for (const double l : want.loss) loss += l;
        for (std::size_t i = 0; i < w.size(); ++i) {
          CHECK(double(got.q.codes[i]) == want.codes[i]);
          CHECK((rests[i] != 0) == (want.rests[i] != 0));
          CHECK(double(rests[i]) == Approx(want.rests[i]).margin(1e-4));
        }
        CHECK(got.report.damped_error == Approx(loss).epsilon(1e-3));
        outliers += std::ranges::count_if(rests, [](real v) { return v != 0; });
        if (threshold == 1e9) {
          CHECK(std::ranges::count(rests, real{0}) == kRows * kCols);
          CHECK(got.q == gptq(w, kRows, kCols, small_groups(3, group), H,
                              {.act_order = false, .clip = Clip::absmax}, "t")
                             .q);
        }
      }
    }
  }
  CHECK(outliers > 50);
}

TEST_CASE("the reported error is that of codes and outliers together") {
  constexpr std::int64_t kRows = 20, kCols = 32;
  const std::vector<real> w = heavy(kRows * kCols, 9);
  const Matrix H = hessian_of(correlated_inputs(150, kCols, 3), kCols);
  double before = kNever;
  for (const double threshold : {kNever, 0.3, 0.05}) {
    for (const Clip clip : {Clip::absmax, Clip::mse, Clip::output}) {
      for (const ScaleType scale : {ScaleType::f16, ScaleType::bilevel}) {
        Spec spec = small_groups(3, 8);
        spec.scale = scale;
        std::vector<real> rests;
        const GptqResult got = gptq(w, kRows, kCols, spec, H, {.act_order = false, .clip = clip},
                                    "t", {}, {.threshold = threshold, .rests = &rests});
        std::vector<real> left = w;  // what the codes alone are to be compared with
        for (std::size_t i = 0; i < left.size(); ++i) left[i] -= rests.empty() ? 0 : rests[i];
        CHECK(got.report.error == Approx(output_error(left, got.q, H)).epsilon(2e-3));
        if (clip != Clip::output || scale != ScaleType::f16) continue;
        CHECK(got.report.error < before);
        before = got.report.error;
      }
    }
  }
}

TEST_CASE("without outliers SpQR is GPTQ with groups, bit for bit") {
  const Text text(20, 8);
  const nn::Tokens tokens = text.tokens();
  for (const Granularity granularity : {Granularity::group, Granularity::channel}) {
    Plan plan{.weights = {.bits = 3,
                          .grid = GridKind::asymmetric,
                          .granularity = granularity,
                          .group_size = granularity == Granularity::group ? 4 : 0,
                          .scale = ScaleType::f16},
              .table = Spec{.bits = 8}};
    const auto a = make_gpt(), b = make_gpt();
    const Quantized spqr = post_training(*a, method("spqr"), resolve(plan, *a), {&tokens, 1},
                                         {.spqr = {.threshold = 1e300}});
    const Quantized gptq = post_training(*b, method("gptq"), resolve(plan, *b), {&tokens, 1},
                                         {.gptq = {.act_order = false}});
    for (std::size_t i = 0; i < spqr.tensors.size(); ++i) {
      CHECK(spqr.tensors[i].q == gptq.tensors[i].q);
      CHECK(spqr.tensors[i].change.empty());
    }
    CHECK(same_bits(values_of(a->params()), values_of(b->params())));
  }
}

TEST_CASE("SpQR's file has every outlier once, and runs as it is scored") {
  const Text text(20, 8);
  const nn::Tokens tokens = text.tokens();
  for (const bool rounds_inputs : {false, true}) {
    Plan plan{.weights = {.bits = 3,
                          .grid = GridKind::asymmetric,
                          .granularity = Granularity::group,
                          .group_size = 4,
                          .scale = ScaleType::bilevel},
              .table = Spec{.bits = 8}};
    if (rounds_inputs) plan.activations = ActivationSpec{};
    const auto original = make_gpt();
    const std::vector<real> expected = logits(*original);
    double before = 0;
    std::int64_t plain = 0;
    for (const double threshold : {1e300, 0.3, 0.01}) {
      const auto model = make_gpt();
      const Quantized q = post_training(*model, method("spqr"), resolve(plan, *model), {&tokens, 1},
                                        {.spqr = {.threshold = threshold}});
      std::int64_t bytes = 0;
      double reported = 0, kept = 0;
      for (std::size_t i = 0; i < q.tensors.size(); ++i) {
        const NamedQTensor& t = q.tensors[i];
        reported += measure(q.layers[i], "outliers");
        if (!t.change.side) continue;
        const SideProduct& side = *t.change.side;
        kept += double(side.values.size());
        // 16 bits of value, 16 of column; where each row starts.
        bytes += 4 * std::ssize(side.values) + 4 * (t.q.rows + 1);
        CHECK(std::ssize(side.starts) == t.q.rows + 1);
      }
      CHECK(reported == kept);
      CHECK((kept > 0) == (threshold < 1));
      const std::int64_t all = predict_size(*model, q).bytes();
      if (threshold > 1) plain = all;
      CHECK(all == plain + bytes);
      const TemporaryDirectory dir;
      save_quantized(*model, q, dir.path());
      CHECK(tensor_bytes(dir.path()) == all);
      const LoadedModel back = load_any(dir.path());
      for (const NamedQTensor& t : q.tensors) {
        const auto at = std::ranges::find(back.tensors, t.name, &NamedQTensor::name);
        REQUIRE(at != back.tensors.end());
        CHECK(at->q == t.q);
        CHECK(at->change == t.change);
      }
      const std::vector<real> got = logits(*back.model);
      const std::vector<real> served = logits(*load_runnable(dir.path()).model);
      double distance = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(served[i] == Approx(got[i]).epsilon(1e-4).margin(1e-4));
        distance += std::pow(double(got[i]) - double(expected[i]), 2);
      }
      if (threshold > 1) before = distance;
      if (threshold < 0.1) CHECK(distance < before / 2);
    }
  }
}

TEST_CASE("SpQR wants scales of rows or groups") {
  const std::vector<real> w = heavy(64, 1);
  const ErrorParts e = error_of([&] {
    gptq(w, 8, 8, {.bits = 3, .granularity = Granularity::tensor}, identity(8, 1), {}, "t", {},
         {.threshold = 0.2});
  });
  CHECK(e.fault == Fault::usage);
}

TEST_CASE("a sparse product is refused where a file has it wrong") {
  const auto fault = [&](const auto& damage) {
    const auto model = make_gpt();
    Quantized q = rounded(*model, {.weights = {.bits = 4}});
    NamedQTensor& t = q.tensors[0];
    std::vector<real> values(t.q.codes.size(), 0);
    values[1] = 1, values[3] = 2;
    t.change.side = sparse_product(values, t.q.rows, t.q.cols, "t");
    damage(*t.change.side);
    const TemporaryDirectory dir;
    save_quantized(*model, q, dir.path());
    try {
      load_any(dir.path());
    } catch (const Error& e) {
      return std::optional(e.fault());
    }
    return std::optional<Fault>{};
  };
  CHECK_FALSE(fault([](SideProduct&) {}).has_value());
  CHECK(fault([](SideProduct& s) { s.columns = {3, 1}; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.columns = {3, 3}; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.columns[1] = 60000; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.starts[0] = 1; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.starts[1] = -1; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.starts.back() = 3; }) == Fault::input);
  CHECK(fault([](SideProduct& s) { s.values[0] = std::numeric_limits<real>::infinity(); }) ==
        Fault::input);
}

}  // namespace spqr_test
