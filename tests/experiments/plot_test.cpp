#include "experiments/show/plot.h"

#include <cmath>
#include <limits>

#include "tests/experiments/picture.h"

namespace plot_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_CASE("the checker of this file finds what is not XML") {
  CHECK(xml_fault("<a b=\"1>2\"><c/>x &lt; y</a>") == "");
  for (const char* bad : {"<a>", "<a></b>", "<a b=1\"></a>", "a & b", "<a", "<a <b/>></a>"}) {
    CHECK(xml_fault(bad) != "");
  }
}

TEST_CASE("axes are divided at one, two or five times a power of ten") {
  CHECK(round_numbers(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(round_numbers(-1, 1, 4) == std::vector<double>{-1, -0.5, 0, 0.5, 1});
  CHECK(round_numbers(1310, 1690, 4) == std::vector<double>{1400, 1500, 1600});
  // The next double after 6.24 is as far as means of equal sizes differ: nothing lies between.
  CHECK(round_numbers(6.24, std::nextafter(6.24, 7), 7).empty());
}

TEST_CASE("places that differ by rounding only are drawn as one") {
  Plot plot{.x_label = "x", .y_label = "y"};
  plot.series.push_back(
      {.name = "a", .points = {{.x = 6.24, .y = 1}, {.x = std::nextafter(6.24, 7), .y = 2}}});
  CHECK(xml_fault(svg_of(plot)) == "");
}

TEST_CASE("markup in names stays text") {
  CHECK(escaped_markup("a<b> & \"c\" 'd'\x01") ==
        "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\\u0001");
  Plot plot{.title = "<script>&", .x_label = "\"x\"", .y_label = "<y>"};
  plot.series.push_back({.name = "</svg>",
                         .color = "\"red",
                         .mark = Mark::circle,
                         .end_label = "<",
                         .points = {{.x = 1, .y = 2, .error = 0.5, .note = "<&>"}}});
  plot.levels.push_back({.name = "&", .color = "<", .y = 1});
  plot.places.push_back({.name = "<p>", .x = 1});
  check_picture(svg_of(plot), 1);
}

TEST_CASE("a plot without points, or of one or NaN, is a picture") {
  check_picture(svg_of({}), 0);
  PlotSeries s{.name = "s", .mark = Mark::square, .line = true, .points = {{.x = 3, .y = 0}}};
  check_picture(svg_of({.series = {s}}), 1);
  s.points = {{.x = 1, .y = kNan},
              {.x = kInfinity, .y = 1},
              {.x = 2, .y = 1, .error = kNan},
              {.x = 3, .y = 2, .error = kInfinity}};
  check_picture(
      svg_of({.may_be_log = true, .series = {s}, .levels = {{.name = "level", .y = kNan}}}), 2);
}

TEST_CASE("a value far above the rest makes the axis logarithmic") {
  PlotSeries s{.name = "s", .mark = Mark::circle};
  for (const double y : {-0.014, 0.01, 0.02, 0.03, 4.0}) s.points.push_back({.x = 1, .y = y});
  Plot plot{.y_label = "change", .may_be_log = true, .series = {s}};
  const std::string text = svg_of(plot);
  check_picture(text, 5);
  // The negative side ends at -0.014: linear to the next round number.
  CHECK(count(text, "change; linear to ±0.02, then log") == 1);
  const std::vector<Spot> m = marks_of(text);
  const double unit = m[0].y - m[2].y;  // of -0.014 / 0.02 and 1
  CHECK(std::abs((m[1].y - m[2].y) - unit * 0.5 / 1.7) < 0.2);
  CHECK(std::abs((m[2].y - m[4].y) - unit * std::log10(200.0) / 1.7) < 0.2);
  plot.may_be_log = false;
  CHECK(count(svg_of(plot), "then log") == 0);
}

TEST_CASE("names of places too close to each other share a label") {
  PlotSeries s{.name = "s", .mark = Mark::circle, .points = {{.x = 2, .y = 1}, {.x = 8, .y = 2}}};
  const std::string text =
      svg_of({.series = {s}, .places = {{"int8 tensor", 7.9}, {"int2", 2}, {"int8 channel", 8}}});
  check_picture(text, 2);
  CHECK(count(text, ">int2</text>") == 1);
  CHECK(count(text, ">int8 tensor / int8 channel</text>") == 1);
}

TEST_CASE("a long legend or a long name takes nothing from the plot") {
  Plot plot{.title = "t", .x_label = "x", .y_label = "y"};
  plot.series = {{.name = "a", .mark = Mark::circle, .points = {{.x = 1, .y = 1}}}};
  const auto area = [&](std::string_view key) {
    const std::string text = svg_of(plot);
    return number_after(text, key, text.find("<rect class=\"area\""));
  };
  const double height = area(" height=\"");
  for (int i = 0; i < 40; ++i) {
    plot.series.push_back({.name = str("another series ", i), .mark = Mark::star});
  }
  CHECK(area(" height=\"") == Approx(height));
  plot.levels = {{.name = "control lr=0.0005 1.9047", .y = 1}};  // 24 characters of 6.7 pixels
  CHECK(area(" x=\"") + area(" width=\"") + 12 + 24 * 6.7 <= plot.width);
}

TEST_CASE("a plot says in words what it shows") {
  Plot plot{.title = "t", .x_label = "bits", .y_label = "loss"};
  plot.series = {{.name = "a <b>", .points = {{.x = 2, .y = 1}, {.x = 4, .y = 0.5}}}};
  plot.levels = {{.name = "fp32", .y = 0.25}};
  const std::string text = svg_of(plot);
  CHECK(
      text.find("<desc>loss over bits. a &lt;b&gt;: 2 points, x 2 to 4, y 0.5 to 1. A level line: "
                "fp32 at 0.25.</desc>") != std::string::npos);
}

TEST_CASE("a logarithmic axis has equal ratios equally far apart") {
  Plot plot{.x_label = "kB", .y_label = "loss", .x_is_log = true};
  PlotSeries s{.name = "s", .mark = Mark::circle};
  for (const double x : {3.0, 30.0, 300.0, 0.0, -1.0}) s.points.push_back({.x = x, .y = 1});
  plot.series = {s};
  const std::string text = svg_of(plot);
  check_picture(text, 3);  // what has no logarithm is left out
  const std::vector<Spot> m = marks_of(text);
  CHECK(m[1].x - m[0].x == Approx(m[2].x - m[1].x).margin(0.11));
  for (const char* tick : {">5</text>", ">10</text>", ">20</text>", ">200</text>"}) {
    CAPTURE(tick);
    CHECK(count(text, tick) == 1);
  }
}

TEST_CASE("error bars end where y does") {
  Plot plot{.x_label = "x", .y_label = "%", .y_least = 0, .y_most = 100};
  plot.series = {{.name = "s",
                  .color = "#123456",
                  .mark = Mark::circle,
                  .points = {{.x = 1, .y = 0}, {.x = 2, .y = 90, .error = 500}, {.x = 3, .y = 100}}}};
  const std::string text = svg_of(plot);
  check_picture(text, 3);
  const std::vector<Spot> m = marks_of(text);
  const std::size_t bar = text.find("stroke=\"#123456\"");  // the upright line comes first
  REQUIRE(bar != std::string::npos);
  const std::size_t line = text.rfind("<line", bar);
  CHECK(number_after(text, " y1=\"", line) == Approx(m[0].y).margin(0.11));
  CHECK(number_after(text, " y2=\"", line) == Approx(m[2].y).margin(0.11));
}

}  // namespace plot_test
