#include "experiments/show/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/report/figures.h"
#include "experiments/report/html_report.h"
#include "experiments/report/report.h"
#include "quant/methods/methods.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

using namespace notch;
using namespace notch::experiments;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++n;
  }
  return n;
}

/// What is wrong with the text as XML: tags that do not balance, attributes without quotes, bare &
/// or <. Empty when nothing is.
std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '&') {
      const std::string_view entity = text.substr(at, text.find(';', at) - at + 1);
      const std::vector<std::string_view> known{"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
      if (std::ranges::find(known, entity) == known.end()) return str("entity at ", at);
    }
    if (text[at] != '<') {
      ++at;
      continue;
    }
    std::size_t end = at + 1;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return str("< inside a tag at ", end);
    }
    if (end >= text.size()) return "a tag has no end";
    const std::string tag(text.substr(at + 1, end - at - 1));
    at = end + 1;
    if (tag.starts_with('!')) continue;
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag.starts_with('/')) {
      if (open.empty() || "/" + open.back() != tag) return "unexpected <" + tag + ">";
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    if (count(tag, "=\"") * 2 != count(tag, "\"")) return "quotes in <" + tag + ">";
  }
  return open.empty() ? "" : "<" + open.back() + "> has no end";
}

double number_after(std::string_view text, std::string_view key, std::size_t from) {
  const std::size_t at = text.find(key, from);
  REQUIRE(at != std::string_view::npos);
  return std::stod(std::string(text.substr(at + key.size(), 24)));
}

struct Spot {
  double x = 0, y = 0;
};
std::vector<Spot> marks_of(std::string_view svg) {
  constexpr std::string_view kMark = "<path class=\"mark\"";
  std::vector<Spot> marks;
  for (std::size_t at = svg.find(kMark); at != std::string_view::npos;
       at = svg.find(kMark, at + 1)) {
    marks.push_back(
        {number_after(svg, "translate(", at), number_after(svg, ",", svg.find("translate(", at))});
  }
  return marks;
}

/// Whether every mark is inside the plot area and every coordinate is a number inside the picture.
void check_picture(const std::string& svg, std::size_t marks) {
  CHECK(xml_fault(svg) == "");
  CHECK(count(svg, "http") == 1);
  CHECK(count(svg, "xmlns=\"http://www.w3.org/2000/svg\"") == 1);
  for (const char* bad : {"nan", "inf", "href", "url(", "<script", "<image"}) {
    INFO(bad);
    CHECK(count(svg, bad) == 0);
  }
  const std::size_t area = svg.find("<rect class=\"area\"");
  REQUIRE(area != std::string::npos);
  const double left = number_after(svg, " x=\"", area), top = number_after(svg, " y=\"", area);
  const double right = left + number_after(svg, " width=\"", area);
  const double bottom = top + number_after(svg, " height=\"", area);
  CHECK(bottom - top > 100);
  const std::vector<Spot> found = marks_of(svg);
  CHECK(found.size() == marks);
  for (const Spot& m : found) {
    CHECK(m.x > left);
    CHECK(m.x < right);
    CHECK(m.y > top);
    CHECK(m.y < bottom);
  }
}

RowResult row(std::string name, std::string method, int bits, double loss) {
  RowResult r{.name = std::move(name), .method = std::move(method), .bits = bits};
  if (bits < 16) r.granularity = "channel";
  r.on_control = r.name.starts_with("control-");
  r.trained = r.aims_at_data = r.method.starts_with("qat") || r.method == "fp32-continue";
  if (r.on_control || (r.trained && bits < 16)) r.control = kControlRow;
  r.eval.loss = loss;
  for (const double noise : {-0.02, 0.01, 0.01}) {
    r.eval.window_tokens.push_back(10);
    r.eval.window_losses.push_back(10 * (loss + noise * (loss - 1)));
  }
  r.size = {.weights = 1000, .quantized = 900};
  r.size.code_bytes = 900 * bits / 8;
  r.size.float_bytes = 400;
  r.sha256 = std::string(64, 'a');
  return r;
}

/// A table as a run makes it: int2 is far worse than the rest, trained rows are below fp32.
SeedResults example(std::int64_t seed, double shift = 0) {
  SeedResults s{.seed = seed};
  s.rows = {row("fp32", "fp32", 32, 1.5), row("fp32-continue", "fp32-continue", 32, 1.49)};
  for (const int bits : {8, 4, 3, 2}) {
    const double cost = 3.0 / std::pow(7.0, bits - 2);
    for (const auto& [method, share] : std::vector<std::pair<std::string, double>>{
             {"rtn", 1.0}, {"rtn-mse", 0.9}, {"gptq", 0.3}, {"qat-ste", 0.2}, {"qat-lsq", 0.1}}) {
      const std::string name = str(method, "-int", bits);
      const bool trained = method.starts_with("qat");
      const double loss = (trained ? 1.49 : 1.5) + cost * share + shift * share;
      s.rows.push_back(row(name, method, bits, loss));
      if (!trained) s.rows.push_back(row("control-" + name, method, bits, loss - 0.01));
    }
  }
  return s;
}

