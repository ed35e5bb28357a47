// Colours of drawings on white and on dark paper.
#include "experiments/show/svg.h"

#include <set>

#include "experiments/show/palette.h"
#include "experiments/show/plot.h"
#include "tests/catch.h"
#include "tests/experiments/picture.h"

namespace svg_test {

using namespace notch;
using namespace notch::experiments;
using notch::test::count;

TEST_CASE("contrast is WCAG's") {
  // The extremes by definition; the greys from WebAIM's contrast checker: #767676 is the lightest
  // grey that passes 4.5 on white.
  CHECK(svg::contrast("#000000", "#ffffff") == Approx(21));
  CHECK(svg::contrast("#767676", "#ffffff") == Approx(4.54).margin(0.005));
  CHECK(svg::contrast("#ffffff", "#777777") == Approx(4.48).margin(0.005));
  CHECK_THROWS(svg::contrast("red", "#ffffff"));
}

TEST_CASE("the palette's colours can be read and told apart") {
  for (const std::string_view color : kSeriesColors) {
    CAPTURE(color);
    CHECK(svg::contrast(color, svg::kPaper) >= 4.5);
    CHECK(svg::contrast(svg::on_dark_paper(color), svg::kDarkPaper) >= 4.5);
  }
  CHECK(std::set(kSeriesColors.begin(), kSeriesColors.end()).size() == kSeriesColors.size());
  CHECK(series_color(kSeriesColors.size()) == series_color(0));
}

TEST_CASE("on dark paper a colour keeps its contrast and its hue") {
  CHECK(svg::on_dark_paper("#ffffff") == svg::kDarkPaper);
  CHECK(svg::on_dark_paper("#000000") == "#ffffff");  // as far as it goes
  for (const char* color : {"#0062a3", "#c04600", "#8f5d00", "#7a5195", "#e6e6e6", "#888888"}) {
    const std::string dark = svg::on_dark_paper(color);
    CAPTURE(color, dark);
    CHECK(svg::contrast(dark, svg::kDarkPaper) ==
          Approx(svg::contrast(color, svg::kPaper)).epsilon(0.02));
  }
  // Blue stays bluest, red reddest.
  const std::string blue = svg::on_dark_paper("#0062a3"), red = svg::on_dark_paper("#c04600");
  CHECK(blue.substr(5, 2) > blue.substr(1, 2));
  CHECK(red.substr(1, 2) > red.substr(5, 2));
}

TEST_CASE("a drawing's file has one rule for every colour") {
  const PlotSeries s{.name = "a",
                     .color = "#0062a3",
                     .mark = Mark::circle,
                     .line = true,
                     .points = {{.x = 1, .y = 1, .error = 1, .method = "m", .bits = "4"},
                                {.x = 2, .y = 3, .method = "m", .bits = "8"}}};
  const std::string element = svg_of({.title = "t", .series = {s}});
  const std::string file = svg::file_of(element);
  CHECK(file.starts_with("<svg "));
  CHECK(count(file, "<style>") == 1);
  CHECK(count(file, "[stroke=\"#0062a3\"] { stroke: ") == 1);
  CHECK(count(file, "[fill=\"#0062a3\"] { fill: ") == 1);
  CHECK(count(file, "[fill=\"#ffffff\"] { fill: #16181c; }") == 1);
  CHECK(count(element, "<style>") == 0);  // a page has one for all
  CHECK(svg::dark_rules("<p>no colour</p>").empty());
  // The line knows its method; a mark and the three lines of a bar their width, too.
  CHECK(count(element, "data-method=\"m\"") == 6);
  CHECK(count(element, "data-bits=\"4\"") == 4);
  CHECK(count(element, "data-bits=\"8\"") == 1);
}

}  // namespace svg_test
