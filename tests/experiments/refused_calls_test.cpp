// Nothing to show, axes without end, rows that are not there, runs without seeds and steps of no tokens
// are refused in every build, by all that would read past them, divide by them or never come to an end.
#include "tests/refused_calls.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "experiments/bench/gemm_floor.h"
#include "experiments/bench/inference_bench.h"
#include "experiments/bench/memory_report.h"
#include "experiments/bench/sweep.h"
#include "experiments/bench/training_bench.h"
#include "experiments/config/config_check.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"
#include "experiments/config/toml_scalar.h"
#include "experiments/machine/machine.h"
#include "experiments/machine/roofs.h"
#include "experiments/report/chosen_rows.h"
#include "experiments/report/fronts.h"
#include "experiments/report/html_report.h"
#include "experiments/report/moderation.h"
#include "experiments/report/page_contents.h"
#include "experiments/report/parts.h"
#include "experiments/report/report.h"
#include "experiments/report/size_plots.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/logit_pieces.h"
#include "experiments/run/metrics.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/run_dir.h"
#include "experiments/run/run_time.h"
#include "experiments/run/setup.h"
#include "experiments/run/window_error.h"
#include "experiments/show/heat_map.h"
#include "experiments/show/plot_axis.h"
#include "experiments/show/roofline.h"
#include "experiments/show/weight_grid.h"
#include "experiments/train/training_phase.h"
#include "tests/catch.h"
#include "tests/experiments/made_rows.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::refused_calls_test {

using test::check_refused;
using test::made_row;

constexpr std::int64_t kHuge = std::int64_t{1} << 62;
const double kNan = std::nan(""), kInfinity = std::numeric_limits<double>::infinity();

TEST_CASE("axes without end and columns without values are refused") {
  const std::vector<double> many(30, 1.0);
  const auto weights = [](std::vector<double> shares, std::vector<double> sqnr_db) {
    weight_grid({{.name = "w", .shares = std::move(shares), .sqnr_db = std::move(sqnr_db)}}, 2);
  };
  const auto table_of = [](int decimals) {
    Table table({{.key = "a", .decimals = decimals}});
    table.add_row({number(1)});
    render(table, TableFormat::screen);
  };
  const auto roof = [](double sgemm, RooflineDot dot) {
    roofline_svg({.sgemm = sgemm, .integer = 1e9, .dots = {std::move(dot)}});
  };
  const RooflineDot dot{.tokens = 1, .seconds = 1, .operations = 1, .bytes = 1, .roof_seconds = 1};
  RooflineDot no_bytes = dot, many_products = dot;
  no_bytes.bytes = 0;
  many_products.products = 99;
  check_refused({
      [] { round_numbers(0, 1, 0); },
      [] { ticks_of({.linear_to = 5e-324}, {.low = 0, .high = 1}); },
      [] { round_numbers(0, 1, std::numeric_limits<int>::max()); },
      [] { round_numbers(1, 0, 5); },
      [] { round_numbers(0, kNan, 5); },
      [] { round_numbers(-1e308, 1e308, 5); },
      [] { log_numbers(-kInfinity, 1); },
      [] { log_numbers(0, kInfinity); },
      [] { log_numbers(kNan, 1); },
      [] { log_numbers(2, 1); },
      [] { log_numbers(-1e18, 1e18); },
      [] { ticks_of({.linear_to = kNan}, {.low = 0, .high = 1}); },
      [] { ticks_of({.linear_to = 1}, {.low = 0, .high = kInfinity}); },
      [] { svg_of({.width = 0}); },
      [] { svg_of({.height = std::numeric_limits<int>::max()}); },
      [] { svg::contrast("#zzzzzz", "#000000"); },
      [] { svg::file_of(""); },
      [] {
        heat_map({.rows = {"a", "b"}, .columns = {{.values = {1}}}});
      },
      [] { heat_map({.rows = {"a"}, .columns = {{.decimals = -1, .values = {1}}}}); },
      [&] { table_of(-1); },
      [&] { table_of(std::numeric_limits<int>::max()); },
      [] { Table({{.key = "a"}}).append(Table({{.key = "b"}})); },
      [] { roofline_svg({}); },
      [&] { roof(kInfinity, dot); },
      [&] { roof(1e9, no_bytes); },
      [&] { roof(1e9, many_products); },
      [] { inference_table({.sgemm = 1, .integer = 1, .dots = {{.phase = "prompt"}}}); },
      [&] { weights({1}, many); },
      [&] { weights({kNan}, {1}); },
      [&] { weights({}, {1}); },
  });
}

