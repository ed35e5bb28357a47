#include "experiments/report/report.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/config/config_effects.h"
#include "experiments/report/fronts.h"
#include "experiments/report/page_contents.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/metrics.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/run_dir.h"
#include "experiments/show/roofline.h"

namespace notch::experiments {
namespace {

constexpr std::string_view kOneSeed =
    "One seed: intervals and p-values hold for these trained models on such text; another seed can "
    "order the methods differently.\n";

std::string seed_notes(std::size_t seeds) {
  if (seeds == 1) return std::string(kOneSeed);
  constexpr std::size_t kEnough = 5;
  if (seeds >= kEnough) return "";
  return str(seeds, " seeds are few: only differences of many times their spread are resolvable; ",
             kEnough, " are advised.\n");
}

/// The directory that fp32 began as, and a sentence about it; nothing for a model of the run's own.
std::string start_of(const ExperimentConfig& config) {
  return fs::path(config.model.from).filename().string();
}
std::string started(const ExperimentConfig& config) {
  return config.model.from.empty() ? "" : str("Starting from ", start_of(config), ". ");
}

/// What no row quantizes: "wpe, norms, biases".
std::string left_in_fp32(const ExperimentConfig& config, int vocab_size) {
  const auto shapes = make_model(config, vocab_size, nn::Model::Values::shapes_only);
  std::set<const Param*> quantized;
  for (const RowConfig& row : planned_rows(config)) {
    if (row.bits == 0) continue;
    for (const quant::Target& t : quant::resolve(row_plan(config, row), *shapes)) {
      quantized.insert(t.weight);
    }
  }
  std::string names;
  const auto add = [&](const auto& layer) {
    if (!quantized.contains(layer.weight)) names += layer.name + ", ";
  };
  for (const nn::Linear* l : shapes->linears()) add(*l);
  for (const nn::Embedding* e : shapes->embeddings()) add(*e);
  if (!shapes->head_is_tied()) add(shapes->head());
  return names + (config.model.bias ? "norms, biases" : "norms");
}

/// Names as words of Markdown: no cell, tag or entity begins in them.
std::string as_words(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      if (c == '|') out += '\\';
      out += c == '\n' ? ' ' : c;
    }
  }
  return out;
}

}  // namespace

std::string table_header(const ExperimentConfig& config, const Data& data,
                         const std::vector<SeedResults>& seeds) {
  const SeedResults& first = first_seed(seeds, "table header");
  const data::CorpusInfo& c = data.source.corpus;
  const ScoredText scored = scored_text(config, data);
  std::ostringstream out;
  out << config.name << ": ";
  if (!config.model.from.empty()) {
    out << "starting from " << start_of(config) << " (sha256 " << data.model_sha256.substr(0, 12)
        << (data.model_stored.empty()
                ? ""
                : str(", stored as ", data.model_stored, ", kept here in 32 bits"))
        << "), ";
  }
  if (!config.distill.teacher.empty()) {
    out << "taught by " << fs::path(config.distill.teacher).filename().string() << " (sha256 "
        << data.teacher_sha256.substr(0, 12) << "), ";
  }
  out << c.name << " (" << c.bytes << " bytes, sha256 " << c.sha256.substr(0, 12) << "), "
      << config.data.tokenizer << " tokens, context " << config.model.block_size << ", "
      << scored.tokens.size() - 1 << ' ' << scored.name << " tokens scored; "
      << first.rows.front().size.weights << " parameters; " << seeds.size()
      << (seeds.size() == 1 ? " seed" : " seeds");
  std::set<std::string> grids;
  for (const RowResult& r : first.rows) {
    if (!r.grid.empty()) grids.insert(str("int", r.bits, ' ', r.grid));
  }
  for (const std::string& g : grids) out << (g == *grids.begin() ? "; grids: " : ", ") << g;
  if (!grids.empty()) {
    out << ", scales " << config.quant.scale << ", token table " << config.quant.embedding
        << ", in fp32: " << left_in_fp32(config, data.source.tokenizer.vocab_size());
  }
  if (std::ranges::any_of(uses_of(config).rows, &Uses::Row::calibrates)) {
    out << "; calibration: " << calibration_windows(config, data.source.tokens.train.size())
        << " windows "
        << (config.calib.source == "self" ? "written by the model" : "of the training split");
  }
  if (config.train.products == "portable") out << "; portable products";
  out << '\n';
  return out.str();
}

