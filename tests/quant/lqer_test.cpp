// LQER: the correction against the best one of its rank, found another way, and the file that holds it.
#include "quant/methods/lqer.h"

#include <algorithm>
#include <cmath>

#include "quant/methods/gptq.h"
#include "quant/methods/options.h"
#include "quant/methods/post_training.h"
#include "quant/numbers/nested_scales.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace lqer_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

using Doubles = std::vector<double>;

/// tr(D H Dᵀ), by the sum.
double weighed(const Doubles& D, const std::vector<double>& H, std::int64_t rows, std::int64_t K) {
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < K; ++i)
      for (std::int64_t j = 0; j < K; ++j)
        sum += D[std::size_t(r * K + i)] * H[std::size_t(i * K + j)] * D[std::size_t(r * K + j)];
  return sum;
}

struct Problem {
  std::int64_t rows, cols;
  std::vector<real> error;
  std::vector<double> H;
  Problem(std::int64_t n, std::int64_t k, std::uint64_t seed)
      : rows(n), cols(k), error(normal_matrix(n * k, seed)) {
    Hessian moments(k);
    moments.accumulate(correlated_inputs(4 * k, k, seed));
    H = moments.matrix();
  }
  /// Of what the factors leave.
  double left(const SideProduct& side) const {
    Doubles D(error.begin(), error.end());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        for (std::int64_t k = 0; k < side.rank; ++k)
          D[std::size_t(r * cols + c)] -= double(side.up[std::size_t(r * side.rank + k)]) *
                                          double(side.down[std::size_t(k * cols + c)]);
    return weighed(D, H, rows, cols);
  }
};

/// The largest eigenvalues of E H Eᵀ one after the other, by the power method and deflation.
Doubles eigenvalues(const Problem& p, int n) {
  Doubles M(std::size_t(p.rows * p.rows), 0.0);
  for (std::int64_t a = 0; a < p.rows; ++a)
    for (std::int64_t b = 0; b < p.rows; ++b)
      for (std::int64_t i = 0; i < p.cols; ++i)
        for (std::int64_t j = 0; j < p.cols; ++j)
          M[std::size_t(a * p.rows + b)] += double(p.error[std::size_t(a * p.cols + i)]) *
                                            p.H[std::size_t(i * p.cols + j)] *
                                            double(p.error[std::size_t(b * p.cols + j)]);
  Doubles found;
  for (int k = 0; k < n; ++k) {
    Doubles v(std::size_t(p.rows), 1.0);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] += 0.1 * double((i * 7 + std::size_t(k)) % 5);
    double lambda = 0;
    for (int it = 0; it < 4000; ++it) {
      Doubles next(v.size(), 0.0);
      for (std::size_t a = 0; a < v.size(); ++a)
        for (std::size_t b = 0; b < v.size(); ++b) next[a] += M[a * v.size() + b] * v[b];
      double size = 0;
      for (const double x : next) size += x * x;
      lambda = std::sqrt(size);
      for (std::size_t a = 0; a < v.size(); ++a) v[a] = next[a] / lambda;
    }
    found.push_back(lambda);
    for (std::size_t a = 0; a < v.size(); ++a)
      for (std::size_t b = 0; b < v.size(); ++b) M[a * v.size() + b] -= lambda * v[a] * v[b];
  }
  return found;
}

TEST_CASE("low rank takes away the weighed error's largest eigenvalues") {
  for (const auto& [rows, cols] : {std::pair{12, 20}, {20, 12}, {9, 9}}) {
    const Problem p(rows, cols, static_cast<std::uint64_t>(rows));
    const Doubles lambda = eigenvalues(p, 4);
    double caught = 0;
    for (int rank = 1; rank <= 4; ++rank) {
      caught += lambda[std::size_t(rank - 1)];
      const LowRank found = low_rank(p.error, rows, cols, p.H, rank, "t");
      CHECK(found.side.rank == rank);
      const Doubles E(p.error.begin(), p.error.end());
      const double error = weighed(E, p.H, rows, cols);
      CHECK(found.caught == Approx(caught).epsilon(1e-4));
      // The stored factors are float16.
      CHECK(p.left(found.side) == Approx(error - found.caught).epsilon(3e-3));
    }
  }
}

TEST_CASE("with all ranks nothing is left but the rounding of the factors") {
  const Problem p(8, 12, 3);
  const LowRank found = low_rank(p.error, 8, 12, p.H, 100, "t");
  CHECK(found.side.rank == 8);
  CHECK(p.left(found.side) < 1e-5 * p.left({}));  // of no factors: the whole error
}

