// notch report --sizes: runs of models of different sizes in one report.
#include "experiments/report/sizes.h"

#include <optional>

#include "autograd/base/error.h"
#include "experiments/report/size_plots.h"
#include "tests/experiments/program.h"

namespace sizes_test {

using namespace notch;
using namespace notch::experiments;
using test::check_refused;
using test::Outcome;
using test::Program;

RowResult row(std::string name, std::string method, int bits, double loss, std::int64_t bytes) {
  RowResult r{.name = std::move(name), .method = std::move(method), .bits = bits};
  if (bits < 16) r.granularity = "channel";
  r.trained = r.aims_at_data = r.method.starts_with("qat") || r.method == kControlRow;
  r.on_control = r.name.starts_with("control-");
  if (r.on_control || (r.trained && bits < 16)) r.control = kControlRow;
  r.eval.loss = loss;
  for (const double noise : {-0.02, 0.01, 0.01}) {
    r.eval.window_tokens.push_back(10);
    r.eval.window_losses.push_back(10 * (loss + noise));
  }
  r.file_bytes = bytes;
  r.size = {.weights = bytes / 4, .quantized = bytes / 4};
  r.size.code_bytes = bytes;
  r.sha256 = std::string(64, 'a');
  return r;
}

/// fp32 and its control, round-to-nearest of both at 4 bits, and QAT, of a model of so many weights:
/// against its own reference rounding costs 0.1, training through it 0.05.
SizedRun example(std::int64_t weights, double loss, std::string name = "run") {
  SizedRun run{.directory = name, .scored_on = "text"};
  run.config.name = std::move(name);
  SeedResults seed{.seed = 1};
  seed.rows = {row("fp32", "fp32", 32, loss, 4 * weights),
               row("fp32-continue", "fp32-continue", 32, loss - 0.02, 4 * weights),
               row("rtn-int4", "rtn", 4, loss + 0.1, weights / 2),
               row("control-rtn-int4", "rtn", 4, loss + 0.08, weights / 2),
               row("qat-ste-int4", "qat-ste", 4, loss + 0.03, weights / 2)};
  for (RowResult& r : seed.rows) r.size.weights = weights;
  run.seeds = {seed};
  return run;
}

std::optional<Fault> fault_of(std::vector<SizedRun> runs) {
  try {
    const SizesReport report(std::move(runs));
  } catch (const Error& e) {
    return e.fault();
  }
  return std::nullopt;
}

std::string cell(const Table& table, std::size_t row, std::string_view key) {
  const auto at = std::ranges::find(table.columns(), key, &Column::key);
  REQUIRE(at != table.columns().end());
  const Cell& c = table.rows().at(row).at(static_cast<std::size_t>(at - table.columns().begin()));
  return std::holds_alternative<std::string>(c) ? std::get<std::string>(c) : "";
}

TEST_CASE("sizes stand in the order of their weights") {
  const SizesReport report({example(40000, 1.5), example(1500000, 1.2), example(10000, 1.9)});
  const Table& table = report.table();
  REQUIRE(table.rows().size() == 15);
  CHECK(cell(table, 0, "model") == "10k weights");
  CHECK(cell(table, 5, "model") == "40k weights");
  CHECK(cell(table, 14, "model") == "1.5M weights");
  CHECK(cell(table, 14, "method") == "qat-ste");
}

TEST_CASE("what rounding costs a size is against its own reference") {
  std::vector<SizedRun> runs{example(10000, 1.9), example(40000, 1.5)};
  const Statistics small(runs[0].seeds), large(runs[1].seeds);
  const std::vector<WidthSummary> a = summaries(small, rankings(small)),
                                  b = summaries(large, rankings(large));
  const std::vector<SizeSeen> seen{{.title = "a", .statistics = &small, .widths = &a},
                                   {.title = "b", .statistics = &large, .widths = &b}};
  const std::vector<Figure> figures = size_figures(seen);
  REQUIRE(figures.size() == 2);  // no task
  std::size_t rounded = 0;
  for (const PlotSeries& s : figures[1].plot.series) {
    for (const PlotPoint& p : s.points) {
      // Of the control, 0.08 + 0.02; QAT 0.03 + 0.02. The larger model differs in neither.
      CHECK(p.y == Approx(p.method.starts_with("rtn") ? 0.1 : 0.05));
      CHECK(p.x == Approx(4));
      ++rounded;
    }
  }
  CHECK(rounded == 4);
  // Beside fp32 and the control of each, at their bytes and losses.
  std::size_t marks = 0, fronts = 0;
  for (const PlotSeries& s : figures[0].plot.series) {
    if (s.mark != Mark::none) marks += s.points.size();
    if (s.mark != Mark::none || s.points.empty()) continue;
    ++fronts;
    const bool is_small = s.end_label == "a";
    CHECK(s.points.front().x == Approx(is_small ? 5 : 20));      // kB of 4 bits each
    CHECK(s.points.front().y == Approx(is_small ? 1.93 : 1.53));  // QAT's
    CHECK(s.points.back().x == Approx(is_small ? 40 : 160));
    CHECK(s.points.back().y == Approx(is_small ? 1.88 : 1.48));  // the control's
  }
  CHECK(marks == 8);
  CHECK(fronts == 2);
  // The smaller model's 40 kB are never the lowest loss: 20 kB of the larger have less.
  const std::vector<SizePoint> front = size_front(size_points(seen));
  REQUIRE(front.size() == 3);
  CHECK(front[0].row->file_bytes == 5000);
  CHECK(front[1].row->file_bytes == 20000);
  CHECK(front[2].row->name == "fp32-continue");
}

TEST_CASE("runs that cannot be compared by size are refused") {
  const SizedRun small = example(10000, 1.9);
  CHECK(fault_of({small}) == Fault::usage);
  CHECK(fault_of({small, small}) == Fault::usage);
  SizedRun other = example(40000, 1.5);
  other.scored_on = "another text";
  CHECK(fault_of({small, other}) == Fault::mismatch);
  other = example(40000, 1.5);
  other.config.model.block_size = small.config.model.block_size / 2;
  CHECK(fault_of({small, other}) == Fault::mismatch);
  // Two trainings of one size are told apart by name.
  const SizesReport named({example(10000, 1.9, "short"), example(10000, 1.8, "long")});
  CHECK(cell(named.table(), 0, "model") == "10k weights, long");
}

TEST_CASE("runs of two sizes make one report in any order") {
  const Program program;
  REQUIRE(program
              .shell("notch run tiny.toml quant.control=true --out a -q && "
                     "notch run tiny.toml model.n_embd=32 quant.bits=8,4 --out b -q && "
                     "notch run tiny.toml model.n_embd=32 data.tokenizer=byte --out c -q")
              .code == 0);
  check_refused(program.notch("report --sizes a b"), 2);
  check_refused(program.notch("report --sizes a --out one"), 2);
  check_refused(program.notch("report --sizes a c --out both"), 6);
  CHECK_FALSE(fs::exists(program / "both"));
  const Outcome made = program.notch("report --sizes a b --out both");
  CAPTURE(made.err);
  REQUIRE(made.code == 0);
  CHECK(made.out.find("Lowest loss in so many bytes: ") != std::string::npos);
  REQUIRE(program.notch("report --sizes b a --out again -q").code == 0);
  CHECK(program.shell("diff -r both again").code == 0);
  CHECK(program.shell("ls both").out ==
        "1.toml\n2.toml\nmanifest.json\nreport.html\nresults.csv\nresults.jsonl\nresults."
        "md\nresults.svg\n");
  // fp32, control, rtn of both | fp32, rtn at two widths
  CHECK(test::rows_of(program.notch("report --sizes a b --out json -o json")).size() == 4 + 3);
  // What it says makes the runs again.
  REQUIRE(program.shell("cd both && notch run 2.toml --out again -q").code == 0);
  CHECK(program.shell("cmp both/again/models/rtn-int4-seed1337/model.safetensors "
                      "b/models/rtn-int4-seed1337/model.safetensors")
            .code == 0);
}

}  // namespace sizes_test