TEST_CASE("a picture of any numbers has none that is no number") {
  using Points = std::vector<PlotPoint>;
  for (const Points& points :
       {Points{}, Points{{.x = 1e308, .y = 1e308}, {.x = -1e308, .y = -1e308}},
        Points{{.x = 1e300, .y = -1e300}}, Points{{.x = 1e17, .y = 1e17}},
        Points{{.x = 1, .y = 1, .error = 1e308}}, Points{{.x = 0, .y = 1}, {.x = -3, .y = kNan}},
        Points{{.x = 5e-324, .y = 5e-324}, {.x = 2, .y = kInfinity}, {.x = 3, .y = 1e300}}}) {
    for (const bool is_log : {false, true}) {
      const std::string drawn =
          svg_of({.may_be_log = is_log,
                  .x_is_log = is_log,
                  .series = {{.mark = Mark::circle, .line = true, .points = points}},
                  .levels = {{.y = 1e308}, {.y = kInfinity}},
                  .places = {{.x = -1}, {.x = 0}, {.x = kInfinity}}});
      CAPTURE(points.size(), is_log);
      CHECK(drawn.find("nan") == std::string::npos);
      CHECK(drawn.find("inf") == std::string::npos);
    }
  }
  for (const double db : {kNan, kInfinity, -kInfinity}) {
    const std::string drawn = weight_grid({{.shares = {1}, .sqnr_db = {db, 3}}}, 3);
    CHECK(drawn.find("nan") == std::string::npos);
    CHECK(drawn.find("inf") == std::string::npos);
  }
  CHECK(printed("%.1f", 1e300).size() == 303);  // 301 digits, the point and one more
}

TEST_CASE("a table below itself is twice, without columns empty") {
  Table table({{.key = "a"}});
  for (int i = 0; i < 5; ++i) table.add_row({number(i)});
  table.append(table);
  CHECK(render(table, TableFormat::csv) == "a\n0\n1\n2\n3\n4\n0\n1\n2\n3\n4\n");
  CHECK(render(Table({}), TableFormat::markdown).empty());
  CHECK(html_page({}).ends_with("</html>\n"));
}

TEST_CASE("benches of nothing are refused") {
  const MemoryShape shape = named_shapes().front();
  MemoryShape vast = shape, negative = shape;
  vast.hidden = kHuge;
  negative.matrices = -1;
  const auto need = [&](const MemoryShape& s, double bits, std::int64_t context,
                        std::int64_t batch) {
    memory_need(s, {.matrix_bits = bits}, context, batch);
  };
  const auto model = test::make_gpt();
  const auto measured = [](InferenceOptions options) {
    std::vector<InferenceSubject> subjects;
    subjects.push_back({.name = "a", .model = {.model = test::make_gpt(), .weight_bytes = 1}});
    bench_inference(subjects, options);
  };
  std::vector<InferenceSubject> none, no_model(1);
  Sweep sweep;
  check_refused({
      [] { memory_need({}, {}, 1, 1); },
      [&] { need(vast, 16, 1, 1); },
      [&] { need(negative, 16, 1, 1); },
      [&] { need(shape, kNan, 1, 1); },
      [&] { need(shape, -1, 1, 1); },
      [&] { need(shape, 16, 0, 1); },
      [&] { need(shape, 16, kHuge, kHuge); },
      [&] { kv_note({}, 1, 1); },
      [&] { training_need(shape, -1, 1); },
      [&] { training_need(shape, 1, kHuge); },
      [] { BenchedRecipe{}.median_ms(); },
      [] { BenchedRecipe{}.min_ms(); },
      [] { TrainingBench{}.ratio(0); },
      [] { TrainingBench{.floor_ms = {1}, .recipes = {{}}}.floor_share(0); },
      [] { bench_table({{.recipes = {{}}}}); },
      [] { bench_training({}, {}); },
      [] { bench_training({}, {.recipes = {"fp32"}, .rounds = 0}); },
      [] { shape_subjects("S", 0); },
      [] { shape_subjects("S", kHuge); },
      [&] { bench_inference(none, {}); },
      [&] { bench_inference(no_model, {}); },
      [&] { measured({.batches = {0}, .prompt = 2, .decode = 1}); },
      [&] { measured({.batches = {1}, .prompt = 0, .decode = 1}); },
      [&] { measured({.batches = {1}, .prompt = 2, .decode = 0}); },
      [&] { measured({.batches = {1}, .prompt = 2, .decode = 1, .rounds = 0}); },
      [&] { measured({.batches = {1}, .prompt = kHuge, .decode = kHuge}); },
      [&] { sweep_training(sweep, "N", {.contexts = {0}}); },
      [&] { sweep_inference(sweep, none, {.contexts = {kHuge}}); },
      [] { sweep_table({.cells = {{}}}); },
      [] { sweep_plot({.cells = {{}}}); },
      [&] { step_flops(*model, -1); },
      [&] { GemmFloor floor(*model, 0); },
      [&] { GemmFloor floor(*model, 1); },  // it has no gradients
      [] { ReadRoof roof(0); },
      [] { ReadRoof roof(-1); },
      [] { openblas_warnings("x", {}, {}); },
  });
}

