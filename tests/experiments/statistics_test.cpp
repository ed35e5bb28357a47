// Paired differences, recoveries and the verdict on cases small enough to work out by hand.
#include "experiments/statistics.h"

#include <cmath>
#include <numeric>

#include "experiments/report.h"
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

TEST_CASE("A paired difference weighs windows by their tokens, its error is that of a ratio") {
  // d = 2, -1 over 4 + 2 tokens: mean 1/6; residuals 2 - 4/6 and -1 - 2/6, that is ±4/3;
  // √(2 · 16/9 · 2/1) / 6 = 4/9.
  const std::vector<SeedResults> two{
      {1, {scored("a", {8, 3}, {4, 2}), scored("b", {6, 4}, {4, 2})}}};
  const Difference d = paired_difference(two, "a", "b");
  CHECK(d.mean == Approx(1.0 / 6));
  CHECK(d.standard_error == Approx(4.0 / 9));
  CHECK_FALSE(d.resolved());
  const Difference reversed = paired_difference(two, "b", "a");
  CHECK(reversed.mean == Approx(-1.0 / 6));
  CHECK(reversed.standard_error == Approx(4.0 / 9));

  // d = 3, 4, 5 over 3 · 10 tokens: mean 0.4; residuals -1, 0, 1; √(2 · 3/2) / 30 = √3 / 30.
  const std::vector<std::int64_t> tens{10, 10, 10};
  const std::vector<SeedResults> three{
      {1, {scored("a", {23, 34, 15}, tens), scored("b", {20, 30, 10}, tens)}}};
  const Difference e = paired_difference(three, "a", "b");
  CHECK(e.mean == Approx(0.4));
  CHECK(e.standard_error == Approx(std::sqrt(3.0) / 30));
  CHECK(e.resolved());
}

TEST_CASE("Over seeds the differences average and their errors add as independent ones") {
  // Seed 1 as above: 0.4 and √3/30. Seed 2: d = 0, 0, 6: mean 0.2, residuals -2, -2, 4,
  // √(24 · 3/2) / 30 = 0.2.
  const std::vector<std::int64_t> tens{10, 10, 10};
  const std::vector<SeedResults> seeds{
      {1, {scored("a", {23, 34, 15}, tens), scored("b", {20, 30, 10}, tens)}},
      {2, {scored("b", {20, 30, 10}, tens), scored("a", {20, 30, 16}, tens)}}};
  const Difference d = paired_difference(seeds, "a", "b");
  CHECK(d.mean == Approx(0.3));
  CHECK(d.standard_error == Approx(std::sqrt(3.0 / 900 + 0.04) / 2));
}

TEST_CASE("What was not measured is not resolved") {
  SECTION("a row against itself") {
    const std::vector<SeedResults> seeds{{1, {at_loss("a", 2, 0.5)}}};
    CHECK_FALSE(paired_difference(seeds, "a", "a").resolved());
  }
  SECTION("one window has no spread to judge by") {
    const std::vector<SeedResults> seeds{{1, {scored("a", {30}, {10}), scored("b", {20}, {10})}}};
    const Difference d = paired_difference(seeds, "a", "b");
    CHECK(d.mean == Approx(1));
    CHECK_FALSE(d.resolved());
  }
}

TEST_CASE("Rows of different windows, and rows that are not there, cannot be paired") {
  const std::vector<SeedResults> seeds{
      {1, {scored("a", {8, 3}, {4, 2}), scored("b", {8, 3}, {3, 3})}}};
  CHECK(error_of([&] { paired_difference(seeds, "a", "b"); }).fault == Fault::usage);
  CHECK(error_of([&] { paired_difference(seeds, "a", "c"); }).fault == Fault::usage);
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
    return recoveries(seeds, *find_row(seeds[0], name));
  };

  const Recoveries gptq = of("gptq-int4");  // (2.3 - 2.1) / (2.3 - 2.0)
  REQUIRE(gptq.from_fp32);
  CHECK(gptq.from_fp32->mean == Approx(2.0 / 3));
  CHECK(gptq.from_fp32->deviation < 0);
  CHECK_FALSE(gptq.from_control);

  const Recoveries lsq = of("qat-lsq-int4");  // 0.34 / 0.3 and (2.2 - 1.96) / (2.2 - 1.9)
  REQUIRE((lsq.from_fp32 && lsq.from_control));
  CHECK(lsq.from_fp32->mean == Approx(0.34 / 0.3));
  CHECK(lsq.from_control->mean == Approx(0.8));

  const Recoveries on_control = of("control-gptq-int4");  // 0.15 / 0.3
  CHECK_FALSE(on_control.from_fp32);
  REQUIRE(on_control.from_control);
  CHECK(on_control.from_control->mean == Approx(0.5));

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
  // rtn: 2.3 on average against 2.45. 0.3 / 0.4 and 0.1 / 0.2.
  const Recoveries r = recoveries(seeds, seeds[0].rows[3]);
  REQUIRE(r.from_fp32);
  CHECK(r.from_fp32->mean == Approx(0.625));
  CHECK(r.from_fp32->deviation == Approx(0.25 / std::sqrt(2.0)));
}

TEST_CASE("Recovery is n/a where there is nothing certain to take back") {
  const RowResult fp32 = at_loss("fp32", 2.0), gptq = rounded({"gptq", 2.01});
  const auto recovered = [&](const RowResult& rtn) {
    const std::vector<SeedResults> seeds{{1, {fp32, rtn, gptq}}};
    return recoveries(seeds, gptq).from_fp32.has_value();
  };
  CHECK(recovered(rounded({"rtn", 2.1})));
  // Differences per window of ±1 nat per token around 0.1: an error of 1.
  CHECK_FALSE(recovered(rounded({.method = "rtn", .loss = 2.1, .spread = 1})));
  CHECK_FALSE(recovered(rounded({"rtn", 1.9})));     // rounding helped
  CHECK_FALSE(recovered(rounded({"rtn", 2.1, 8})));  // another width
  CHECK_FALSE(recovered(rounded({"rtn", 2.1, 4, "group 32"})));
  CHECK_FALSE(recovered(of_control(rounded({"rtn", 2.1}))));
  const std::vector<SeedResults> without_reference{{1, {rounded({"rtn", 2.1}), gptq}}};
  CHECK_FALSE(recoveries(without_reference, gptq).from_fp32);
}

TEST_CASE("The verdict names the best row of a width first, and does not rank what is tied") {
  const std::vector<SeedResults> seeds{
      {1,
       {at_loss("fp32", 2.0), rounded({"rtn", 2.4}), rounded({"gptq", 2.1}),
        rounded({.method = "qat-ste", .loss = 2.11, .spread = 1}), rounded({"rtn", 2.0125, 8}),
        rounded({"gptq", 2.005, 8})}}};
  const std::string text = verdict(seeds);
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);  // two widths, no control
  const std::string int4 = text.substr(0, text.find('\n'));
  CHECK(int4.starts_with("int4"));
  CHECK(int4.find("gptq") < int4.find("qat-ste"));
  CHECK(int4.find("qat-ste") < int4.find("rtn"));
  CHECK(int4.find("+0.3") != std::string::npos);   // the gap to the first row that is behind
  CHECK(int4.find("+0.01") == std::string::npos);  // the tie has no gap
  const std::string int8 = text.substr(text.find('\n') + 1);
  CHECK(int8.starts_with("int8"));
  CHECK(int8.find("qat-ste") == std::string::npos);
}

}  // namespace
}  // namespace notch::experiments
