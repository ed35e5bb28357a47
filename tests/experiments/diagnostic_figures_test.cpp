// Pictures of the quantizers in training: the numbers of metrics.jsonl, averaged over layers.
#include "experiments/report/diagnostic_figures.h"

#include <cmath>

#include "experiments/report/html_report.h"
#include "tests/catch.h"

namespace notch::experiments::diagnostic_figures_test {

RowResult trained(std::string name, int bits) {
  return {.name = std::move(name), .bits = bits, .granularity = "channel", .trained = true};
}

const std::vector<SeedResults> kSeeds{{.seed = 7,
                                       .rows = {{.name = "fp32"},
                                                trained("qat-lsq-int4", 4),
                                                trained("qat-ste-int4", 4),
                                                trained("qat-lsq-int2", 2),
                                                {.name = "rtn-int4", .bits = 4}}}};

std::string report(std::string_view run, int step, std::string_view quantizer) {
  return str("{\"run\":\"", run, "\",\"step\":", step, ",\"quantizer\":{", quantizer, "}}\n");
}

constexpr std::string_view kFirst =
    R"("layers":["a","b"],"sqnr_db":[10,20],"changed":[0.1,0.3],"clipped":[0,0.02],)"
    R"("step":[1,4],"ste_cosine":[0.5,null],"reversals":[[1,0,0,0,0],[0.5,0.5,0,0,0]],)"
    R"("boundary":[[1,0,0,0,0,0,0,0],[0,1,0,0,0,0,0,0]])";
constexpr std::string_view kSecond =
    R"("layers":["a","b"],"sqnr_db":[12,null],"changed":[0,0],"clipped":[0,0],)"
    R"("step":[2,2],"ste_cosine":[1,0],"reversals":[[0.5,0.25,0,0,0.25],[0.5,0.25,0,0,0.25]],)"
    R"("boundary":[[0,0,0,0,0,0,0,1],[0,0,0,0,0,0,0.5,0.5]])";

TEST_CASE("pictures are means over layers, lines are trained rows") {
  const std::string metrics =
      str("{\"run\":\"seed-7/qat-lsq-int4\",\"step\":1,\"loss\":2}\n",
          report("seed-7/qat-lsq-int4", 10, kFirst), report("seed-7/qat-lsq-int4", 20, kSecond),
          report("seed-7/qat-lsq-int2", 10, kFirst), report("seed-8/qat-ste-int4", 10, kFirst));
  const std::vector<FigureGroup> groups = diagnostic_figures(metrics, kSeeds);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].title == "int4");
  CHECK(groups[1].title == "int2");
  const auto line = [&](std::string_view title) {
    for (const Figure& f : groups[0].figures) {
      if (f.plot.title != title) continue;
      REQUIRE(f.plot.series.size() == 1);  // qat-ste-int4 of this seed reported nothing
      CHECK(f.plot.series[0].name == "qat-lsq-int4");
      return f.plot.series[0].points;
    }
    FAIL("no picture " << title);
    return std::vector<PlotPoint>{};
  };
  const auto check = [&](std::string_view title, std::vector<std::pair<double, double>> expected) {
    INFO(title);
    const std::vector<PlotPoint> points = line(title);
    REQUIRE(points.size() == expected.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
      CHECK(points[i].x == Approx(expected[i].first));
      CHECK(points[i].y == Approx(expected[i].second).margin(1e-12));
    }
  };
  check("Signal to rounding noise", {{10, 15}, {20, 12}});
  check("Codes changed since the report before", {{10, 20}, {20, 0}});
  check("Weights outside the grid", {{10, 1}, {20, 0}});
  check("STE and expected gradient", {{10, 0.5}, {20, 0.5}});
  // Geometric means: √(1 · 4) = √(2 · 2).
  check("Step size", {{10, 1}, {20, 1}});
  check("Turns of a code, last report", {{1, 25}, {2, 0}, {4, 0}, {8, 25}});
  check("Distance to a boundary, last report", {{0.0625, 0},
                                                {0.1875, 0},
                                                {0.3125, 0},
                                                {0.4375, 0},
                                                {0.5625, 0},
                                                {0.6875, 0},
                                                {0.8125, 25},
                                                {0.9375, 75}});
}