std::string column_notes(const Table& table, const std::vector<SeedResults>& seeds) {
  const std::vector<Column> columns = table.without_empty_columns().columns();
  const auto has = [&](std::string_view key) {
    return std::ranges::find(columns, key, &Column::key) != columns.end();
  };
  std::string out =
      "Every row was scored once, from the file it wrote, after all training; no checkpoint was "
      "picked by\nits score.\n"
      "bits/weight counts the whole model: codes, scales, zero points and what stays in fp32.\n";
  const auto explain = [&](bool shown, std::string_view term) {
    if (shown) out += str(term, '\n');
  };
  explain(has("coded_bits_per_weight"),
          "coded: the same with entropy-coded codes (`notch export --format coded`).");
  explain(seeds.size() > 1, "+- is the standard deviation over seeds.");
  explain(has("loss_change"),
          seeds.size() > 1 ? "[ ]: 95 % interval of the paired difference, over seeds and blocks "
                             "of windows, with Student's t for as few\nas there are of either."
                           : "[ ]: 95 % interval of the paired difference, over blocks of windows, "
                             "with Student's t for as few as there are.");
  explain(has("kl_mean"), "KL(fp32 || row), nats.");
  explain(has("worst_window"), "worst window: the largest change of one whole window's mean loss.");
  const bool from_fp32 = has("recovery_percent"), from_control = has("control_recovery_percent");
  if (from_fp32 || from_control) {
    out += str(from_fp32 ? "R" : "R_c",
               ": share of round-to-nearest's loss (of the best rtn row) taken back, "
               "against ",
               from_fp32 ? "fp32" : "the row's control",
               "; \"-\"\nwhere the interval of what rounding costs includes 0.\n");
  }
  explain(from_fp32 && from_control,
          "R_c: the same against the row's control. Rows that saw more text than fp32 and learned "
          "from its labels\nare judged by R_c, others by R.");
  return out + seed_notes(seeds.size());
}

std::string budget_notes(const ExperimentConfig& config, const std::vector<SeedResults>& seeds) {
  const auto tokens = [&](const TrainSettings& s) {
    return s.schedule.steps * s.batch_size * s.grad_accum * config.model.block_size;
  };
  std::ostringstream out;
  const std::vector<RowResult>& rows = first_seed(seeds, "budget").rows;
  const auto from_scratch = [](const RowResult& r) { return r.trained && r.control == kBaseRow; };
  const bool forks =
      std::ranges::any_of(rows, [&](const RowResult& r) { return r.trained && !from_scratch(r); });
  const std::int64_t extra = tokens(fork_settings(config, 0, ""));
  const std::int64_t base = tokens(base_settings(config, 0));
  if (config.model.from.empty()) {
    out << "Equal tokens: fp32 saw " << base << " training tokens";
  } else {
    out << "Equal tokens: fp32 is " << start_of(config);
    out << (base == 0 ? " as it is" : str(", trained on ", base, " tokens of the text"));
  }
  if (std::ranges::any_of(rows, from_scratch)) out << ", rows from scratch the same";
  if (forks) {
    std::vector<std::string> saw_more;
    const auto name = [&](const char* what, const auto& is) {
      if (std::ranges::any_of(rows, is)) saw_more.emplace_back(what);
    };
    const auto is_control = [](const RowResult& r) { return r.name.starts_with(kControlRow); };
    name("the control", is_control);
    name("rows of the control", &RowResult::on_control);
    name("trained rows",
         [&](const RowResult& r) { return r.trained && !is_control(r) && !from_scratch(r); });
    out << ";\n"
        << and_list(saw_more) << " saw " << extra << " more, in the same order"
        << (saw_more.size() > 1 ? ": compare these with one another" : "");
  }
  out << ".\nEqual compute is another question: seconds per row, mean over widths and seeds: ";
  std::vector<std::string> methods;
  for (const RowResult& r : rows) {
    if (std::ranges::find(methods, shown_method(r)) == methods.end())
      methods.push_back(shown_method(r));
  }
  for (const std::string& m : methods) {
    double sum = 0, n = 0, forked = 0, of_controls = 0;
    for (const SeedResults& s : seeds) {
      for (const RowResult& r : s.rows) {
        if (shown_method(r) != m) continue;
        sum += r.seconds;
        ++n;
        // A row that aims at fp32 took as many steps as any control.
        const RowResult* control = find_row(s, r.control.empty() ? kControlRow : r.control);
        if (!control || r.granularity.empty() || from_scratch(r)) continue;
        forked += r.seconds;
        of_controls += control->seconds;
      }
    }
    const RowResult& first = *std::ranges::find(rows, m, shown_method);
    out << (m == methods.front() ? "" : ", ") << m << ' ' << printed("%.1f", sum / n);
    if (first.trained && of_controls > 0) {
      out << " (" << printed("%.2f", forked / of_controls) << " x the control)";
    }
  }
  out << ".\n" << build_notes(seeds);
  return out.str();
}

