// The error of a mean over windows, against closed forms and what neighbours share.
#include "experiments/run/window_error.h"

#include <cmath>
#include <vector>

#include "tests/catch.h"

namespace notch::experiments::window_error_test {

using test::error_of;

TEST_CASE("Blocks are as long as the cube root of the windows") {
  CHECK(block_length(1) == 1);
  CHECK(block_length(7) == 1);
  CHECK(block_length(8) == 2);
  CHECK(block_length(26) == 2);
  CHECK(block_length(27) == 3);
  CHECK(block_length(1743) == 12);
}

TEST_CASE("Single windows have the variance of a mean") {
  // Means 1 .. 7 of 7 windows: s^2 = (49 - 1)/12 · 7/6 = 14/3, over 7.
  std::vector<double> sums, tokens(7, 10);
  for (int w = 1; w <= 7; ++w) sums.push_back(10.0 * w);
  const ErrorPart e = window_error(sums, tokens);
  CHECK(e.variance == Approx(14.0 / 3 / 7));
  CHECK(e.df == 6);
}

TEST_CASE("Blocks keep what neighbours share") {
  // 27 windows in 9 runs of three equal values, alternately 0 and 1: the sums of three neighbours
  // from each of 27 starts, round the end, where 0 meets 0.
  std::vector<double> sums, tokens(27, 1);
  for (int w = 0; w < 27; ++w) sums.push_back(w / 3 % 2);
  double squares = 0;
  for (int s = 0; s < 27; ++s) {
    double sum = 0;
    for (int k = 0; k < 3; ++k) sum += sums[static_cast<std::size_t>((s + k) % 27)];
    squares += std::pow(sum / 3 - 12.0 / 27, 2) / 27;
  }
  const ErrorPart e = window_error(sums, tokens);
  CHECK(e.variance == Approx(squares / 8));  // of nine blocks, one of which their mean takes
  CHECK(e.df == 8);
}

TEST_CASE("Windows weigh by tokens, a constant loss has no error") {
  const std::vector<double> tokens{4, 2, 6, 1};
  CHECK(window_error(std::vector<double>{8, 4, 12, 2}, tokens).variance == Approx(0).margin(1e-30));
  // Mean 1: residuals 1, -1, 0, 0 over 13 tokens, times 4/3.
  CHECK(window_error(std::vector<double>{5, 1, 6, 1}, tokens).variance ==
        Approx(2.0 / 169 * 4 / 3));
}

TEST_CASE("One window has no error of its own, and sizes must fit") {
  CHECK(std::isinf(window_error(std::vector<double>{3}, std::vector<double>{1}).variance));
  CHECK(error_of([] {
          window_error(std::vector<double>{3}, std::vector<double>{1, 1});
        }).fault == Fault::usage);
  CHECK(error_of([] { window_error({}, {}); }).fault == Fault::usage);
}

}  // namespace notch::experiments::window_error_test