TEST_CASE("reports without rows or with rows in part are refused") {
  using Seeds = std::vector<SeedResults>;
  const Seeds good{{1,
                    {made_row("fp32", "fp32", 32, 1, {0, 0.1, -0.1}),
                     made_row("rtn-int4", "rtn", 4, 1.2, {0, 0.1, -0.1})}}};
  Seeds no_base = good, cut = good, no_tokens = good;
  no_base[0].rows.erase(no_base[0].rows.begin());
  cut[0].rows[1].eval.window_losses.resize(1);
  for (RowResult& r : no_tokens[0].rows) r.eval.window_tokens = {0, 0, 0};
  const Statistics statistics(good), without_base(no_base);
  const WidthRanking null_row{.rows = {nullptr}, .bytes = {1}};
  const WidthSummary no_rows{.families = {{}}, .behind = {{}}, .resolved = {false}};
  RowResult sure = good[0].rows[1];
  sure.accuracy = 2;
  const Seeds right{{1, {sure}}};
  const std::vector<double> variances{1, 2, 3}, negative{1, 2, -3};
  std::vector<ErrorPart> parts(3, {1, 1});
  std::vector<RunPart> part(1);
  part[0].shard = {0, 2};
  for (const Seeds& none : {Seeds{}, Seeds{{}}}) {
    check_refused({
        [&] { chosen_rows(none, "*", "rows"); },
        [&] { diagnostic_figures("", none); },
        [&] { diagnostic_maps("", none); },
        [&] { curve_figures("", none); },
        [&] { figures_table(none); },
        [&] { table_header({}, {}, none); },
        [&] { budget_notes({}, none); },
        [&] { Statistics of(none); },
    });
  }
  check_refused({
      [&] { Statistics of(cut); },
      [&] { Statistics of(no_tokens); },
      [&] { loss_figure(without_base); },
      [&] { short_table(without_base, {}); },
      [&] { limits({}, without_base); },
      [&] { page_samples(no_base[0], {}); },
      [&] { page_samples(good[0], {no_rows}); },
      [] { matrix({}); },
      [&] { matrix(null_row); },
      [] { pairs_table({{.pairs = {{}}}}); },
      [&] { verdict(statistics, {{}}); },
      [&] { summaries(statistics, {null_row}); },
      [&] { headline({no_rows}); },
      [&] { short_table(statistics, {{}}); },
      [&] { short_notes(statistics, {no_rows}); },
      [] { size_points({{}}); },
      [] { size_front({{}}); },
      [&] { worst_window(cut[0].rows[1], good[0].rows[0]); },
      [] { worst_window({}, {}); },
      [] { study_map({.bits = {4}, .layers = {{}}}); },
      [] { mean_spread({}); },
      [] {
        holm({kNan, 0.5});
      },
      [] { equivalence({}, kNan); },
      [&] { mean_accuracy(right, right[0].rows[0], 10); },
      [&] { spread_prior(variances, 0); },
      [&] { spread_prior(variances, -1e18); },
      [&] { spread_prior(negative, 2); },
      [&] { moderate(parts, negative, 3); },
      [] { merged_config({}); },
      [] { read_results({}, {}, ""); },
      [&] { sort_shards(part); },
  });
  CHECK_FALSE(mean_accuracy({}, sure, 10));
  CHECK(frontier({{.points = {{.x = kNan, .y = 1}, {.x = 1, .y = kNan}}}}, Best::lowest)
            .points.empty());
}