std::string metrics_example() {
  std::ostringstream out;
  for (const char* run : {"seed-1/fp32", "seed-1/fp32-continue", "seed-1/qat-ste-int4"}) {
    for (int step = 1; step <= 1000; ++step) {
      out << "{\"run\": \"" << run << "\", \"step\": " << step << ", \"loss\": " << 4.0 / step
          << "}\n";
    }
    out << "{\"run\": \"" << run << "\", \"step\": 1000, \"val_loss\": 1.5}\n";
  }
  return out.str();
}

}  // namespace

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

TEST_CASE("marks stand at the size of their row") {
  const std::vector<SeedResults> seeds{example(1)};
  const Figure figure = loss_figure(Statistics(seeds));
  std::vector<double> bits;
  for (const PlotSeries& s : figure.plot.series) {
    if (s.mark == Mark::none) continue;
    for (const PlotPoint& p : s.points) bits.push_back(p.x);
  }
  const std::vector<Spot> marks = marks_of(svg_of(figure.plot));
  REQUIRE(marks.size() == bits.size());
  const auto [low, high] = std::ranges::minmax_element(bits);
  const double left = marks[static_cast<std::size_t>(low - bits.begin())].x;
  const double right = marks[static_cast<std::size_t>(high - bits.begin())].x;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    CHECK(marks[i].x ==
          Approx(left + (right - left) * (bits[i] - *low) / (*high - *low)).margin(0.1));
  }
}

TEST_CASE("no two methods look alike") {
  SeedResults seed{.seed = 1, .rows = {row("fp32", "fp32", 32, 1.5)}};
  for (const std::string& method : quant::method_names()) {
    seed.rows.push_back(row(method + "-int4", method, 4, 1.6));
  }
  const std::vector<SeedResults> seeds{seed};
  const Figure figure = loss_figure(Statistics(seeds));
  std::set<std::pair<Mark, std::string>> looks;
  for (const PlotSeries& s : figure.plot.series) {
    if (s.mark != Mark::none) looks.emplace(s.mark, s.color);
  }
  CHECK(looks.size() == quant::method_names().size());
}

