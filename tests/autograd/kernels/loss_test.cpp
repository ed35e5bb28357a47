#include "autograd/kernels/loss.h"

#include <cmath>
#include <utility>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/reference.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace loss_test {

using namespace notch;
using namespace notch::test;
namespace ref = notch::kernels::reference;

std::span<const real> row(const Reals& x, std::int64_t r, std::int64_t V) {
  return std::span<const real>(x).subspan(static_cast<std::size_t>(r * V),
                                          static_cast<std::size_t>(V));
}

TEST_CASE("cross-entropy equals the reference and skips ignored rows") {
  for (std::int64_t V : {2, 17, 65, 256, 1111}) {
    const std::int64_t rows = 9;
    const Reals logits = normals(rows * V, 1, 4);
    std::vector<std::int32_t> targets;
    for (std::int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<std::int32_t>(r * 7 % V));
    targets[4] = -1;
    const double scale = 1.0 / 8;
    std::vector<double> losses(targets.size(), 99), same(targets.size(), 99);
    Reals dlogits = logits;
    kernels::cross_entropy_forward(losses, logits, targets, rows, V);
    kernels::cross_entropy_forward_backward(same, dlogits, targets, scale, rows, V);
    CHECK(losses == same);
    for (std::int64_t r = 0; r < rows; ++r) {
      INFO("V = " << V << ", row " << r);
      const auto i = static_cast<std::size_t>(r);
      if (targets[i] < 0) {
        CHECK(losses[i] == 0);
        for (real d : row(dlogits, r, V)) CHECK(d == 0);
        continue;
      }
      const ref::RowLoss expected = ref::cross_entropy(row(logits, r, V), targets[i], scale);
      CHECK(losses[i] == Approx(expected.loss).epsilon(2e-6).margin(1e-6));
      CHECK(worst_error(row(dlogits, r, V), expected.dlogits, 1e-6) < 4e-6);
    }
  }
}

TEST_CASE("distillation equals the naive reference at any temperature") {
  const std::int64_t rows = 6, V = 77;
  const Reals student = normals(rows * V, 2, 3), teacher = normals(rows * V, 3, 3);
  const std::vector<std::int32_t> targets = {0, 5, 76, -1, 33, 1};
  for (double tau : {0.5, 1.0, 2.0, 4.0})
    for (const auto& [alpha, reverse] :
         {std::pair{0.0, 0.0}, {0.3, 0.0}, {1.0, 0.0}, {0.3, 1.0}, {1.0, 0.4}}) {
      const kernels::Distillation how{tau, alpha, reverse};
      std::vector<double> losses(6), ce(6), same(6);
      Reals dlogits = student;
      kernels::distillation_forward(losses, ce, student, teacher, targets, how, rows, V);
      kernels::distillation_forward_backward(same, {}, dlogits, teacher, targets, how, 0.5, rows,
                                             V);
      CHECK(losses == same);
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto i = static_cast<std::size_t>(r);
        if (targets[i] < 0) {
          CHECK(losses[i] == 0);
          CHECK(ce[i] == 0);
          continue;
        }
        INFO("tau " << tau << ", alpha " << alpha << ", reverse " << reverse << ", row " << r);
        const ref::RowLoss expected = ref::distillation(row(student, r, V), row(teacher, r, V),
                                                        targets[i], tau, alpha, reverse, 0.5);
        CHECK(losses[i] == Approx(expected.loss).epsilon(4e-6));
        CHECK(ce[i] == Approx(expected.ce).epsilon(2e-6));
        CHECK(worst_error(row(dlogits, r, V), expected.dlogits, 1e-3) < 1e-5);
      }
    }
}

TEST_CASE("a student equal to its teacher up to a shift has no KL loss") {
  const std::int64_t V = 500;
  const Reals teacher = normals(V, 4, 3);
  Reals student = teacher;
  for (real& v : student) v += 2;
  const std::vector<std::int32_t> targets = {3};
  std::vector<double> losses(1);
  for (const double reverse : {0.0, 0.5, 1.0}) {
    Reals dlogits = student;
    kernels::distillation_forward_backward(losses, {}, dlogits, teacher, targets, {2, 1, reverse},
                                           1, 1, V);
    CHECK(std::fabs(losses[0]) < 1e-6);
    for (real d : dlogits) CHECK(std::fabs(d) < 1e-6);
  }
}

TEST_CASE("losses are finite for logits far apart, NaN where a logit is") {
  Reals logits = {1e4f, -1e4f, 0, static_cast<real>(NAN), 0, 0, static_cast<real>(INFINITY), 0, 0};
  const std::vector<std::int32_t> targets = {1, 1, 1};
  std::vector<double> losses(3);
  kernels::cross_entropy_forward_backward(losses, logits, targets, 1, 3, 3);
  CHECK(losses[0] == Approx(2e4));
  CHECK(logits[1] == -1);
  CHECK(std::isnan(losses[1]));
  CHECK(std::isnan(losses[2]));
}

TEST_CASE("the pairwise sum of losses is exact where a running sum isn't") {
  std::vector<double> x(1 << 12, 0.1);
  const double mean = kernels::tree_sum(x) / static_cast<double>(x.size());
  CHECK(mean == 0.1);
  CHECK(kernels::tree_sum({}) == 0);
}

}  // namespace loss_test