TEST_CASE("maps have the last report of every layer") {
  const std::string metrics =
      str(report("seed-7/qat-lsq-int4", 10, kFirst), report("seed-7/qat-lsq-int4", 20, kSecond),
          report("seed-7/qat-lsq-int2", 10, kFirst));
  const std::vector<HeatMap> maps = diagnostic_maps(metrics, kSeeds);
  REQUIRE(maps.size() == 3);
  const auto check = [&](std::size_t map, std::string_view title,
                         const std::vector<std::vector<double>>& expected) {
    INFO(title);
    CHECK(maps[map].title == title);
    CHECK(maps[map].rows == std::vector<std::string>{"a", "b"});
    REQUIRE(maps[map].columns.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(maps[map].columns[i].values.size() == 2);
      for (std::size_t k = 0; k < 2; ++k) {
        const double value = maps[map].columns[i].values[k], wanted = expected[i][k];
        CHECK((std::isnan(wanted) ? std::isnan(value) : value == Approx(wanted)));
      }
    }
  };
  check(0, "Straight-through gradient, last report", {{1, 0}, {0.5, std::nan("")}});
  check(1, "Codes that turned back, last report", {{50, 50}, {0, 50}});
  check(2, "Step sizes, last report", {{2, 0.5}, {1, 1}});  // 2 / 1 and 2 / 4
}

TEST_CASE("the page has the pictures of every width, if any") {
  const std::string metrics = report("seed-7/qat-lsq-int2", 10, kFirst);
  ReportPage page{.title = "t", .table = Table({{.key = "method", .text = true}})};
  const auto count = [](const std::string& text, std::string_view part) {
    int n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++n;
    }
    return n;
  };
  CHECK(count(html_page(page), "Quantizers in training") == 0);
  page.diagnostics = diagnostic_figures(metrics + "{\"half a li", kSeeds);
  const std::string html = html_page(page);
  CHECK(count(html, "<summary>int2</summary>") == 1);
  CHECK(count(html, "<svg ") == 7);
}

TEST_CASE("reading the reports ends at a line that no run writes") {
  const std::string good = report("seed-7/qat-lsq-int4", 10, kFirst);
  const auto points = [](const std::string& metrics) {
    const std::vector<FigureGroup> groups = diagnostic_figures(metrics, kSeeds);
    return groups.empty() ? 0 : groups[0].figures[0].plot.series[0].points.size();
  };
  CHECK(points(good + report("seed-7/qat-lsq-int4", 20, kSecond)) == 2);
  for (const std::string bad :
       {R"({"run":"seed-7/qat-lsq-int4","quantizer":{}})",
        R"({"run":"seed-7/qat-lsq-int4","step":-1,"quantizer":{}})",
        R"({"run":"seed-7/qat-lsq-int4","step":20,"quantizer":[]})",
        R"({"run":"seed-7/qat-lsq-int4","step":20,"quantizer":{"step":1}})",
        R"({"run":"seed-7/qat-lsq-int4","step":20,"quantizer":{"step":[{}]}})",
        R"({"run":"seed-7/qat-lsq-int4","step":20,"quantizer":{"reversals":[[null]]}})",
        R"({"run":"seed-7/qat-lsq-int4","step":20,"loss":"x","quantizer":{}})",
        R"({"step":20,"quantizer":{}})", R"([])"}) {
    CAPTURE(bad);
    CHECK(points(bad) == 0);
    CHECK(points(bad + "\n" + good) == 0);
    CHECK(points(good + bad + "\n" + good) == 1);
  }
}

TEST_CASE("a report may lack lists, or have numbers for histograms") {
  const auto turns = [](std::string_view quantizer) {
    const std::vector<FigureGroup> groups =
        diagnostic_figures(report("seed-7/qat-lsq-int4", 4, quantizer), kSeeds);
    REQUIRE(groups.size() == 1);
    REQUIRE(groups[0].figures[5].plot.title == "Turns of a code, last report");
    return groups[0].figures[5].plot.series[0].points;
  };
  CHECK(turns("").empty());
  CHECK(turns(R"("reversals":[])").empty());
  CHECK(turns(R"("reversals":[0.5,null,"a"])").empty());
  std::string many = R"("reversals":[[0)";
  for (int bin = 1; bin <= 2000; ++bin) many += ",0.1";
  const std::vector<PlotPoint> points = turns(many + "]]");
  REQUIRE(points.size() == 2000);
  CHECK(points[39].x == std::exp2(39.0));  // past 32 bits
}

}  // namespace notch::experiments::diagnostic_figures_test