TEST_CASE("the frontier is what no row beats in size and loss") {
  SeedResults seed{.seed = 1, .rows = {row("fp32", "fp32", 32, 1.5)}};
  for (const auto& [bits, loss] : std::vector<std::pair<int, double>>{
           {8, 1.51}, {8, 1.505}, {6, 1.503}, {4, 1.7}, {3, 1.6}, {2, 2.5}}) {
    seed.rows.push_back(row(str("row", seed.rows.size()), "rtn", bits, loss));
  }
  const std::vector<SeedResults> seeds{seed};
  const Figure figure = loss_figure(Statistics(seeds));
  const PlotSeries& frontier = figure.plot.series.front();
  REQUIRE(frontier.name == "frontier");
  // 2 bits, 3 bits (better and smaller than 4), 6 bits (than 8): a step between each.
  REQUIRE(frontier.points.size() == 5);
  const double wanted[] = {1.0, 1.0, 0.1, 0.1, 0.003};
  for (std::size_t i = 0; i < 5; ++i) CHECK(frontier.points[i].y == Approx(wanted[i]));
  CHECK(frontier.points[1].x == frontier.points[2].x);
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

TEST_CASE("a run's picture has a mark for every quantized row") {
  const std::vector<SeedResults> one{example(1)}, three{example(1), example(2, 0.01), example(3)};
  const Figure figure = loss_figure(Statistics(one)), over_seeds = loss_figure(Statistics(three));
  check_picture(svg_of(figure.plot), 4 * 8);
  check_picture(svg_of(over_seeds.plot), 4 * 8);
  CHECK(figure.plot.levels.size() == 2);
  CHECK(figure.plot.places.size() == 4);
  const PlotSeries& rtn = over_seeds.plot.series.at(1);
  CHECK(rtn.name == "rtn");
  const Statistics statistics(three);  // points go by their size: the first is of the fewest bits
  const Difference d = statistics.difference("rtn-int2", "fp32");
  CHECK(rtn.points.front().y == Approx(d.mean));
  CHECK(rtn.points.front().error == Approx(d.high - d.mean));
}

TEST_CASE("a run of one row or a non-finite loss has a picture") {
  std::vector<SeedResults> seeds{{.seed = 1, .rows = {row("fp32", "fp32", 32, 1.5)}}};
  SeedResults& seed = seeds.front();
  const auto figure_of_seed = [&] { return loss_figure(Statistics(seeds)); };
  check_picture(svg_of(figure_of_seed().plot), 0);
  seed.rows.push_back(row("rtn-int4", "rtn", 4, 1.6));
  check_picture(svg_of(figure_of_seed().plot), 1);
  seed.rows.push_back(row("gptq-int4", "gptq", 4, kNan));
  const Figure figure = figure_of_seed();
  check_picture(svg_of(figure.plot), 1);
  CHECK(count(figure.caption, "gptq-int4 is not shown") == 1);
}

TEST_CASE("curves are thinned, the fork's are differences to control") {
  const std::vector<Figure> curves = curve_figures(metrics_example(), {example(1)});
  REQUIRE(curves.size() == 3);
  for (const Figure& f : curves) {
    for (const PlotSeries& s : f.plot.series) CHECK(s.points.size() <= 1000);
  }
  CHECK(curves[0].plot.series.at(1).points.size() <= 300);
  CHECK(curves[2].plot.series.size() == 2);  // the row beside the control
  REQUIRE(curves[1].plot.series.size() == 1);
  for (const PlotPoint& p : curves[1].plot.series[0].points) CHECK(p.y == 0);
  check_picture(svg_of(curves[0].plot), 1);
  check_picture(svg_of(curves[1].plot), 0);
  CHECK(curve_figures("", {example(1)}).empty());
  CHECK(curve_figures("{\"run\": \"seed-1/fp32\", \"st", {example(1)}).empty());
}

TEST_CASE("a phase after the fork is drawn against its own control") {
  SeedResults seed = example(1);
  RowResult other = row("fp32-continue-lr=0.1", "fp32-continue lr=0.1", 32, 1.48);
  const auto ste = std::ranges::find(seed.rows, "qat-ste-int4", &RowResult::name);
  ste->control = other.name;
  std::ranges::find(seed.rows, "qat-ste-int8", &RowResult::name)->control = kBaseRow;  // scratch
  seed.rows.insert(seed.rows.begin() + 2, other);
  std::string metrics;
  for (const auto& [run, loss] :
       std::vector<std::pair<const char*, double>>{{"fp32-continue", 1},
                                                   {"fp32-continue-lr=0.1", 2},
                                                   {"qat-ste-int4", 2.5},
                                                   {"qat-lsq-int4", 1.25},
                                                   {"qat-ste-int8", 3}}) {
    metrics += str("{\"run\": \"seed-1/", run, "\", \"step\": 1, \"loss\": ", loss, "}\n");
  }
  const std::vector<Figure> curves = curve_figures(metrics, {seed});
  REQUIRE(curves.size() == 1);
  const std::vector<PlotSeries>& series = curves[0].plot.series;
  REQUIRE(series.size() == 2);  // from scratch a row's steps are not those after the fork
  CHECK(series[0].end_label == "qat-ste-int4");
  CHECK(series[0].points.at(0).y == Approx(0.5));
  CHECK(series[1].points.at(0).y == Approx(0.25));
}

TEST_CASE("a run's files are complete, self-contained and repeatable") {
  const test::TemporaryDirectory scratch;
  write_file(scratch / "metrics.jsonl", metrics_example());
  write_file(scratch / "env.json", "{\"time\": \"2000-01-01\", \"cpu\": \"<fast> & \\\"new\\\"\"}");
  ExperimentConfig config;
  config.name = "a <b> & 'c'";
  Data data;
  data.source.tokens.val = std::vector<std::uint16_t>(31);
  const std::vector<SeedResults> seeds{example(1), example(2, 0.01)};
  Report(config, data, seeds).write(scratch.path());
  const std::string page = read_file(scratch / "report.html");
  const std::string picture = read_file(scratch / "results.svg");
  CHECK(xml_fault(page) == "");
  CHECK(count(page, "http") == count(page, "xmlns=\"http://www.w3.org/2000/svg\""));
  for (const char* outside : {"src=", "href=", "url(", "@import", "fetch("}) {
    CHECK(count(page, outside) == 0);
  }
  CHECK(count(page, "<script>") == 1);
  CHECK(count(page, "<script") == 1);
  CHECK(page.size() <= 1500000);
  CHECK(count(page, "<title>a &lt;b&gt; &amp; &#39;c&#39;</title>") == 1);
  CHECK(count(page, "&lt;fast&gt; &amp; &quot;new&quot;") == 1);
  CHECK(count(page, "2000-01-01") == 0);
  CHECK(count(page, "<svg") == 4);
  CHECK(count(page, "<desc>") == 4);
  // In the table, in a matrix and among the sizes at each of four widths, and among the
  // equivalences of 8 bits.
  CHECK(count(page, "gptq of control</td>") == 4 + 4 + 4 + 1);
  check_picture(picture, 4 * 8);

  Report(config, data, seeds).write(scratch.path());
  CHECK(read_file(scratch / "report.html") == page);
  CHECK(read_file(scratch / "results.svg") == picture);
}