Report::Report(const ExperimentConfig& config, const Data& data,
               const std::vector<SeedResults>& seeds)
    : config_(config),
      seeds_(seeds),
      questions_(data.task.size()),
      statistics_(seeds),
      rankings_(experiments::rankings(statistics_)),
      widths_(summaries(statistics_, rankings_)),
      table_(results_table(statistics_)),
      header_(table_header(config, data, seeds)),
      verdict_(experiments::verdict(statistics_, rankings_)) {}

namespace {

std::string matrix_notes() {
  return str(
      "Above the diagonal: nats by which the row beats the column (* where p < 0.05); below it: "
      "the p-value, Holm-corrected over all pairs of the width; with bytes where those of a width "
      "differ by more than ",
      100 * kSameBytes,
      " %. What seeds vary is judged from all pairs together, on the scale of what rounding costs "
      "the two rows.\n");
}

/// A report is the same wherever its run lies.
ExperimentConfig without_place(ExperimentConfig config) {
  config.out.clear();
  return config;
}

std::string equivalence_notes() {
  return str("Two one-sided tests with a margin of ", kEquivalent,
             " nats and the 90 % interval; p is the larger of the two.\n");
}

}  // namespace

std::string Report::screen(int characters) const {
  const auto lines = [&](std::string_view words) { return wrapped(words, characters); };
  std::string out;
  if (!widths_.empty()) out += lines(started(config_) + headline(widths_)) + "\n";
  out += fitted_screen(short_table(statistics_, widths_), characters) + "\n";
  out += lines(short_notes(statistics_, widths_));
  if (seeds_.size() == 1) out += lines(kOneSeed);
  if (const std::string builds = build_notes(seeds_); !builds.empty()) out += "\n" + lines(builds);
  return out;
}

std::string Report::wide_screen() const {
  std::ostringstream out;
  const auto show = [&](const Table& t) { out << render(t, TableFormat::screen) << '\n'; };
  out << header_ << '\n';
  show(table_);
  out << column_notes(table_, seeds_) << '\n' << budget_notes(config_, seeds_) << '\n';
  if (!rankings_.empty()) out << "Who beats whom. " << matrix_notes() << '\n';
  for (const WidthRanking& w : rankings_) show(matrix(w));
  if (const Table equal = equivalence_table(statistics_); !equal.rows().empty()) {
    out << "Equivalence. " << equivalence_notes() << '\n';
    show(equal);
  }
  out << verdict_;
  return out.str();
}

