// Differences, tests and recoveries on cases small enough to work out by hand.
#include "experiments/report/statistics.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace notch::experiments::statistics_test {

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
  row.trained = row.aims_at_data = r.method.starts_with("qat");
  if (row.trained) row.control = kControlRow;
  return row;
}

RowResult of_control(RowResult row) {
  row.name = "control-" + row.name;
  row.on_control = true;
  row.control = kControlRow;
  return row;
}

TEST_CASE("A difference weighs windows by their number of tokens") {
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
  CHECK(d.standard_error() == Approx(std::sqrt(3.0) / 30));
  CHECK(d.windows.df == Approx(2));
  CHECK(d.high - d.mean == Approx(4.30265 * d.standard_error()).epsilon(1e-5));
  CHECK(d.mean - d.low == Approx(d.high - d.mean));
  const double t = d.mean / d.standard_error();  // closed form for two degrees of freedom
  CHECK(d.p() == Approx(1 - t / std::sqrt(2 + t * t)).epsilon(1e-6));
  CHECK(d.resolved());
}

TEST_CASE("What only seeds vary has the seeds' degrees of freedom") {
  // a - b = 0.1, 0.2, 0.6 in every window: mean 0.3, s^2 = 0.07, error √(0.07 / 3), df 2.
  std::vector<SeedResults> seeds;
  for (const double difference : {0.1, 0.2, 0.6}) {
    seeds.push_back({std::ssize(seeds), {at_loss("a", 2 + difference), at_loss("b", 2)}});
  }
  const Difference d = Statistics(seeds).difference("a", "b");
  CHECK(d.mean == Approx(0.3));
  CHECK(d.standard_error() == Approx(std::sqrt(0.07 / 3)));
  CHECK(d.seeds.df == 2);
  CHECK(d.high - d.mean == Approx(4.30265 * std::sqrt(0.07 / 3)).epsilon(1e-5));
  CHECK_FALSE(d.resolved());  // all three agree in sign, and still
}

TEST_CASE("An interval adds seeds and windows, each by its own t") {
  // t of 1 and 9 degrees of freedom at 97.5 %: 12.7062 and 2.26216; at 95 %: 6.31375 and 1.83311.
  const Difference d{
      .mean = 0.1, .seeds = {.variance = 1e-4, .df = 1}, .windows = {.variance = 4e-4, .df = 9}};
  const auto end = [](double s, double w) { return std::sqrt(s * s * 1e-4 + w * w * 4e-4); };
  CHECK(d.half_width(0.05) == Approx(end(12.7062, 2.26216)).epsilon(1e-5));
  CHECK(d.half_width(0.1) == Approx(end(6.31375, 1.83311)).epsilon(1e-5));
  for (const double alpha : {0.9, 0.05, 1e-3, 1e-9}) {
    INFO(alpha);
    CHECK(d.alpha_of(d.half_width(alpha)) == Approx(alpha).epsilon(1e-6));
  }
  // Seeds that agree cost nothing: the interval is that of the windows alone.
  const Difference agreed{.seeds = {.df = 1}, .windows = {.variance = 4e-4, .df = 9}};
  CHECK(agreed.half_width(0.05) == Approx(2.26216 * 0.02).epsilon(1e-5));
}

struct Simulated {
  int seeds = 0;
  double ratio = 0;        ///< variance of a seed over that of the mean of all windows
  double interaction = 0;  ///< deviation of a seed's window beside the window's own, 1
};

/// How often the truth is outside of the interval of a table with that difference.
double missed(const Simulated& of, int tables, double alpha = 0.05) {
  constexpr int kWindows = 30;
  constexpr double kTruth = 0.7;
  int out = 0;
  for (int table = 0; table < tables; ++table) {
    Rng rng(static_cast<std::uint64_t>(of.seeds), static_cast<std::uint64_t>(table));
    std::vector<double> window(kWindows);
    for (double& w : window) w = rng.normal();
    std::vector<SeedResults> seeds;
    for (int s = 0; s < of.seeds; ++s) {
      const double seed = kTruth + std::sqrt(of.ratio / kWindows) * rng.normal();
      std::vector<double> a;
      for (const double w : window) a.push_back(seed + w + of.interaction * rng.normal());
      const std::vector<std::int64_t> ones(kWindows, 1);
      seeds.push_back(
          {s, {scored("a", a, ones), scored("b", std::vector<double>(kWindows, 0), ones)}});
    }
    const Difference d = Statistics(seeds).difference("a", "b");
    out += std::abs(d.mean - kTruth) > d.half_width(alpha);
  }
  return static_cast<double>(out) / tables;
}

