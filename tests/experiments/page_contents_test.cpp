// What stands in a report beside tables and plots.
#include "experiments/report/page_contents.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/experiments/picture.h"

namespace page_contents_test {

using namespace notch;
using namespace notch::experiments;
using notch::test::count;

RowResult wrote(std::string name, std::string text) {
  RowResult r{.name = name, .method = std::move(name)};
  r.sample = {.prompt = "On <a>", .text = std::move(text)};
  return r;
}

TEST_CASE("a sample is held against that of the model it was made of") {
  SeedResults seed{.seed = 7,
                   .rows = {wrote("fp32", "abc"), wrote("fp32-continue", "xbc"),
                            wrote("control-rtn-int4", "xbd")}};
  seed.rows[2].control = kControlRow;
  const WidthSummary width{.bits = 4,
                           .title = "4 bits",
                           .families = {{.row = &seed.rows[2]}},
                           .behind = {{}},
                           .resolved = {false}};
  const PageSamples found = page_samples(seed, {width});
  REQUIRE(found.samples.size() == 3);
  CHECK(found.samples[1].same == 3);  // trained on, it is another model: nothing to mark
  CHECK(found.samples[2].same == 2);
}

TEST_CASE("samples part where models do, not inside a character") {
  // ñ and ò are C3 B1 and C3 B2.
  SeedResults seed{.seed = 7, .rows = {wrote("fp32", "añ & on"), wrote("rtn-int4", "aò & on")}};
  const WidthSummary width{.bits = 4,
                           .title = "4 bits",
                           .families = {{.row = &seed.rows[1]}},
                           .behind = {{}},
                           .resolved = {false}};
  const PageSamples found = page_samples(seed, {width});
  REQUIRE(found.samples.size() == 2);
  CHECK(found.prompt == "On <a>");
  CHECK(found.samples[0].same == found.samples[0].text.size());
  CHECK(found.samples[1].title == "4 bits, rtn-int4");
  CHECK(found.samples[1].same == 1);
  ReportPage page{.title = "t",
                  .table = Table({{.key = "method", .text = true}}),
                  .samples = found,
                  .limits = {"one & only"}};
  const std::string html = html_page(page);
  CHECK(count(html, "<b>On &lt;a&gt;</b>añ &amp; on</blockquote>") == 1);
  CHECK(count(html, "<b>On &lt;a&gt;</b>a<mark>ò &amp; on</mark></blockquote>") == 1);
  CHECK(count(html, "<li>one &amp; only</li>") == 1);
  // Rows of a build that wrote nothing.
  seed.rows[0].sample = {};
  CHECK(page_samples(seed, {width}).samples.empty());
}

TEST_CASE("limits are those of the run") {
  RowResult base = wrote("fp32", "");
  base.size.weights = 4321;
  base.eval = {.loss = 1, .window_losses = {1}, .window_tokens = {1}};
  const std::vector<SeedResults> one{{.seed = 1, .rows = {base}}}, two{one[0], one[0]};
  ExperimentConfig config;
  const auto said = [&](const std::vector<SeedResults>& seeds, std::string_view words) {
    const Statistics statistics(seeds);
    std::size_t n = 0;
    for (const std::string& l : limits(config, statistics)) n += count(l, words);
    return n;
  };
  CHECK(said(one, "4321 parameters") == 1);
  CHECK(said(one, "One seed") == 1);
  CHECK(said(two, "One seed") == 0);
  CHECK(said(one, "validation split") == 1);
  config.data.test_fraction = 0.1;
  CHECK(said(one, "validation split") == 0);
  CHECK(said(one, "Only weights") == 1);
  config.row = {{.method = "rtn", .bits = 8, .activations = 8}};
  CHECK(said(one, "Only weights") == 0);
}

TEST_CASE("tints go from the best of a group to the worst") {
  const double nan = std::nan("");
  const std::string html = heat_map(
      {.title = "a & b",
       .rows = {"x", "y", "z"},
       .columns = {
           {.title = "cost", .group = "c", .decimals = 2, .sign = true, .values = {-9, 0.25, 1}},
           {.title = "dB", .group = "d", .low_is_bad = true, .values = {10, nan, 20}},
           {.title = "n", .decimals = 0, .values = {1, 2, 3}},
           {.title = "same", .group = "s", .values = {5, 5, 5}}}});
  CHECK(count(html, "<h3>a &amp; b</h3>") == 1);
  CHECK(count(html, "<td class=\"heat0\">-9.00</td>") == 1);
  CHECK(count(html, "<td class=\"heat3\">+0.25</td>") == 1);  // the root of a quarter is a half
  CHECK(count(html, "<td class=\"heat6\">+1.00</td>") == 1);
  CHECK(count(html, "<td class=\"heat6\">10.0</td>") == 1);
  CHECK(count(html, "<td class=\"heat0\">20.0</td>") == 1);
  CHECK(count(html, "<td>-</td>") == 1);
  CHECK(count(html, "<td>2</td>") == 1);
  CHECK(count(html, "<td>5.0</td>") == 3);
}

TEST_CASE("a grid of b bits has a line for each value") {
  const std::vector<WeightHistogram> all{
      {.name = "h.0", .shares = {0.25, 0.5, 0.25}, .sqnr_db = {8, 14}}, {"h.1", {1}, {9, 15}}};
  const auto lines = [&](int bits) {
    const std::string html = weight_grid(all, bits);
    const std::size_t from = html.find("class=\"grid\" d=\"") + 16;
    return count(html.substr(from, html.find('"', from) - from), "M");
  };
  CHECK(lines(2) == 3);
  CHECK(lines(3) == 7);
  CHECK_THROWS(weight_grid(all, 4));
  CHECK_THROWS(weight_grid({}, 4));
  const std::string html = weight_grid(all, 3);
  CHECK(count(html, "h.0 at 3 bits: 7 values, signal to noise 14.0 dB") == 2);  // seen and told
  CHECK(count(html,
              "[[&quot;h.0&quot;,[500,1000,500],[8.00,14.00]],[&quot;h.1&quot;,[1000],"
              "[9.00,15.00]]]") == 1);
}

}  // namespace page_contents_test
