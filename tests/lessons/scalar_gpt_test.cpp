// The scalar GPT of lesson 18 against plain loops: its loss, and its gradients along random directions.
#include "experiments/lessons/scalar_gpt.h"

#include "tests/catch.h"
#include "tests/lessons/expected/18_names.h"

namespace scalar_gpt_test {

using namespace notch;

TEST_CASE("the scalar GPT has the loss and the gradients of plain loops") {
  const std::vector<double> start = test::names_start();
  lessons::ScalarGpt scalar(start);
  const auto ids = lessons::tokens_of("notch");
  CHECK(scalar.loss("notch") == Approx(test::PlainGpt(start).loss(ids)).epsilon(1e-12));
  const std::vector<double> gradients = scalar.gradients();
  REQUIRE(gradients.size() == start.size());
  Rng rng(5);
  for (int trial = 0; trial < 5; ++trial) {
    std::vector<double> up = start, down = start;
    double along = 0;
    for (std::size_t i = 0; i < start.size(); ++i) {
      const double direction = rng.normal();
      up[i] += 1e-6 * direction, down[i] -= 1e-6 * direction;
      along += gradients[i] * direction;
    }
    const double difference = test::PlainGpt(up).loss(ids) - test::PlainGpt(down).loss(ids);
    CHECK(along == Approx(difference / 2e-6).epsilon(1e-6));
  }
}

TEST_CASE("a name becomes its letters between two ends") {
  CHECK(lessons::tokens_of("anna") == std::vector<std::int32_t>{26, 0, 13, 13, 0, 26});
  CHECK(lessons::tokens_of("") == std::vector<std::int32_t>{26, 26});
}

}  // namespace scalar_gpt_test
