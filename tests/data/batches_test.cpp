#include "data/batches.h"

#include <numeric>
#include <set>
#include <vector>

#include "tests/catch.h"

namespace batches_test {

using namespace notch;
using namespace notch::data;

using Ids = std::vector<std::int32_t>;

/// A split whose tokens are their own positions.
std::vector<std::int32_t> positions(int n) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

struct Filled {
  Ids inputs, targets;
  bool operator==(const Filled&) const = default;
};

Filled filled(const std::vector<std::int32_t>& tokens, const BatchSpec& spec, std::int64_t step,
              std::int64_t micro = 0) {
  const auto n = static_cast<std::size_t>(spec.B * spec.T);
  Filled f{Ids(n), Ids(n)};
  batch(tokens, spec, step, micro, f.inputs, f.targets);
  return f;
}

TEST_CASE("a batch holds windows, its targets are the tokens that follow") {
  for (const Order order : {Order::random, Order::sequential}) {
    const auto tokens = positions(50);
    const BatchSpec spec{.B = 3, .T = 7, .order = order, .seed = 1};
    const Filled f = filled(tokens, spec, 4);
    for (std::size_t b = 0; b < 3; ++b) {
      for (std::size_t t = 0; t < 7; ++t) {
        CHECK(f.targets[b * 7 + t] == f.inputs[b * 7 + t] + 1);
        CHECK(f.inputs[b * 7 + t] == f.inputs[b * 7] + static_cast<int>(t));
      }
    }
  }
}

TEST_CASE("a random batch is a pure function of seed, step and micro-step") {
  const auto tokens = positions(1000);
  const BatchSpec spec{.B = 8, .T = 5, .seed = 3, .micro_steps = 2};
  const Filled first = filled(tokens, spec, 10, 1);
  filled(tokens, spec, 11, 0);
  CHECK(filled(tokens, spec, 10, 1) == first);
  CHECK_FALSE(filled(tokens, spec, 10, 0) == first);
  CHECK_FALSE(filled(tokens, spec, 11, 1) == first);
  CHECK_FALSE(filled(tokens, {.B = 8, .T = 5, .seed = 4, .micro_steps = 2}, 10, 1) == first);
}

TEST_CASE("random windows start uniformly in 0 to N - T - 1 inclusive") {
  const auto tokens = positions(15);  // N = 15, T = 5: starts 0..9
  const BatchSpec spec{.B = 50, .T = 5, .seed = 9};
  std::vector<int> counts(10);
  for (std::int64_t step = 0; step < 200; ++step) {
    const Filled f = filled(tokens, spec, step);
    for (std::size_t b = 0; b < 50; ++b) {
      REQUIRE((f.inputs[b * 5] >= 0 && f.inputs[b * 5] <= 9));
      ++counts[static_cast<std::size_t>(f.inputs[b * 5])];
    }
  }
  // 10000 draws, 1000 expected each; chi-squared with 9 degrees of freedom exceeds 27.9 once in
  // 1000.
  double chi2 = 0;
  for (const int c : counts) chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  CHECK(chi2 < 27.9);
}

TEST_CASE("sequential batches visit windows in order and start again") {
  const auto tokens = positions(22);  // 21 predictable tokens: 5 windows of 4, one token left over
  const BatchSpec spec{.B = 2, .T = 4, .order = Order::sequential};
  const auto starts = [&](std::int64_t step) {
    const Filled f = filled(tokens, spec, step);
    return std::pair(f.inputs[0], f.inputs[4]);
  };
  CHECK(starts(0) == std::pair(0, 4));
  CHECK(starts(1) == std::pair(8, 12));
  CHECK(starts(2) == std::pair(16, 0));
  CHECK(starts(3) == std::pair(4, 8));
  CHECK(starts(1000001) == std::pair(8, 12));  // 2000002 mod 5 = 2
}

TEST_CASE("accumulated sequential micro-batches are the larger batch") {
  const auto tokens = positions(100);
  const BatchSpec whole{.B = 4, .T = 3, .order = Order::sequential};
  const BatchSpec half{.B = 2, .T = 3, .order = Order::sequential, .micro_steps = 2};
  for (std::int64_t step = 0; step < 20; ++step) {
    Ids joined = filled(tokens, half, step, 0).inputs;
    const Ids second = filled(tokens, half, step, 1).inputs;
    joined.insert(joined.end(), second.begin(), second.end());
    CHECK(joined == filled(tokens, whole, step).inputs);
  }
}

TEST_CASE("the shortest split has one window") {
  const auto tokens = positions(6);
  for (const Order order : {Order::random, Order::sequential}) {
    CHECK(filled(tokens, {.B = 1, .T = 5, .order = order}, 7).inputs == Ids{0, 1, 2, 3, 4});
  }
  const auto refused = [&](const BatchSpec& spec, std::int64_t step, std::int64_t micro) {
    return test::error_of([&] { filled(tokens, spec, step, micro); }).fault == Fault::usage;
  };
  CHECK(refused({.B = 1, .T = 6}, 0, 0));
  CHECK(refused({.B = 0, .T = 2}, 0, 0));
  CHECK(refused({.B = 1, .T = 2}, -1, 0));
  CHECK(refused({.B = 1, .T = 2}, 0, 1));
  Ids small(1);
  CHECK(test::error_of([&] { batch(tokens, {.B = 1, .T = 2}, 0, 0, small, small); }).fault ==
        Fault::usage);
}

TEST_CASE("evaluation windows predict each token but the first once") {
  for (std::int64_t n = 2; n < 40; ++n) {
    for (std::int64_t T = 1; T < 12; ++T) {
      const auto tokens = positions(static_cast<int>(n));
      const EvalWindows windows(n, T);
      CHECK(windows.full() == (n - 1) / T);
      CHECK(windows.tail() == (n - 1) % T);
      CHECK(windows.predicted() == n - 1);
      std::multiset<std::int32_t> predicted;
      for (std::int64_t i = 0; i < windows.size(); ++i) {
        const auto length = static_cast<std::size_t>(windows[i].length);
        REQUIRE((length >= 1 && length <= static_cast<std::size_t>(T)));
        Ids inputs(length), targets(length);
        fill_window(tokens, windows[i], inputs, targets);
        for (std::size_t t = 0; t < length; ++t) CHECK(targets[t] == inputs[t] + 1);
        predicted.insert(targets.begin(), targets.end());
      }
      REQUIRE(static_cast<std::int64_t>(predicted.size()) == n - 1);
      CHECK(std::set<std::int32_t>(predicted.begin(), predicted.end()).size() == predicted.size());
    }
  }
}

TEST_CASE("evaluation windows out of range are refused") {
  CHECK(test::error_of([] { EvalWindows(1, 4); }).fault == Fault::usage);
  CHECK(test::error_of([] { EvalWindows(5, 0); }).fault == Fault::usage);
  const EvalWindows windows(10, 4);
  CHECK(windows.size() == 3);
  CHECK(test::error_of([&] { windows[3]; }).fault == Fault::usage);
  CHECK(test::error_of([&] { windows[-1]; }).fault == Fault::usage);
}

}  // namespace batches_test