void Report::write(const std::filesystem::path& dir) const {
  write_file(dir / "results.csv", render(table_, TableFormat::csv));
  write_file(dir / "results.jsonl", render(table_, TableFormat::json_lines));
  write_file(dir / "pairs.csv", render(pairs_table(rankings_), TableFormat::csv));
  ReportPage page{.title = config_.name,
                  .header = header_,
                  .verdict = verdict_,
                  .fronts = {loss_figure(statistics_)},
                  .table = table_,
                  .column_notes = column_notes(table_, seeds_) + budget_notes(config_, seeds_),
                  .samples = page_samples(seeds_.front(), widths_),
                  .limits = limits(config_, statistics_),
                  .config = to_toml(without_place(config_)),
                  .hash = results_hash(seeds_)};
  const fs::path metrics = dir / kMetricsFile, environment = dir / "env.json";
  const std::string lines = fs::exists(metrics) ? read_file(metrics) : "";
  if (fs::exists(dir / kResolvedConfig)) {  // a report of chosen rows has no curves
    const std::string lost = rows_without_curve(config_, seeds_, lines);
    if (!lost.empty())
      page.column_notes += str("No curve, since metrics.jsonl has no line of it: ", lost, ".\n");
  }
  if (Figure accuracy = accuracy_figure(statistics_, questions_); !accuracy.plot.series.empty()) {
    page.fronts.push_back(std::move(accuracy));
  }
  if (!rankings_.empty()) {
    ReportSection who{.title = "Who beats whom", .notes = matrix_notes()};
    for (const WidthRanking& w : rankings_) who.tables.push_back(matrix(w));
    page.sections.push_back(std::move(who));
  }
  if (Table equal = equivalence_table(statistics_); !equal.rows().empty()) {
    page.sections.push_back(
        {.title = "Equivalence", .notes = equivalence_notes(), .tables = {std::move(equal)}});
  }
  if (Table size = size_table(seeds_.front()); !size.rows().empty()) {
    page.sections.push_back(
        {.title = "Size",
         .notes =
             "Bits per weight of the whole model, part by part (levels: lists and codebooks of "
             "the matrices' own; beside: products in floating point and factors of inputs), and "
             "of a code: its order-0 entropy, and what `notch export --format coded` takes for "
             "it with its tables. "
             "Seed " +
             std::to_string(seeds_.front().seed) + ".\n",
         .tables = {std::move(size)}});
  }
  if (Table figures = figures_table(seeds_); !figures.rows().empty()) {
    page.sections.push_back({.title = "What methods minimise",
                             .notes = "What is left of round-to-nearest's error in the measure "
                                      "that a method minimises, output errors on the calibration "
                                      "text; every layer is in metrics.jsonl.\n",
                             .tables = {std::move(figures)}});
  }
  const Table brief = short_table(statistics_, widths_);
  if (!widths_.empty()) {
    page.headline = started(config_) + headline(widths_);
    page.brief = brief;
  }
  page.brief_notes = short_notes(statistics_, widths_);
  std::string markdown =
      str("# ", as_words(config_.name), "\n\n",
          widths_.empty() ? "" : as_words(started(config_)) + headline(widths_) + "\n\n",
          render(brief, TableFormat::markdown), '\n', page.brief_notes, "\n\n## All rows\n\n",
          as_words(header_.substr(0, header_.size() - 1)), "\n\n",
          render(table_, TableFormat::markdown), '\n', page.column_notes, "\n## Verdict\n\n",
          verdict_, '\n');
  for (const ReportSection& s : page.sections) {
    markdown += str("## ", s.title, "\n\n", s.notes, '\n');
    for (const Table& t : s.tables) markdown += render(t, TableFormat::markdown) + "\n";
  }
  write_file(dir / "results.md", markdown + "hash " + page.hash + "\n");
  write_file(dir / "results.svg", svg::file_of(svg_of(page.fronts.front().plot)));
  if (!lines.empty()) {
    for (Figure& f : curve_figures(lines, seeds_)) page.figures.push_back(std::move(f));
    page.diagnostics = diagnostic_figures(lines, seeds_);
    page.layers = diagnostic_maps(lines, seeds_);
  }
  const fs::path study = dir / seed_name(seeds_.front().seed) / kLayerStudy;
  if (fs::exists(study)) {
    const ModelStudy found =
        study_from_json(Json::parse(read_file(study), study.string()), study.string());
    if (!found.layers.empty()) {
      page.layers.insert(page.layers.begin(), study_map(found));
      page.weights = study_weights(found);
      page.weight_bits = std::clamp(found.bits.back(), kStudyLowest, kStudyHighest);
    }
  }
  if (const fs::path file = dir / kRoofline; fs::exists(file)) {
    page.roofline = roofline_svg(
        roofline_from_json(Json::parse(read_file(file), file.string()), file.string()));
  }
  if (fs::exists(environment)) {
    page.environment = Json::parse(read_file(environment), environment.string());
  }
  write_file(dir / "report.html", html_page(page));
}

}  // namespace notch::experiments
