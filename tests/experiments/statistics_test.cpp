// Differences, tests and recoveries on cases small enough to work out by hand.
#include "experiments/statistics.h"

#include <cmath>
#include <numeric>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace notch::experiments {
namespace {

using test::error_of;

RowResult scored(std::string name, std::vector<double> losses, std::vector<std::int64_t> tokens) {
  RowResult row{.name = std::move(name)};
  row.method = row.name;
  row.eval.loss = std::accumulate(losses.begin(), losses.end(), 0.0) /
                  static_cast<double>(std::accumulate(tokens.begin(), tokens.end(), 0LL));
  row.eval.window_losses = std::move(losses);
  row.eval.window_tokens = std::move(tokens);
  return row;
}

/// Two windows of ten tokens, `loss` nats per token in one and `spread` more and less in turn.
RowResult at_loss(std::string name, double loss, double spread = 0) {
  return scored(std::move(name), {10 * (loss + spread), 10 * (loss - spread)}, {10, 10});
}

struct Rounded {
  std::string method{};
  double loss = 0;
  int bits = 4;
  std::string granularity = "channel";
  double spread = 0;
};

RowResult rounded(const Rounded& r) {
  RowResult row = at_loss(r.method + "-int" + std::to_string(r.bits), r.loss, r.spread);
  row.method = r.method;
  row.bits = r.bits;
  row.granularity = r.granularity;
  row.trained = r.method.starts_with("qat");
  return row;
}

RowResult of_control(RowResult row) {
  row.name = "control-" + row.name;
  row.on_control = true;
  return row;
}

TEST_CASE("A difference weighs windows by their tokens, and its error is that of their mean") {
  const std::vector<SeedResults> two{
      {1, {scored("a", {8, 3}, {4, 2}), scored("b", {6, 4}, {4, 2})}}};
  CHECK(Statistics(two).difference("a", "b").mean == Approx(1.0 / 6));  // (2 - 1) / (4 + 2)
  CHECK(Statistics(two).difference("b", "a").mean == Approx(-1.0 / 6));

  // d = 3, 4, 5 over 3 · 10 tokens: mean 0.4; residuals -1, 0, 1; √(2 · 3/2) / 30 = √3 / 30. Three
  // windows leave two degrees of freedom: t = 4.30265 for 95 %.
  const std::vector<std::int64_t> tens{10, 10, 10};
  const std::vector<SeedResults> three{
      {1, {scored("a", {23, 34, 15}, tens), scored("b", {20, 30, 10}, tens)}}};
  const Difference d = Statistics(three).difference("a", "b");
  CHECK(d.mean == Approx(0.4));
  CHECK(d.standard_error == Approx(std::sqrt(3.0) / 30).epsilon(0.03));
  CHECK(d.df == Approx(2));
  CHECK(d.high - d.mean == Approx(4.30265 * d.standard_error).epsilon(1e-5));
  CHECK(d.mean - d.low == Approx(d.high - d.mean));
  const double t = d.mean / d.standard_error;  // closed form for two degrees of freedom
  CHECK(d.p == Approx(1 - t / std::sqrt(2 + t * t)).epsilon(1e-6));
  CHECK(d.resolved());
}

TEST_CASE("What differs between seeds alone has Student's degrees of freedom of the seeds") {
  // a - b = 0.1, 0.2, 0.6 in every window: mean 0.3, s^2 = 0.07, error √(0.07 / 3), df 2.
  std::vector<SeedResults> seeds;
  for (const double difference : {0.1, 0.2, 0.6}) {
    seeds.push_back({std::ssize(seeds), {at_loss("a", 2 + difference), at_loss("b", 2)}});
  }
  const Difference d = Statistics(seeds).difference("a", "b");
  CHECK(d.mean == Approx(0.3));
  CHECK(d.standard_error == Approx(std::sqrt(0.07 / 3)).epsilon(0.03));
  CHECK(d.df == Approx(2).epsilon(1e-6));
  CHECK_FALSE(d.resolved());  // all three agree in sign, and still
}

TEST_CASE("The 95 % interval holds the truth in about 95 of 100 tables, from five seeds") {
  // a - b = 0.01 + N(0, 0.02) of a seed + N(0, 0.03) of a window + N(0, 0.03) of both.
  constexpr int kTables = 200, kSeeds = 5, kWindows = 40;
  int covered = 0, found = 0;
  for (int table = 0; table < kTables; ++table) {
    Rng rng(77, static_cast<std::uint64_t>(table));
    std::vector<double> of_window(kWindows);
    for (double& w : of_window) w = 0.03 * rng.normal();
    std::vector<SeedResults> seeds;
    for (int s = 0; s < kSeeds; ++s) {
      const double of_seed = 0.02 * rng.normal();
      std::vector<double> a, b;
      for (const double w : of_window) {
        b.push_back(2 + rng.normal());
        a.push_back(b.back() + 0.01 + of_seed + w + 0.03 * rng.normal());
      }
      const std::vector<std::int64_t> ones(kWindows, 1);
      seeds.push_back({s, {scored("a", a, ones), scored("b", b, ones)}});
    }
    const Difference d = Statistics(seeds).difference("a", "b");
    covered += d.low <= 0.01 && 0.01 <= d.high;
    found += d.low <= 0 && 0 <= d.high;
  }
  // Binomial with p = 0.95: 200 tables give 190 ± 3.1. The error is built to be a little too large.
  CHECK(covered >= 183);
  CHECK(covered <= 199);
  CHECK(found < kTables);  // and it is not so wide that nothing is ever found
}

TEST_CASE("What was not measured is not resolved") {
  SECTION("a row against itself") {
    const std::vector<SeedResults> seeds{{1, {at_loss("a", 2, 0.5)}}};
    const Difference d = Statistics(seeds).difference("a", "a");
    CHECK(d.p == 1);
    CHECK_FALSE(d.resolved());
  }
  SECTION("one window has no spread to judge by") {
    const std::vector<SeedResults> seeds{{1, {scored("a", {30}, {10}), scored("b", {20}, {10})}}};
    const Difference d = Statistics(seeds).difference("a", "b");
    CHECK(d.mean == Approx(1));
    CHECK_FALSE(d.resolved());
    CHECK_FALSE(equivalence(d, 100).holds());
  }
}

TEST_CASE("Rows of different windows, and rows that are not there, cannot be compared") {
  const std::vector<SeedResults> different{
      {1, {scored("a", {8, 3}, {4, 2}), scored("b", {8, 3}, {3, 3})}}};
  CHECK(error_of([&] { Statistics{different}; }).fault == Fault::usage);
  const std::vector<SeedResults> seeds{{1, {at_loss("a", 2)}}};
  const Statistics statistics(seeds);
  CHECK(error_of([&] { statistics.difference("a", "c"); }).fault == Fault::usage);
  const std::vector<SeedResults> lacking{{1, {at_loss("a", 2), at_loss("b", 2)}},
                                         {2, {at_loss("a", 2)}}};
  CHECK(error_of([&] { Statistics{lacking}; }).fault == Fault::usage);
}

TEST_CASE("Equivalence is two one-sided tests against the margin") {
  // t = (0.002 - 0.001) / 0.0004 = 2.5 with 10 degrees of freedom: one-sided p = 0.0157 (table).
  const Difference d{.mean = 0.001, .standard_error = 0.0004, .df = 10};
  const Equivalence e = equivalence(d);
  CHECK(e.p == Approx(0.0157).epsilon(0.005));
  CHECK(e.high == Approx(0.001 + 1.81246 * 0.0004).epsilon(1e-5));
  CHECK(e.low == Approx(0.001 - 1.81246 * 0.0004).epsilon(1e-5));
  CHECK(e.holds());
  const Equivalence mirrored = equivalence({.mean = -0.001, .standard_error = 0.0004, .df = 10});
  CHECK(mirrored.p == Approx(e.p));
  // At the margin nothing is shown: p = 1/2. Beyond it less.
  CHECK(equivalence({.mean = 0.002, .standard_error = 0.0004, .df = 10}).p == Approx(0.5));
  CHECK(equivalence({.mean = 0.003, .standard_error = 0.0004, .df = 10}).p > 0.9);
}

TEST_CASE("Holm's correction of a worked example") {
  // Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> 0.06.
  const std::vector<double> p = holm({0.01, 0.04, 0.03, 0.005});
  REQUIRE(p.size() == 4);
  CHECK(p[0] == Approx(0.03));
  CHECK(p[1] == Approx(0.06));
  CHECK(p[2] == Approx(0.06));
  CHECK(p[3] == Approx(0.02));
  CHECK(holm({0.6, 0.7}) == std::vector<double>{1, 1});
  CHECK(holm({}).empty());
}

TEST_CASE("The spread over seeds is the sample standard deviation, and absent for one seed") {
  CHECK(mean_spread({3}).mean == 3);
  CHECK(mean_spread({3}).deviation < 0);
  CHECK(mean_spread({1, 3}).mean == Approx(2));
  CHECK(mean_spread({1, 3}).deviation == Approx(std::sqrt(2.0)));
  CHECK(mean_spread({2, 4, 9}).mean == Approx(5));
  CHECK(mean_spread({2, 4, 9}).deviation == Approx(std::sqrt(13.0)));  // (9 + 1 + 16) / 2
}

TEST_CASE("Recovery starts from the better round-to-nearest row of the same width") {
  RowResult control = at_loss("fp32-continue", 1.9);
  control.trained = true;
  const std::vector<SeedResults> seeds{
      {1,
       {at_loss("fp32", 2.0), control, rounded({"rtn", 2.4}), rounded({"rtn-mse", 2.3}),
        rounded({"rtn", 2.05, 8}), rounded({"gptq", 2.1}), rounded({"qat-lsq", 1.96}),
        of_control(rounded({"rtn", 2.2})), of_control(rounded({"gptq", 2.05}))}}};
  const auto of = [&](std::string_view name) {
    return Statistics(seeds).recoveries(*find_row(seeds[0], name));
  };

  const Recoveries gptq = of("gptq-int4");  // (2.3 - 2.1) / (2.3 - 2.0)
  REQUIRE(gptq.from_fp32);
  CHECK(gptq.from_fp32->share == Approx(2.0 / 3));
  CHECK(gptq.from_fp32->low == Approx(2.0 / 3));  // no window says otherwise
  CHECK(gptq.from_fp32->high == Approx(2.0 / 3));
  CHECK_FALSE(gptq.from_control);

  const Recoveries lsq = of("qat-lsq-int4");  // 0.34 / 0.3 and (2.2 - 1.96) / (2.2 - 1.9)
  REQUIRE((lsq.from_fp32 && lsq.from_control));
  CHECK(lsq.from_fp32->share == Approx(0.34 / 0.3));
  CHECK(lsq.from_control->share == Approx(0.8));

  const Recoveries on_control = of("control-gptq-int4");  // 0.15 / 0.3
  CHECK_FALSE(on_control.from_fp32);
  REQUIRE(on_control.from_control);
  CHECK(on_control.from_control->share == Approx(0.5));

  for (const char* none :
       {"fp32", "fp32-continue", "rtn-int4", "rtn-mse-int4", "rtn-int8", "control-rtn-int4"}) {
    INFO(none);
    CHECK_FALSE(of(none).from_fp32);
    CHECK_FALSE(of(none).from_control);
  }
}

TEST_CASE("One round-to-nearest method serves all seeds: the better one on average") {
  const std::vector<SeedResults> seeds{{1,
                                        {at_loss("fp32", 2.0), rounded({"rtn", 2.4}),
                                         rounded({"rtn-mse", 2.3}), rounded({"gptq", 2.1})}},
                                       {2,
                                        {at_loss("fp32", 2.0), rounded({"rtn", 2.2}),
                                         rounded({"rtn-mse", 2.6}), rounded({"gptq", 2.1})}}};
  // rtn: 2.3 on average against 2.45. (0.3 + 0.1) / (0.4 + 0.2), if that were resolved: differences
  // of 0.4 and 0.2 from two seeds are not (t = 3, one degree of freedom).
  const Statistics two(seeds);
  CHECK_FALSE(two.recoveries(seeds[0].rows[3]).from_fp32);
  std::vector<SeedResults> many;
  for (int i = 0; i < 6; ++i) {
    many.push_back(seeds[static_cast<std::size_t>(i % 2)]);
    many.back().seed = i;
  }
  const Recoveries r = Statistics(many).recoveries(many[0].rows[3]);
  REQUIRE(r.from_fp32);
  CHECK(r.from_fp32->share == Approx(2.0 / 3));
  // Shares of the seeds: 3/4 and 1/2. No mixture of them is outside; few seeds widen by t/z.
  CHECK(r.from_fp32->low > 0.42);
  CHECK(r.from_fp32->low < 2.0 / 3 - 0.05);
  CHECK(r.from_fp32->high < 0.8);
  CHECK(r.from_fp32->high > 2.0 / 3 + 0.02);
}

TEST_CASE("Recovery is n/a where there is nothing certain to take back") {
  const RowResult fp32 = at_loss("fp32", 2.0), gptq = rounded({"gptq", 2.01});
  const auto recovered = [&](const RowResult& rtn) {
    const std::vector<SeedResults> seeds{{1, {fp32, rtn, gptq}}};
    return Statistics(seeds).recoveries(gptq).from_fp32.has_value();
  };
  CHECK(recovered(rounded({"rtn", 2.1})));
  // Differences per window of ±1 nat per token around 0.1: an error of 1.
  CHECK_FALSE(recovered(rounded({.method = "rtn", .loss = 2.1, .spread = 1})));
  CHECK_FALSE(recovered(rounded({"rtn", 1.9})));     // rounding helped
  CHECK_FALSE(recovered(rounded({"rtn", 2.1, 8})));  // another width
  CHECK_FALSE(recovered(rounded({"rtn", 2.1, 4, "group 32"})));
  CHECK_FALSE(recovered(of_control(rounded({"rtn", 2.1}))));
  const std::vector<SeedResults> without_reference{{1, {rounded({"rtn", 2.1}), gptq}}};
  CHECK_FALSE(Statistics(without_reference).recoveries(gptq).from_fp32);
}

}  // namespace
}  // namespace notch::experiments