TEST_CASE("A 95 % interval misses in 5 of 100 tables at most") {
  constexpr int kTables = 1000;
  const double noise = 3 * std::sqrt(0.05 * 0.95 / kTables);
  for (const int seeds : {1, 2, 3, 5, 20}) {
    for (const double ratio : {0.0, 1.0, 10.0, 100.0, 1000.0}) {
      if (seeds == 1 && ratio > 0) continue;  // one seed speaks of the text only
      for (const double interaction : {0.0, 1.0}) {
        INFO(seeds << " seeds, ratio " << ratio << ", interaction " << interaction);
        const double share = missed({seeds, ratio, interaction}, kTables);
        CHECK(share <= 0.05 + noise);
        // Where one part is all there is, the interval is exact and not merely safe.
        const bool one_part = interaction == 0 && (ratio == 0 || ratio == 1000);
        if (one_part) CHECK(share >= 0.05 - noise - 0.015);
      }
    }
  }
}

TEST_CASE("A 99 % interval misses in 1 of 100 tables at most") {
  constexpr int kTables = 3000;
  for (const double ratio : {1.0, 30.0, 1000.0}) {
    INFO("ratio " << ratio);
    CHECK(missed({2, ratio, 0}, kTables, 0.01) <= 0.01 + 3 * std::sqrt(0.01 * 0.99 / kTables));
  }
}