TEST_CASE("parts of runs, windows, texts that are none are refused") {
  ExperimentConfig no_seeds;
  no_seeds.seeds.clear();
  const std::vector<double> two{1, 2}, zeros{0, 0};
  const auto model = test::make_gpt();
  const std::vector<std::int32_t> text(20, 1);
  const std::vector<std::int32_t> ids(8, 1);
  LogitPieces unread(*model), read(*model);
  read.read({ids, 1, 8});
  RunTime time({}, {});
  check_refused({
      [&] { seeds_of(no_seeds, {}); },
      [] {
        seeds_of({}, {0, 0});
      },
      [] {
        rows_of({}, {7, 1}, 1);
      },
      [] {
        check_shard({}, {1, -1});
      },
      [] {
        shard_directory("out", {-1, -1});
      },
      [] {
        keep_shard("out", {0, 5});
      },
      [&] { window_error(two, zeros); },
      [] { read_metrics("{}", {}); },
      [&] { time.begin(1, "nope"); },
      [&] { time.end("nope", 1); },
      [&] { evaluate(*model, text, 0); },
      [&] { evaluate(*model, text, kNan); },
      [] { encoded_task(data::Tokenizer::bytes(), {}, -1); },
      [&] { unread.logits(0, 1); },
      [&] { read.logits(0, 9); },
      [&] { read.logits(-1, 1); },
      [] { divisors(0); },
      [] { divisors(std::numeric_limits<int>::max()); },
      [] { formats_with_groups(0); },
      [] { trains_again({}, 0); },
      [] {
        step_ranges(std::vector<PipelineStage>(2, {.kind = PipelineStage::Kind::train}), 1, 1);
      },
      [] { channels_left(0, 0.5, 1); },
      [] { channels_left(64, kNan, 1); },
      [] { heads_left(4, 0, 0.5, 1); },
      [] { heads_left(4, 3, 0.5, kHuge); },
      [] { rank_unit(kHuge); },
      [] {
        std::string out;
        append_utf8(out, 0x110000);
      },
  });
  // The largest cube below 2^63 is that of 2^21 - 1.
  CHECK(block_length(std::numeric_limits<std::int64_t>::max()) == (1 << 21) - 1);
  CHECK(block_length(26) == 2);
  CHECK(block_length(27) == 3);
}

TEST_CASE("configurations that no text has set are refused") {
  const auto with = [](auto change) {
    ExperimentConfig config;
    change(config);
    return config;
  };
  const toml::Table table{{.key = "name"}};
  Origins origins;
  LoadedConfig loaded;
  check_refused({
      [&] { validate(with([](ExperimentConfig& c) { c.model.n_head = 0; })); },
      [&] { calibration_windows(with([](ExperimentConfig& c) { c.model.block_size = 0; }), 5); },
      [&] { calibration_windows(with([](ExperimentConfig& c) { c.calib.windows = -1; }), 5); },
      [&] { qat_steps(with([](ExperimentConfig& c) { c.qat.fraction = 1e9; })); },
      [&] { qat_steps(with([](ExperimentConfig& c) { c.qat.fraction = kNan; })); },
      [&] { pipeline_json({}, {.pipeline = {"gptq 4"}}, {}); },
      [&] { load_config(""); },
      [&] { text_experiment(""); },
      [&] { origins.set("name", nullptr, {}); },
      [&] { read_into(loaded, table, nullptr); },
  });
  CHECK_FALSE(RunDir::replaces("", ""));
}

TEST_CASE("trainings without steps, windows or parts are refused") {
  const auto model = test::make_gpt();
  const std::vector<std::int32_t> tokens(200, 1);
  const TrainSettings possible{
      .phase = "fp32", .schedule = {.lr = 1e-3, .min_lr = 1e-4, .steps = 2}, .batch_size = 2};
  const auto begun = [&](auto change) {
    TrainSettings settings = possible;
    change(settings);
    TrainingPhase phase(settings, {.model = *model, .tokens = tokens});
  };
  TrainingPhase phase(possible, {.model = *model, .tokens = tokens});
  check_refused({
      [&] { begun([](TrainSettings& s) { s.batch_size = 0; }); },
      [&] { begun([](TrainSettings& s) { s.batch_size = kHuge; }); },
      [&] { begun([](TrainSettings& s) { s.grad_accum = 0; }); },
      [&] { begun([](TrainSettings& s) { s.schedule.lr = kNan; }); },
      [&] { begun([](TrainSettings& s) { s.step_lr = kNan; }); },
      [&] { begun([](TrainSettings& s) { s.ema = kNan; }); },
      [&] { begun([](TrainSettings& s) { s.keep_last = 0; }); },
      [&] { begun([](TrainSettings& s) { s.first_step = -1; }); },
      [&] { begun([](TrainSettings& s) { s.end_step = 3; }); },
      [&] {
        TrainingPhase none(possible, {.model = *model, .tokens = tokens, .additions = {nullptr}});
      },
      [&] { phase.remarks(); },
  });
  phase.step();
  phase.step();
  check_refused({[&] { phase.step(); }});
}

}  // namespace notch::experiments::refused_calls_test
