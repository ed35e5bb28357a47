// What a run's results and metrics look like as plots, and its page.
#include "experiments/report/figures.h"

#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/report/fronts.h"
#include "experiments/report/html_report.h"
#include "experiments/report/report.h"
#include "quant/methods/methods.h"
#include "tests/base/temporary_directory.h"
#include "tests/experiments/made_rows.h"
#include "tests/experiments/picture.h"

namespace figures_test {

using namespace notch;
using namespace notch::experiments;
using namespace notch::test;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RowResult row(std::string name, std::string method, int bits, double loss) {
  const double scale = loss - 1;
  return test::made_row(std::move(name), std::move(method), bits, loss,
                        {-0.02 * scale, 0.01 * scale, 0.01 * scale});
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

TEST_CASE("gradient norms are drawn before and after the fork") {
  SeedResults seed = example(1);
  std::ranges::find(seed.rows, "qat-ste-int8", &RowResult::name)->control = kBaseRow;  // scratch
  std::string metrics;
  double norm = 1;
  for (const char* run : {"fp32", "fp32-continue", "qat-ste-int4", "qat-ste-int8"}) {
    for (int step = 1; step <= 3; ++step) {
      metrics +=
          str("{\"run\": \"seed-1/", run, "\", \"step\": ", step, ", \"grad_norm\": ", norm, "}\n");
    }
    norm *= 2;
  }
  const std::vector<Figure> curves = curve_figures(metrics, {seed});
  REQUIRE(curves.size() == 2);
  CHECK(curves[0].plot.title == "Gradient norm of fp32, seed 1");
  REQUIRE(curves[0].plot.series.size() == 1);
  CHECK(curves[0].plot.series[0].points.at(2).x == 3);
  CHECK(curves[0].plot.series[0].points.at(2).y == 1);
  REQUIRE(curves[1].plot.series.size() == 2);
  CHECK(curves[1].plot.series[0].name == "control");
  CHECK(curves[1].plot.series[0].points.at(1).y == 2);
  CHECK(curves[1].plot.series[1].end_label == "qat-ste-int4");
  CHECK(curves[1].plot.series[1].points.at(1).y == 4);
  check_picture(svg_of(curves[1].plot), 0);
}

TEST_CASE("right answers have the interval of so many questions") {
  std::vector<SeedResults> seeds{{.seed = 1, .rows = {row("fp32", "fp32", 32, 1.5)}}};
  seeds[0].rows.push_back(row("rtn-int4", "rtn", 4, 1.6));
  CHECK(accuracy_figure(Statistics(seeds), 96).plot.series.empty());
  seeds[0].rows[0].accuracy = 0.875;
  seeds[0].rows[1].accuracy = 0.5;
  const Figure figure = accuracy_figure(Statistics(seeds), 96);
  check_picture(svg_of(figure.plot), 1);
  REQUIRE(figure.plot.series.size() == 2);  // the frontier first
  const PlotPoint& p = figure.plot.series[1].points.at(0);
  CHECK(p.y == 50);
  // Agresti and Coull: 48 of 96 become 50 of 100, 1.96 √(0.25 / 100) = 9.8 %.
  CHECK(p.error == Approx(9.79982).epsilon(1e-5));
  CHECK(mean_accuracy(seeds, seeds[0].rows[1], 96)->words() == "50.0 % right [40.2, 59.8]");
  CHECK(MeanAccuracy{.percent = 8.3, .half = 107.6}.words() == "8.3 % right [0.0, 100.0]");
  CHECK(figure.plot.levels.at(0).y == 87.5);
  // A second seed, 60 %: s² = 0.005, V_s = 0.0025, t_s of one degree of freedom 12.7062; of the
  // questions (96 · 0.55 + 2) / 100 = 0.548.
  seeds.push_back(seeds[0]);
  seeds[1].seed = 2;
  seeds[1].rows[1].accuracy = 0.6;
  const auto both = mean_accuracy(seeds, seeds[0].rows[1], 96);
  REQUIRE(both);
  CHECK(both->percent == Approx(55));
  CHECK(both->half == Approx(100 * std::sqrt(12.7062 * 12.7062 * 0.0025 +
                                             1.959964 * 1.959964 * 0.548 * 0.452 / 100))
                          .epsilon(1e-5));
}

TEST_CASE("a run's files are complete, self-contained and repeatable") {
  const test::TemporaryDirectory scratch;
  write_file(scratch / "metrics.jsonl", metrics_example());
  write_file(scratch / "env.json", "{\"time\": \"2000-01-01\", \"cpu\": \"<fast> & \\\"new\\\"\"}");
  ExperimentConfig config;
  config.name = "a <b> & 'c'";
  Data data;
  data.source.tokens.val = std::vector<std::int32_t>(31);
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
TEST_CASE("the frontier of what is to be high rises") {
  const PlotSeries s{.points = {{.x = 8, .y = 70}, {.x = 4, .y = 60}, {.x = 6, .y = 50}}};
  const PlotSeries front = frontier({s}, Best::highest);
  REQUIRE(front.points.size() == 3);
  CHECK(front.points[0].y == 60);
  CHECK(front.points[1].y == 60);
  CHECK(front.points[2].y == 70);
}

}  // namespace figures_test
