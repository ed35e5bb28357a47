// What a table comes to: one sentence, a line per width, and the page around them.
#include "experiments/report/summary.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <tuple>

#include "autograd/base/files.h"
#include "experiments/report/report.h"
#include "experiments/show/svg.h"
#include "quant/methods/factored.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/experiments/made_rows.h"

namespace summary_test {

using namespace notch;
using namespace notch::experiments;

RowResult row(std::string name, std::string method, int bits, double loss) {
  const double scale = 1 + loss;
  return test::made_row(std::move(name), std::move(method), bits, loss,
                        {-1e-5 * scale, 2e-5 * scale, -1e-5 * scale});
}

/// fp32 1.5; the control 1.4 for its extra steps, so that every trained row is below fp32. At 4 bits
/// rounding costs QAT 0.001, GPTQ of the control 0.0041 and RTN 0.03; at 8 bits nothing.
std::vector<SeedResults> example() {
  return {
      {.seed = 1,
       .rows = {row("fp32", "fp32", 32, 1.5), row("fp32-continue", "fp32-continue", 32, 1.4),
                row("rtn-int8", "rtn", 8, 1.5), row("control-rtn-int8", "rtn", 8, 1.4),
                row("gptq-int8", "gptq", 8, 1.5), row("control-gptq-int8", "gptq", 8, 1.4),
                row("qat-ste-int8", "qat-ste", 8, 1.40001), row("rtn-int4", "rtn", 4, 1.55),
                row("rtn-mse-int4", "rtn-mse", 4, 1.51), row("control-rtn-int4", "rtn", 4, 1.43),
                row("gptq-int4", "gptq", 4, 1.5005), row("control-gptq-int4", "gptq", 4, 1.4041),
                row("qat-ste-int4", "qat-ste", 4, 1.402),
                row("qat-lsq-int4", "qat-lsq", 4, 1.401)}}};
}

std::vector<WidthSummary> summaries_of(const Statistics& statistics) {
  return summaries(statistics, rankings(statistics));
}

/// WCAG 2.1: relative luminance of a color #rgb or #rrggbb, and the contrast of two.
double luminance(std::string color) {
  if (color.size() == 4) {
    color = {'#', color[1], color[1], color[2], color[2], color[3], color[3]};
  }
  double out = 0;
  const double weights[] = {0.2126, 0.7152, 0.0722};
  for (std::size_t i = 0; i < 3; ++i) {
    const double c = std::stoi(color.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
    out += weights[i] * (c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
  }
  return out;
}
double contrast(const std::string& a, const std::string& b) {
  const double x = luminance(a) + 0.05, y = luminance(b) + 0.05;
  return std::max(x, y) / std::min(x, y);
}

/// Values of `--name: #...;` in the order of the style: light, then dark.
std::vector<std::string> colors(std::string_view page, std::string_view name) {
  std::vector<std::string> out;
  const std::string key = str("--", name, ": ");
  for (std::size_t at = page.find(key); at != std::string_view::npos; at = page.find(key, at + 1)) {
    at += key.size();
    out.emplace_back(page.substr(at, page.find(';', at) - at));
  }
  return out;
}

std::string page_of(const std::vector<SeedResults>& seeds) {
  const test::TemporaryDirectory scratch;
  ExperimentConfig config;
  Data data;
  data.source.tokens.val = std::vector<std::int32_t>(31);
  write_file(scratch / "metrics.jsonl",
             "{\"run\": \"seed-1/fp32\", \"step\": 1, \"loss\": 2, \"lr\": 0.1}\n"
             "{\"run\": \"seed-1/fp32-continue\", \"step\": 1, \"loss\": 2, \"val_loss\": 2}\n"
             "{\"run\": \"seed-1/qat-ste-int4\", \"step\": 1, \"loss\": 3, \"val_loss\": 3}\n"
             "{\"run\": \"seed-1/qat-lsq-int4\", \"step\": 1, \"loss\": 3, \"val_loss\": 3}\n");
  Report(config, data, seeds).write(scratch.path());
  return read_file(scratch / "report.html");
}

TEST_CASE("the headline judges rows by what rounding costs them") {
  const std::vector<SeedResults> seeds = example();
  const Statistics statistics(seeds);
  CHECK(headline(summaries_of(statistics)) ==
        "At 4 bits QAT is best, GPTQ 0.0031 nats behind, RTN 0.029; at 8 bits no difference that "
        "matters. Against full precision trained as long the best costs less than 0.0005 nats per "
        "token at 8 bits and 0.001 at 4 bits; 0.01 nats are 1 % of perplexity.");
}

TEST_CASE("a row below its reference costs nothing") {
  const std::vector<SeedResults> seeds{
      {.seed = 1, .rows = {row("fp32", "fp32", 32, 1.5), row("rtn-int4", "rtn", 4, 1.499)}}};
  const Statistics statistics(seeds);
  CHECK(headline(summaries_of(statistics)) ==
        "Against its own full precision the best costs less than 0.0005 nats per token at 4 bits; "
        "0.01 nats are 1 % of perplexity.");
}

TEST_CASE("a cost is tiny only where its interval ends below it") {
  // Windows of +-0.5 nats in fp32 alone: the mean of the differences is 0, their interval wide.
  std::vector<SeedResults> seeds{
      {.seed = 1,
       .rows = {row("fp32", "fp32", 32, 1.5), row("rtn-int8", "rtn", 8, 1.5),
                row("rtn-int6", "rtn", 6, 1.5)}}};
  RowResult& wide = seeds.front().rows[1];
  wide.eval.window_losses = {10 * (1.5 - 0.5), 10 * 1.5, 10 * (1.5 + 0.5)};
  // t of two degrees of freedom at 97.5 % is 4.303; the error of the mean is 0.5 / sqrt(3).
  const double reach = 4.303 * 0.5 / std::sqrt(3.0);  // 1.24
  CHECK(reach == Approx(1.242).epsilon(1e-3));
  CHECK(headline(summaries_of(Statistics(seeds))) ==
        "Against its own full precision the best costs less than 0.0005 nats per token at 6 bits; "
        "what the best costs at 8 bits cannot be told from 0 (within 1.2 nats); 0.01 nats are 1 % "
        "of perplexity.");
  // Alone, with no width whose cost is known.
  seeds.front().rows.pop_back();
  CHECK(headline(summaries_of(Statistics(seeds))) ==
        "Against its own full precision what the best costs at 8 bits cannot be told from 0 (within "
        "1.2 nats); 0.01 nats are 1 % of perplexity.");
}

TEST_CASE("the short table says which columns it leaves out") {
  const std::vector<SeedResults> seeds = example();
  const Statistics statistics(seeds);
  const Table table = short_table(statistics, summaries_of(statistics));
  CHECK(fitted_screen(table, 200) == render(table, TableFormat::screen));
  const std::string narrow = fitted_screen(table, 70);
  const std::size_t at = narrow.find("left out for the width: ");
  REQUIRE(at != std::string::npos);
  // What is left out and what is shown are all columns, each once.
  const std::string shown = narrow.substr(0, at), left = narrow.substr(at);
  for (const Column& c : table.columns()) {
    const std::string& title = c.title.empty() ? c.key : c.title;
    CAPTURE(title);
    if (title == "width") continue;  // stands in the sentence too
    CHECK((shown.find(title) != std::string::npos) != (left.find(title) != std::string::npos));
  }
  CHECK(left.find("--wide has them") != std::string::npos);
  ExperimentConfig config;
  Data data;
  data.source.tokens.val = std::vector<std::int32_t>(31);
  CHECK(Report(config, data, seeds).screen(70).find(left) != std::string::npos);
  CHECK(cost_legend().find("within 0.002 nats of it") != std::string::npos);
}

TEST_CASE("what the ranking ties the headline ties") {
  std::vector<SeedResults> seeds = example();
  // GPTQ is 0.0031 behind QAT, by 0.00065 in standard error: t = 4.8 with two degrees of freedom,
  // p = 0.04. Of the 28 pairs of the width one more is as uncertain, so that Holm's p is above 0.05.
  RowResult& gptq = *std::ranges::find(seeds.front().rows, "control-gptq-int4", &RowResult::name);
  gptq.eval.window_losses = {10 * (1.4041 + 0.0013), 10 * (1.4041 - 0.00065),
                             10 * (1.4041 - 0.00065)};
  const Statistics statistics(seeds);
  const Difference d = statistics.difference("control-gptq-int4", "qat-lsq-int4");
  CHECK(d.mean == Approx(0.0031));
  REQUIRE(d.resolved());
  CHECK(headline(summaries_of(statistics))
            .starts_with("At 4 bits QAT and GPTQ cannot be told apart, RTN 0.029 nats behind; "));
}

TEST_CASE("a row of other bytes than its width's is named alone") {
  std::vector<SeedResults> seeds = example();
  const auto best = [&] {
    const Statistics statistics(seeds);
    const std::vector<WidthSummary> widths = summaries_of(statistics);
    const auto at =
        std::ranges::find(widths[1].families, quant::Family::post_training, &FamilyBest::family);
    return std::pair{at->row->name, short_notes(statistics, widths)};
  };
  // Of fp32 and of the control; the latter costs less than GPTQ's 0.0041.
  for (auto [name, loss] : {std::pair{"spqr-int4", 1.5001}, {"control-spqr-int4", 1.4005}})
    seeds.front().rows.push_back(row(name, "spqr", 4, loss));
  CHECK(best().first == "control-spqr-int4");
  CHECK(best().second.find("Not compared") == std::string::npos);
  // 1400 bytes without anything beside the codes, a tenth more is 1540.
  for (const auto& [beside, kilobytes] : {std::pair{139, ""}, {141, "1.5 kB"}, {700, "2.1 kB"}}) {
    CAPTURE(beside);
    for (std::size_t i = seeds.front().rows.size() - 2; i < seeds.front().rows.size(); ++i)
      seeds.front().rows[i].file_bytes = 1400 + beside;
    const bool left_out = *kilobytes != 0;
    CHECK(best().first == (left_out ? "control-gptq-int4" : "control-spqr-int4"));
    const std::string words =
        str("4 bits: spqr of control (", kilobytes, ") and spqr (", kilobytes, ").");
    CHECK((best().second.find(words) != std::string::npos) == left_out);
  }
  // A smaller model is no reason to leave out those that have all their weights.
  RowResult small = row("svd-gptq-int4", "gptq", 4, 1.8);
  small.file_bytes = 700;
  small.figures[std::string(quant::kLeftFigure.key)] = 50;
  const std::string before = best().second;
  seeds.front().rows.push_back(small);
  CHECK(best().second == before);
  RowResult stages = row("prune-gptq-int4", "pipeline", 4, 1.8);
  seeds.front().rows.push_back(stages);
  CHECK(best().second == before +
                             " Pipelines and rows that are not quantized, 1 here, are in "
                             "results.md; --wide shows them.");
}

TEST_CASE("a row cheap by another model hides no lower loss") {
  std::vector<SeedResults> seeds = example();
  // It learned from fp32 alone, and costs less of it, 1.5, than LSQ's 0.001 of the control, 1.4.
  RowResult distilled = row("qat-lsq-kd-int4", "qat-lsq-kd", 4, 1.5004);
  distilled.control.clear();
  distilled.aims_at_data = false;
  seeds.front().rows.push_back(distilled);
  const auto seen = [&] {
    const Statistics statistics(seeds);
    const std::vector<WidthSummary> widths = summaries_of(statistics);
    const Table table = short_table(statistics, widths);
    const double loss = std::get<Number>(table.rows().back().back()).value;
    return std::tuple{widths[1].families.front().row->name, loss, short_notes(statistics, widths)};
  };
  const std::string aside = " Judged by another model, and so in no line: ";
  {
    const auto [best, loss, notes] = seen();
    CHECK(best == "qat-lsq-int4");
    CHECK(loss == Approx(1.401));
    CHECK(notes.find(aside + "qat-lsq-kd at 4 bits, +0.0004 to fp32, its loss 1.5004.") !=
          std::string::npos);
  }
  // One that costs more and is worse is named nowhere; one that is better takes the line.
  const auto set_loss = [&](double loss) {
    RowResult& r = seeds.front().rows.back();
    const RowResult to = row(r.name, r.method, r.bits, loss);
    r.eval = to.eval;
  };
  set_loss(1.5020);
  CHECK(std::get<2>(seen()).find(aside) == std::string::npos);
  set_loss(1.39);
  const auto [best, loss, notes] = seen();
  CHECK(best == "qat-lsq-kd-int4");
  CHECK(loss == Approx(1.39));
  CHECK(notes.find(aside) == std::string::npos);
  // Rounding alone made of the control: where every trained row is judged by fp32 no line has it.
  std::erase_if(seeds.front().rows,
                [](const RowResult& r) { return r.bits == 4 && r.aims_at_data; });
  set_loss(1.42);
  CHECK(std::get<2>(seen()).find(
            aside + "gptq of control at 4 bits, +0.0041 to control, its loss 1.4041.") !=
        std::string::npos);
}

TEST_CASE("the headline says the bytes that differ") {
  std::vector<SeedResults> seeds = example();
  // 1400 bytes are all others'; GPTQ's 1470 are 5 % more and still compared.
  std::ranges::find(seeds.front().rows, "control-gptq-int4", &RowResult::name)->file_bytes = 1470;
  const Statistics statistics(seeds);
  const std::vector<WidthSummary> widths = summaries_of(statistics);
  CHECK(headline(widths).starts_with(
      "At 4 bits QAT is best, GPTQ (+5 % bytes) 0.0031 nats behind, RTN 0.029; "));
  CHECK(short_notes(statistics, widths)
            .find("Beside the best of its width: gptq at 4 bits (+5 % bytes).") !=
        std::string::npos);
}

TEST_CASE("sizes in the short table are means over seeds") {
  std::vector<SeedResults> seeds{example().front(), example().front()};
  seeds[1].seed = 2;
  for (RowResult& r : seeds[1].rows) {
    r.file_bytes += 1000;
    r.size.float_bytes += 100;
  }
  const Statistics statistics(seeds);
  CHECK(statistics.file_bytes("fp32") == 1000 + 100 * 32 + 500);
  CHECK(statistics.bits_per_weight("gptq-int4") == Approx(8 * (450 + 400 + 50) / 1000.0));
  const Table table = short_table(statistics, summaries_of(statistics));
  const auto column = [&](std::string_view key) {
    return static_cast<std::size_t>(std::ranges::find(table.columns(), key, &Column::key) -
                                    table.columns().begin());
  };
  CHECK(std::get<Number>(table.rows().back()[column("size")]).value == 1000 + 100 * 4 + 500);
  CHECK(std::get<Number>(table.rows().back()[column("bits_per_weight")]).value == Approx(7.2));
}

TEST_CASE("without a control beside it a row is judged against fp32") {
  std::vector<SeedResults> seeds = example();
  std::erase_if(seeds.front().rows, [](const RowResult& r) { return r.trained || r.on_control; });
  const Statistics statistics(seeds);
  const std::vector<WidthSummary> widths = summaries_of(statistics);
  REQUIRE(widths.size() == 2);
  REQUIRE(widths[1].families.size() == 2);
  CHECK(widths[1].families[0].row->name == "gptq-int4");
  CHECK(widths[1].families[0].cost.mean == Approx(0.0005));
  CHECK(widths[1].families[1].row->name == "rtn-mse-int4");
  CHECK(widths[1].behind[1].mean == Approx(0.0095));
  CHECK(headline(widths).starts_with("At 4 bits GPTQ is best, RTN 0.0095 nats behind"));
}

TEST_CASE("runs of one trained row, or of none, have a headline") {
  std::vector<SeedResults> seeds = example();
  seeds.front().rows.resize(2);
  CHECK(headline(summaries_of(Statistics(seeds))).empty());
  CHECK(short_table(Statistics(seeds), {}).rows().size() == 2);
  seeds.front().rows.push_back(row("qat-ste-int4", "qat-ste", 4, 1.45));
  CHECK(headline(summaries_of(Statistics(seeds))) ==
        "Against full precision trained as long the best costs 0.05 nats per token at 4 bits; 0.01 "
        "nats are 1 % of perplexity.");
  seeds.front().rows.back().eval.loss = std::nan("");
  for (double& w : seeds.front().rows.back().eval.window_losses) w = std::nan("");
  CHECK(headline(summaries_of(Statistics(seeds))).empty());
}

TEST_CASE("the short table has eight lines and fits a terminal") {
  std::vector<SeedResults> seeds = example();
  const auto lines_of = [](const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  };
  {
    const Statistics statistics(seeds);
    const std::vector<std::string> lines =
        lines_of(render(short_table(statistics, summaries_of(statistics)), TableFormat::screen));
    REQUIRE(lines.size() == 6);
    CHECK(lines[5].find("4 bits") == 0);
    CHECK(lines[5].find("+0.0300 rtn ") != std::string::npos);
    CHECK(lines[5].find("+0.0041 gptq") != std::string::npos);
    CHECK(lines[5].find("+0.0010* qat-lsq") != std::string::npos);
  }
  for (const int bits : {7, 6, 5, 3, 2, 1}) {
    seeds.front().rows.push_back(row(str("qat-lsq-kd-int", bits), "qat-lsq-kd", bits, 1.5));
  }
  const Statistics statistics(seeds);
  const Table table = short_table(statistics, summaries_of(statistics));
  CHECK(table.rows().size() == 8);
  for (const int columns : {1, 40, 60, 80, 120}) {
    CAPTURE(columns);
    const Table fitted = table.fitted(columns);
    CHECK(fitted.rows().size() == 8);
    if (fitted.columns().size() == 1) continue;
    for (const std::string& line : lines_of(render(fitted, TableFormat::screen))) {
      CHECK(line.size() <= static_cast<std::size_t>(columns));
    }
  }
  CHECK(table.fitted(80).columns().size() >= 4);  // the three families
  ExperimentConfig config;
  Data data;
  data.source.tokens.val = std::vector<std::int32_t>(31);
  for (const int columns : {60, 80}) {
    for (const std::string& line : lines_of(Report(config, data, seeds).screen(columns))) {
      CAPTURE(line);
      CHECK(line.size() <= static_cast<std::size_t>(columns));
    }
  }
}

TEST_CASE("words are wrapped at spaces") {
  CHECK(wrapped("one two three", 7) == "one two\nthree\n");
  CHECK(wrapped("one two three", 100) == "one two three\n");
  CHECK(wrapped("a\nb c", 3) == "a\nb c\n");
  CHECK(wrapped("unbreakable", 4) == "unbreakable\n");
  CHECK(wrapped("Δ Δ", 3) == "Δ Δ\n");
  CHECK(wrapped("", 4).empty());
}

TEST_CASE("a page reads in light, in dark and without script") {
  const std::string page = page_of(example());
  CHECK(page.find("prefers-color-scheme: dark") != std::string::npos);
  const auto papers = colors(page, "paper"), heads = colors(page, "head"),
             overs = colors(page, "over");
  REQUIRE(papers.size() == 2);
  for (const char* ink : {"ink", "quiet"}) {
    const std::vector<std::string> inks = colors(page, ink);
    REQUIRE(inks.size() == 2);
    for (std::size_t scheme = 0; scheme < 2; ++scheme) {
      for (const auto& ground : {papers, heads, overs}) {
        CAPTURE(ink, scheme, ground[scheme]);
        CHECK(contrast(inks[scheme], ground[scheme]) >= 4.5);
      }
    }
  }
  // All words of pictures can be read, on white and on dark paper.
  std::set<std::string> words;
  for (std::size_t at = page.find("<text "); at != std::string::npos;
       at = page.find("<text ", at + 1)) {
    const std::size_t fill = page.find("fill=\"", at) + 6;
    words.insert(page.substr(fill, page.find('"', fill) - fill));
  }
  CHECK(words.size() >= 4);
  for (const std::string& color : words) {
    CAPTURE(color);
    CHECK(contrast(color, "#ffffff") >= 4.5);
    CHECK(contrast(svg::on_dark_paper(color), svg::kDarkPaper) >= 4.5);
  }
  // The headline and every row stand in the page itself; what scrolls can be reached.
  const std::string body = page.substr(0, page.find("<script>"));
  CHECK(body.find("At 4 bits QAT is best") != std::string::npos);
  const std::vector<SeedResults> seeds = example();
  for (const RowResult& r : seeds.front().rows) {
    CHECK(body.find(str("<td class=\"text\">", label(r), "</td>")) != std::string::npos);
  }
  std::size_t tables = 0, reachable = 0;
  for (std::size_t at = body.find("class=\"scroll\""); at != std::string::npos;
       at = body.find("class=\"scroll\"", at + 1)) {
    ++tables;
    reachable += body.compare(at + 14, 13, " tabindex=\"0\"") == 0;
  }
  CHECK(tables >= 2);
  CHECK(reachable == tables);
}

}  // namespace summary_test