TEST_CASE("LQER's product makes up for the scales that are stored") {
  const std::int64_t rows = 24, cols = 64;
  ParamStore params;
  Param& weight = params.add("w", {rows, cols});
  params.allocate_values();
  std::ranges::copy(normal_matrix(rows * cols, 11), weight.value.data);
  Hessian H(cols);
  H.accumulate(correlated_inputs(300, cols, 12));
  nn::Linear linear{.name = "w", .weight = &weight};
  for (const ScaleType scale : {ScaleType::nested, ScaleType::bilevel}) {
    const Target target{
        .name = "w",
        .weight = &weight,
        .spec = {.bits = 3, .granularity = Granularity::group, .group_size = 16, .scale = scale},
        .linear = &linear};
    const quant::Rounded out =
        kLqer.round({.target = target, .w = weight.value.flat(), .H = &H}, {.lqer = {.rank = 4}});
    QTensor stored = out.q;
    nest_scales(stored);
    std::vector<real> error = dequantize(stored);
    for (std::size_t i = 0; i < error.size(); ++i) error[i] = weight.value.data[i] - error[i];
    CHECK(low_rank(error, rows, cols, H.matrix(), 4, "w").side == out.side);
  }
}

TEST_CASE("a rank above a matrix's smaller side is refused") {
  ParamStore params;
  Param& weight = params.add("w", {6, 8});
  params.allocate_values();
  std::ranges::copy(normal_matrix(48, 1), weight.value.data);
  Hessian H(8);
  H.accumulate(correlated_inputs(40, 8, 2));
  nn::Linear linear{.name = "w", .weight = &weight};
  const Target target{.name = "w", .weight = &weight, .spec = {.bits = 3}, .linear = &linear};
  const auto round = [&](int rank) {
    return kLqer.round({.target = target, .w = weight.value.flat(), .H = &H},
                       {.lqer = {.rank = rank}});
  };
  CHECK(round(6).side->rank == 6);
  const ErrorParts parts = error_of([&] { round(7); });
  CHECK(parts.fault == Fault::usage);
  CHECK(parts.field == "lqer.rank");
  CHECK(parts.expected == "at most 6");
}

TEST_CASE("LQER is GPTQ's codes and a product beside them, in files too") {
  for (const bool rounds_inputs : {false, true}) {
    const auto original = make_gpt();
    const std::vector<real> expected = logits(*original);
    const Text text(20, 8);
    const nn::Tokens tokens = text.tokens();
    Plan plan{.weights = {.bits = 2}, .rules = {{"wte", {}}}};
    if (rounds_inputs) plan.activations = ActivationSpec{};
    const auto run = [&](nn::Model& model, const char* name, int rank) {
      return post_training(model, method(name), resolve(plan, model), {&tokens, 1},
                           {.lqer = {.rank = rank}});
    };
    const auto distance = [&](const std::vector<real>& got) {
      double sum = 0;
      for (std::size_t i = 0; i < got.size(); ++i)
        sum += std::pow(double(got[i]) - double(expected[i]), 2);
      return sum;
    };
    double before = 1e300;
    for (const int rank : {1, 4, 12}) {
      const auto model = make_gpt();
      const Quantized q = run(*model, "lqer", rank);
      const TemporaryDirectory dir;
      save_quantized(*model, q, dir.path());
      const LoadedModel back = load_any(dir.path());
      const std::vector<real> got = logits(*back.model);
      const std::vector<real> served = logits(*load_runnable(dir.path()).model);
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(served[i] == Approx(got[i]).epsilon(1e-4).margin(1e-4));
      CHECK(distance(got) < before);
      before = distance(got);
      // Two bytes for each number of both factors.
      std::int64_t factors = 0, plain = 0;
      for (const NamedQTensor& t : q.tensors) {
        REQUIRE(t.change.side.has_value());
        factors += 2 * t.change.side->rank * (t.q.rows + t.q.cols);
      }
      const auto gptq = make_gpt();
      const Quantized without = run(*gptq, "gptq", 1);
      plain = predict_size(*gptq, without).bytes();
      CHECK(predict_size(*model, q).bytes() == plain + factors);
      CHECK(predict_size(*model, q).side_bytes == factors);
      CHECK(q.tensors[0].q == without.tensors[0].q);  // the first layer's inputs are the same
    }
  }
}

}  // namespace lqer_test