TEST_CASE("What was not measured is not resolved") {
  SECTION("a row against itself") {
    const std::vector<SeedResults> seeds{{1, {at_loss("a", 2, 0.5)}}};
    const Difference d = Statistics(seeds).difference("a", "a");
    CHECK(d.p() == 1);
    CHECK_FALSE(d.resolved());
  }
  SECTION("a loss that is not finite") {
    const double infinity = std::numeric_limits<double>::infinity();
    const std::vector<SeedResults> seeds{{1, {at_loss("a", infinity), at_loss("b", 2, 0.1)}},
                                         {2, {at_loss("a", 3), at_loss("b", 2, 0.2)}}};
    const Difference d = Statistics(seeds).difference("a", "b");
    CHECK(d.mean == infinity);
    CHECK(d.p() == 1);
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

TEST_CASE("Rows of different windows cannot be compared") {
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

/// With a standard error of 0.0004 and ten degrees of freedom.
Difference known_to(double mean) {
  return {.mean = mean, .windows = {.variance = 0.0004 * 0.0004, .df = 10}};
}

TEST_CASE("Equivalence is two one-sided tests against the margin") {
  // t = (0.002 - 0.001) / 0.0004 = 2.5 with 10 degrees of freedom: one-sided p = 0.0157 (table).
  const Difference d = known_to(0.001);
  const Equivalence e = equivalence(d);
  CHECK(e.p == Approx(0.0157).epsilon(0.005));
  CHECK(e.high == Approx(0.001 + 1.81246 * 0.0004).epsilon(1e-5));
  CHECK(e.low == Approx(0.001 - 1.81246 * 0.0004).epsilon(1e-5));
  CHECK(e.holds());
  const Equivalence mirrored = equivalence(known_to(-0.001));
  CHECK(mirrored.p == Approx(e.p));
  // At the margin nothing is shown: p = 1/2. Beyond it less.
  CHECK(equivalence(known_to(0.002)).p == Approx(0.5));
  CHECK(equivalence(known_to(0.003)).p > 0.9);
  // With seeds beside windows it still says what its interval says.
  for (const double mean : {0.0, 0.0005, 0.001, 0.0015}) {
    for (const double seeds : {1e-9, 1e-8, 1e-7}) {
      INFO(mean << " with a variance over seeds of " << seeds);
      const Difference both{.mean = mean,
                            .seeds = {.variance = seeds, .df = 2},
                            .windows = {.variance = 1e-7, .df = 30}};
      const Equivalence of_both = equivalence(both);
      CHECK(of_both.holds() == (of_both.low > -kEquivalent && of_both.high < kEquivalent));
    }
  }
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

TEST_CASE("The spread over seeds is absent for one seed") {
  CHECK(mean_spread({3}).mean == 3);
  CHECK(mean_spread({3}).deviation < 0);
  CHECK(mean_spread({1, 3}).mean == Approx(2));
  CHECK(mean_spread({1, 3}).deviation == Approx(std::sqrt(2.0)));
  CHECK(mean_spread({2, 4, 9}).mean == Approx(5));
  CHECK(mean_spread({2, 4, 9}).deviation == Approx(std::sqrt(13.0)));  // (9 + 1 + 16) / 2
}

TEST_CASE("Recovery starts from the better round-to-nearest row") {
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

  const Recoveries lsq = of("qat-lsq-int4");  // (2.2 - 1.96) / (2.2 - 1.9), and not 0.34 / 0.3
  CHECK_FALSE(lsq.from_fp32);
  REQUIRE(lsq.from_control);
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

TEST_CASE("A label does not hide that a row is round-to-nearest") {
  RowResult rtn = rounded({"rtn", 2.4});
  rtn.label = "plain";
  rtn.name = "plain-int4";
  const std::vector<SeedResults> seeds{
      {1, {at_loss("fp32", 2.0), rtn, rounded({"gptq", 2.1}), of_control(rtn)}}};
  const Statistics statistics(seeds);
  const Recoveries gptq = statistics.recoveries(seeds[0].rows[2]);
  REQUIRE(gptq.from_fp32);
  CHECK(gptq.from_fp32->share == Approx(0.75));  // (2.4 - 2.1) / (2.4 - 2.0)
  for (const std::size_t i : {std::size_t{1}, std::size_t{3}}) {
    CHECK_FALSE(statistics.recoveries(seeds[0].rows[i]).from_fp32);
    CHECK_FALSE(statistics.recoveries(seeds[0].rows[i]).from_control);
  }
}

TEST_CASE("What a row saw decides whether it has R or R_c") {
  RowResult control = at_loss("fp32-continue", 1.9), other = at_loss("fp32-continue-ema=0.9", 1.8);
  RowResult row = rounded({"qat-lsq-kd", 1.96});
  row.distilled = true;
  RowResult of_other = of_control(rounded({"rtn", 2.0}));
  of_other.name = "control-ema=0.9-rtn-int4";
  of_other.control = other.name;
  const auto of = [&](bool labels, std::string reference) {
    row.aims_at_data = labels;
    row.control = std::move(reference);
    const std::vector<SeedResults> seeds{
        {1,
         {at_loss("fp32", 2.0), control, other, rounded({"rtn", 2.3}),
          of_control(rounded({"rtn", 2.2})), of_other, row}}};
    return Statistics(seeds).recoveries(seeds[0].rows.back());
  };
  SECTION("a teacher alone: fp32 is the aim") {
    const Recoveries r = of(false, "");
    REQUIRE(r.from_fp32);
    CHECK(r.from_fp32->share == Approx(0.34 / 0.3));
    CHECK_FALSE(r.from_control);
  }
  SECTION("labels beside the teacher: the control that trained alike") {
    const Recoveries r = of(true, "fp32-continue");
    CHECK_FALSE(r.from_fp32);
    REQUIRE(r.from_control);
    CHECK(r.from_control->share == Approx(0.24 / 0.3));
    const Recoveries averaged = of(true, "fp32-continue-ema=0.9");
    CHECK_FALSE(averaged.from_fp32);
    REQUIRE(averaged.from_control);
    CHECK(averaged.from_control->share == Approx(0.04 / 0.2));
  }
  SECTION("labels and no control: more text than fp32 is no recovery") {
    for (const char* none : {"", "fp32-continue-ema=0.5"}) {
      const Recoveries r = of(true, none);
      CHECK_FALSE(r.from_fp32);
      CHECK_FALSE(r.from_control);
    }
  }
  SECTION("labels from scratch: as much text as fp32") {
    const Recoveries r = of(true, "fp32");
    CHECK(r.from_fp32);
    CHECK_FALSE(r.from_control);
  }
}

TEST_CASE("One round-to-nearest method serves all seeds") {
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
  // Taken 0.2 and cost 0.3, both ±0.1 together in six seeds: V = 0.002, t^2 V = h = 0.013216 with
  // five degrees of freedom. Fieller: r^2 (0.09 - h) - 2 r (0.06 - h) + 0.04 - h = 0.
  const double h = 2.570582 * 2.570582 * 0.002;
  const double a = 0.09 - h, b = 0.06 - h, c = 0.04 - h, half = std::sqrt(b * b - a * c) / a;
  CHECK(r.from_fp32->low == Approx(b / a - half).epsilon(1e-5));
  CHECK(r.from_fp32->high == Approx(b / a + half).epsilon(1e-5));
}

TEST_CASE("Recovery is n/a where nothing is certain to take back") {
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

}  // namespace notch::experiments::statistics_test
