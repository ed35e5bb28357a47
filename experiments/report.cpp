#include "experiments/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/html_report.h"

namespace notch::experiments {
namespace {

using Get = std::function<std::optional<double>(const RowResult&)>;

/// The mean over seeds of a figure that every seed's row has, or nothing.
Cell cell_of(const std::vector<SeedResults>& seeds, const RowResult& row, const Get& get) {
  std::vector<double> values;
  for (const SeedResults& s : seeds) {
    const RowResult* r = find_row(s, row.name);
    const std::optional<double> value = r ? get(*r) : std::nullopt;
    if (value) values.push_back(*value);
  }
  if (values.empty()) return missing();
  const MeanSpread m = mean_spread(values);
  return number(m.mean, m.deviation);
}

Cell percent(const std::optional<Recovery>& r) {
  if (!r) return missing();
  return number_in(100 * r->share, 100 * r->low, 100 * r->high);
}

Get divergence(double Divergence::*member, double factor) {
  return [=](const RowResult& x) -> std::optional<double> {
    if (!x.eval.from_base) return std::nullopt;
    return factor * ((*x.eval.from_base).*member);
  };
}

/// The mean over seeds of the worst window of each.
double mean_worst_window(const std::vector<SeedResults>& seeds, const RowResult& row) {
  double sum = 0;
  for (const SeedResults& s : seeds) {
    sum += worst_window(*find_row(s, row.name), *find_row(s, "fp32"));
  }
  return sum / static_cast<double>(seeds.size());
}

std::string seed_notes(std::size_t seeds) {
  if (seeds == 1) {
    return "One seed: intervals and p-values hold for these trained models on such text; another "
           "seed\ncan order the methods differently.\n";
  }
  constexpr std::size_t kEnough = 5;
  if (seeds >= kEnough) return "";
  return str(seeds, " seeds are few: only differences of many times their spread are resolvable; ",
             kEnough, " are advised.\n");
}

std::string printed(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

Table results_table(const Statistics& statistics) {
  Table table(
      {{.key = "method", .text = true},
       {.key = "bits", .decimals = 0},
       {.key = "granularity", .text = true},
       {.key = "bits_per_weight", .title = "bits/weight", .decimals = 2},
       {.key = "coded_bits_per_weight", .title = "coded", .decimals = 2},
       {.key = "bytes", .decimals = 0},
       {.key = "loss", .decimals = 4, .spread = true},
       {.key = "loss_change",
        .title = "Δ loss [95 %]",
        .decimals = 4,
        .sign = true,
        .interval = true},
       {.key = "bits_per_byte", .title = "bits/byte", .decimals = 4},
       {.key = "perplexity", .title = "ppl", .decimals = 3},
       {.key = "perplexity_change_percent", .title = "Δ ppl %", .decimals = 2, .sign = true},
       {.key = "kl_mean", .title = "KL", .decimals = 5},
       {.key = "kl_99", .title = "KL 99%", .decimals = 4},
       {.key = "same_top_percent", .title = "same top %", .decimals = 2},
       {.key = "worst_window", .title = "worst window", .decimals = 3, .sign = true},
       {.key = "recovery_percent", .title = "R % [95 %]", .decimals = 1, .interval = true},
       {.key = "control_recovery_percent",
        .title = "R_c % [95 %]",
        .decimals = 1,
        .interval = true},
       {.key = "accuracy_percent", .title = "task %", .decimals = 1, .spread = true},
       {.key = "seconds", .decimals = 1}});
  const std::vector<SeedResults>& seeds = statistics.seeds();
  const double base_loss = statistics.loss("fp32");
  for (const RowResult& row : statistics.rows()) {
    const auto cell = [&](const Get& get) { return cell_of(seeds, row, get); };
    const auto plain = [&](const Get& get) {
      const Cell c = cell(get);
      return std::holds_alternative<Number>(c) ? number(std::get<Number>(c).value) : c;
    };
    const bool is_base = row.name == "fp32";
    const Difference change = statistics.difference(row.name, "fp32");
    const Recoveries r = statistics.recoveries(row);
    const double mean_loss = statistics.loss(row.name);
    table.add_row(
        {text(label(row)), number(row.bits),
         row.granularity.empty() ? missing() : text(row.granularity),
         number(row.size.bits_per_weight()),
         row.size.quantized > 0
             ? plain([](const RowResult& x) { return x.size.coded_bits_per_weight(); })
             : missing(),
         number(static_cast<double>(row.file_bytes)),
         cell([](const RowResult& x) { return x.eval.loss; }),
         is_base ? missing() : number_in(change.mean, change.low, change.high),
         plain([](const RowResult& x) { return x.eval.bits_per_byte; }),
         number(std::exp(mean_loss)),
         is_base ? missing() : number(100 * std::expm1(mean_loss - base_loss)),
         plain(divergence(&Divergence::kl_mean, 1)), plain(divergence(&Divergence::kl_99, 1)),
         plain(divergence(&Divergence::same_top, 100)),
         is_base ? missing() : number(mean_worst_window(seeds, row)), percent(r.from_fp32),
         percent(r.from_control), cell([](const RowResult& x) -> std::optional<double> {
           if (!x.accuracy) return std::nullopt;
           return 100 * *x.accuracy;
         }),
         plain([](const RowResult& x) { return x.seconds; })});
  }
  return table.without_empty_columns();
}

/// Where the bits are: per weight of the whole model, first seed (another seed's codes have another
/// entropy).
Table size_table(const SeedResults& seed) {
  Table table({{.key = "row", .text = true},
               {.key = "bits", .decimals = 0},
               {.key = "codes", .decimals = 3},
               {.key = "scales", .decimals = 3},
               {.key = "zero_points", .title = "zero points", .decimals = 3},
               {.key = "fp32", .decimals = 3},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 3},
               {.key = "code_entropy", .title = "entropy per code", .decimals = 3},
               {.key = "coded_per_code", .title = "coded per code", .decimals = 3},
               {.key = "coded_bits_per_weight", .title = "coded bits/weight", .decimals = 3},
               {.key = "file_bytes", .title = "file bytes", .decimals = 0}});
  for (const RowResult& r : seed.rows) {
    const quant::SizeReport& s = r.size;
    if (s.quantized == 0) continue;
    const auto per_weight = [&](std::int64_t bytes) {
      return 8 * static_cast<double>(bytes) / static_cast<double>(s.weights);
    };
    table.add_row(
        {text(label(r)), number(r.bits), number(per_weight(s.code_bytes)),
         number(per_weight(s.scale_bytes)),
         s.zero_point_bytes > 0 ? number(per_weight(s.zero_point_bytes)) : missing(),
         number(per_weight(s.float_bytes)), number(s.bits_per_weight()), number(s.code_entropy),
         number(8 * static_cast<double>(s.coded_bytes) / static_cast<double>(s.quantized)),
         number(s.coded_bits_per_weight()), number(static_cast<double>(r.file_bytes))});
  }
  return table.without_empty_columns();
}

Table gptq_table(const std::vector<SeedResults>& seeds) {
  Table table(
      {{.key = "row", .text = true},
       {.key = "bits", .decimals = 0},
       {.key = "granularity", .text = true},
       {.key = "output_error_of_rtn_pct", .title = "output error, % of rtn's", .decimals = 1},
       {.key = "condition", .title = "worst condition", .decimals = 0},
       {.key = "damp", .title = "largest damping", .decimals = 3}});
  for (const RowResult& r : seeds.front().rows) {
    if (!r.gptq.error_share) continue;
    const auto of_row = [&](std::optional<double> GptqSummary::*member, double factor) {
      return cell_of(seeds, r, [=](const RowResult& row) -> std::optional<double> {
        const std::optional<double> value = row.gptq.*member;
        return value ? std::optional(factor * *value) : std::nullopt;
      });
    };
    table.add_row({text(label(r)), number(r.bits), text(r.granularity),
                   of_row(&GptqSummary::error_share, 100), of_row(&GptqSummary::condition, 1),
                   of_row(&GptqSummary::damp, 1)});
  }
  return table;
}

namespace {

/// What no row quantizes: "wpe, norms, biases".
std::string left_in_fp32(const ExperimentConfig& config, int vocab_size) {
  nn::Gpt shapes(model_config(config, vocab_size), nn::Gpt::Values::shapes_only);
  nn::ModelView view = nn::view(shapes);
  std::set<const Param*> quantized;
  for (const RowConfig& row : planned_rows(config)) {
    if (row.bits == 0) continue;
    for (const quant::Target& t : quant::resolve(row_plan(config, row), view)) {
      quantized.insert(t.weight);
    }
  }
  std::string names;
  const auto add = [&](const auto& layer) {
    if (!quantized.contains(layer.weight)) names += layer.name + ", ";
  };
  for (const nn::Linear* l : view.linears) add(*l);
  for (const nn::Embedding* e : view.embeddings) add(*e);
  if (!view.head_is_tied()) add(*view.head);
  return names + (config.model.bias ? "norms, biases" : "norms");
}

}  // namespace

std::string table_header(const ExperimentConfig& config, const Data& data,
                         const std::vector<SeedResults>& seeds) {
  const data::CorpusInfo& c = data.source.corpus;
  const ScoredText scored = scored_text(config, data);
  std::ostringstream out;
  out << config.name << ": " << c.name << " (" << c.bytes << " bytes, sha256 "
      << c.sha256.substr(0, 12) << "), " << config.data.tokenizer << " tokens, context "
      << config.model.block_size << ", " << scored.tokens.size() - 1 << ' ' << scored.name
      << " tokens scored; " << seeds.front().rows.front().size.weights << " parameters; "
      << seeds.size() << (seeds.size() == 1 ? " seed" : " seeds");
  std::set<std::string> grids;
  for (const RowResult& r : seeds.front().rows) {
    if (!r.grid.empty()) grids.insert(str("int", r.bits, ' ', r.grid));
  }
  for (const std::string& g : grids) out << (g == *grids.begin() ? "; grids: " : ", ") << g;
  if (!grids.empty()) {
    out << ", scales " << config.quant.scale << ", token table " << config.quant.embedding
        << ", in fp32: " << left_in_fp32(config, data.source.tokenizer.vocab_size())
        << "; calibration: " << config.calib.windows << " windows "
        << (config.calib.source == "self" ? "written by the model" : "of the training split");
  }
  out << '\n';
  return out.str();
}

std::string column_notes(const std::vector<SeedResults>& seeds) {
  return str(
      "Every row was scored once, from the file it wrote, after all training; no checkpoint was "
      "picked by\n"
      "its score. bits/weight counts the whole model: codes, scales, zero points and what stays in "
      "fp32;\n"
      "coded: the same with entropy-coded codes (`notch export --format coded`).\n"
      "+- is the standard deviation over seeds. [ ]: 95 % interval of the paired difference, over "
      "seeds and\n"
      "blocks of windows, with Student's t for as few as there are of either. KL(fp32 || row), "
      "nats;\n"
      "worst window: the largest change of one window's mean loss. R: share of round-to-nearest's "
      "loss (the\n"
      "better of rtn and rtn-mse) taken back, against fp32; R_c: the same against the control. "
      "Distilled\n"
      "rows (-kd) are judged by R, other trained rows by R_c; \"-\" where the interval of what "
      "rounding costs\n"
      "includes 0.\n",
      seed_notes(seeds.size()));
}

std::string budget_notes(const ExperimentConfig& config, const std::vector<SeedResults>& seeds) {
  const auto tokens = [&](const TrainSettings& s) {
    return s.schedule.steps * s.batch_size * s.grad_accum * config.model.block_size;
  };
  std::ostringstream out;
  const bool forks = std::ranges::any_of(seeds.front().rows, &RowResult::trained);
  const std::int64_t extra = tokens(fork_settings(config, 0, ""));
  out << "Equal tokens: fp32 saw " << tokens(base_settings(config, 0)) << " training tokens";
  if (forks) {
    out << "; the control, rows of the control\nand trained rows saw " << extra
        << " more, in the same order: compare these with one another";
  }
  out << ".\nEqual compute is another question: seconds per row, mean over widths and seeds: ";
  std::vector<std::string> methods;
  for (const RowResult& r : seeds.front().rows) {
    if (std::ranges::find(methods, r.method) == methods.end()) methods.push_back(r.method);
  }
  const auto seconds = [&](std::string_view method) {
    double sum = 0, n = 0;
    for (const SeedResults& s : seeds) {
      for (const RowResult& r : s.rows) {
        if (r.method != method) continue;
        sum += r.seconds;
        ++n;
      }
    }
    return n > 0 ? sum / n : 0;
  };
  const double control = seconds("fp32-continue");
  for (const std::string& m : methods) {
    const RowResult& first = *std::ranges::find(seeds.front().rows, m, &RowResult::method);
    out << (m == methods.front() ? "" : ", ") << m << ' ' << printed("%.1f", seconds(m));
    if (first.trained && control > 0 && m != "fp32-continue") {
      out << " (" << printed("%.2f", seconds(m) / control) << " x the control)";
    }
  }
  out << ".\n";
  return out.str();
}

Report::Report(const ExperimentConfig& config, const Data& data,
               const std::vector<SeedResults>& seeds)
    : config_(config),
      seeds_(seeds),
      statistics_(seeds),
      rankings_(experiments::rankings(statistics_)),
      table_(results_table(statistics_)),
      header_(table_header(config, data, seeds)),
      verdict_(experiments::verdict(statistics_, rankings_)) {}

namespace {

constexpr std::string_view kMatrixNotes =
    "Above the diagonal: nats by which the row beats the column (* where p < 0.05); below it: the "
    "p-value, Holm-corrected over all pairs of the width.\n";

std::string equivalence_notes() {
  return str("Two one-sided tests with a margin of ", kEquivalent,
             " nats and the 90 % interval; p is the larger of the two.\n");
}

}  // namespace

std::string Report::screen() const {
  std::ostringstream out;
  const auto show = [&](const Table& t) { out << render(t, TableFormat::screen) << '\n'; };
  out << header_ << '\n';
  show(table_);
  out << column_notes(seeds_) << '\n' << budget_notes(config_, seeds_) << '\n';
  if (!rankings_.empty()) out << "Who beats whom. " << kMatrixNotes << '\n';
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
                  .figures = {loss_figure(statistics_)},
                  .table = table_,
                  .column_notes = column_notes(seeds_) + budget_notes(config_, seeds_),
                  .config = to_toml(config_),
                  .hash = results_hash(seeds_)};
  if (!rankings_.empty()) {
    ReportSection who{.title = "Who beats whom", .notes = std::string(kMatrixNotes)};
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
         .notes = "Bits per weight of the whole model, part by part, and of a code: its order-0 "
                  "entropy, and what `notch export --format coded` takes for it with its tables. "
                  "Seed " +
                  std::to_string(seeds_.front().seed) + ".\n",
         .tables = {std::move(size)}});
  }
  if (Table gptq = gptq_table(seeds_); !gptq.rows().empty()) {
    page.sections.push_back({.title = "GPTQ",
                             .notes = "What is left of round-to-nearest's output error on the "
                                      "calibration text; every layer is in metrics.jsonl.\n",
                             .tables = {std::move(gptq)}});
  }
  std::string markdown =
      str("# ", config_.name, "\n\n", header_, '\n', render(table_, TableFormat::markdown), '\n',
          page.column_notes, "\n## Verdict\n\n", verdict_, '\n');
  for (const ReportSection& s : page.sections) {
    markdown += str("## ", s.title, "\n\n", s.notes, '\n');
    for (const Table& t : s.tables) markdown += render(t, TableFormat::markdown) + "\n";
  }
  write_file(dir / "results.md", markdown + "hash " + page.hash + "\n");
  write_file(dir / "results.svg", svg_of(page.figures.front().plot));
  const fs::path metrics = dir / "metrics.jsonl", environment = dir / "env.json";
  if (fs::exists(metrics)) {
    const std::string lines = read_file(metrics);
    for (Figure& f : curve_figures(lines, seeds_)) page.figures.push_back(std::move(f));
    page.diagnostics = diagnostic_figures(lines, seeds_);
  }
  if (fs::exists(environment)) {
    page.environment = Json::parse(read_file(environment), environment.string());
  }
  write_file(dir / "report.html", html_page(page));
}

}  // namespace notch::experiments
