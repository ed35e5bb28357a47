#include "experiments/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <set>
#include <sstream>

#include "autograd/base/files.h"
#include "experiments/html_report.h"
#include "experiments/statistics.h"

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

Cell percent(const std::optional<MeanSpread>& share) {
  if (!share) return missing();
  return number(100 * share->mean, share->deviation < 0 ? -1 : 100 * share->deviation);
}

std::string method_text(const RowResult& row) {
  return row.on_control ? row.method + " of control" : row.method;
}

std::string signed_nats(const Difference& d) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4) << std::showpos << d.mean << std::noshowpos << " ± "
      << d.standard_error;
  return out.str();
}

/// Rows of one width and granularity, best first. The order of the first seed decides nothing:
/// means do.
std::vector<const RowResult*> ranked(const std::vector<SeedResults>& seeds, int bits,
                                     const std::string& granularity) {
  std::vector<std::pair<double, const RowResult*>> rows;
  for (const RowResult& r : seeds.front().rows) {
    if (r.bits != bits || r.granularity != granularity) continue;
    double loss = 0;
    for (const SeedResults& s : seeds) loss += find_row(s, r.name)->eval.loss;
    rows.emplace_back(loss, &r);
  }
  std::ranges::stable_sort(rows, {}, &std::pair<double, const RowResult*>::first);
  std::vector<const RowResult*> out;
  for (const auto& [loss, row] : rows) out.push_back(row);
  return out;
}

void width_verdict(std::ostringstream& out, const std::vector<SeedResults>& seeds,
                   const std::vector<const RowResult*>& rows, bool has_control) {
  const RowResult& best = *rows.front();
  const Difference cost = paired_difference(seeds, best.name, "fp32");
  out << "int" << best.bits << ' ' << best.granularity << ": " << method_text(best)
      << " has the lowest loss, " << signed_nats(cost) << " nats from fp32";
  if (best.trained && has_control) {
    out << " and " << signed_nats(paired_difference(seeds, best.name, "fp32-continue"))
        << " from the control";
  }
  out << ". ";
  std::string tied;
  const RowResult* behind = nullptr;
  for (std::size_t i = 1; i < rows.size() && !behind; ++i) {
    if (paired_difference(seeds, rows[i]->name, best.name).resolved()) {
      behind = rows[i];
    } else {
      tied += (tied.empty() ? "" : ", ") + method_text(*rows[i]);
    }
  }
  if (!tied.empty()) out << "Not distinguishable from it: " << tied << ". ";
  if (behind) {
    out << "Ahead of " << method_text(*behind) << " by "
        << signed_nats(paired_difference(seeds, behind->name, best.name)) << '.';
  } else if (rows.size() > 1) {
    out << "No row is clearly behind it: at this width the text is too short to name a winner.";
  }
  out << '\n';
}

}  // namespace

Table results_table(const std::vector<SeedResults>& seeds) {
  Table table(
      {{.key = "method", .text = true},
       {.key = "bits", .decimals = 0},
       {.key = "granularity", .text = true},
       {.key = "bits_per_weight", .title = "bits/weight", .decimals = 2},
       {.key = "bytes", .decimals = 0},
       {.key = "val_loss", .title = "val loss", .decimals = 4, .spread = true},
       {.key = "loss_change", .title = "Δ loss ± se", .decimals = 4, .sign = true, .spread = true},
       {.key = "bits_per_byte", .title = "bits/byte", .decimals = 4},
       {.key = "perplexity", .title = "ppl", .decimals = 3},
       {.key = "perplexity_change_percent", .title = "Δ ppl %", .decimals = 2, .sign = true},
       {.key = "kl_mean", .title = "KL", .decimals = 5},
       {.key = "kl_99", .title = "KL 99%", .decimals = 4},
       {.key = "same_top_percent", .title = "same top %", .decimals = 2},
       {.key = "recovery_percent", .title = "R %", .decimals = 1, .spread = true},
       {.key = "control_recovery_percent", .title = "R_c %", .decimals = 1, .spread = true},
       {.key = "accuracy_percent", .title = "task %", .decimals = 1, .spread = true},
       {.key = "seconds", .decimals = 1}});
  const double base_loss = [&] {
    std::vector<double> losses;
    for (const SeedResults& s : seeds) losses.push_back(find_row(s, "fp32")->eval.loss);
    return mean_spread(losses).mean;
  }();
  for (const RowResult& row : seeds.front().rows) {
    const auto cell = [&](const Get& get) { return cell_of(seeds, row, get); };
    const auto plain = [&](const Get& get) {
      const Cell c = cell(get);
      return std::holds_alternative<Number>(c) ? number(std::get<Number>(c).value) : c;
    };
    const bool is_base = row.name == "fp32";
    const Difference change = paired_difference(seeds, row.name, "fp32");
    const Recoveries r = recoveries(seeds, row);
    const auto divergence = [](double Divergence::*member, double factor) -> Get {
      return [=](const RowResult& x) -> std::optional<double> {
        if (!x.eval.from_base) return std::nullopt;
        return factor * ((*x.eval.from_base).*member);
      };
    };
    const Cell loss = cell([](const RowResult& x) { return x.eval.loss; });
    const double mean_loss = std::get<Number>(loss).value;
    table.add_row({text(method_text(row)), number(row.bits),
                   row.granularity.empty() ? missing() : text(row.granularity),
                   number(row.size.bits_per_weight()), number(static_cast<double>(row.file_bytes)),
                   loss, is_base ? missing() : number(change.mean, change.standard_error),
                   plain([](const RowResult& x) { return x.eval.bits_per_byte; }),
                   number(std::exp(mean_loss)),
                   is_base ? missing() : number(100 * std::expm1(mean_loss - base_loss)),
                   plain(divergence(&Divergence::kl_mean, 1)),
                   plain(divergence(&Divergence::kl_99, 1)),
                   plain(divergence(&Divergence::same_top, 100)), percent(r.from_fp32),
                   percent(r.from_control), cell([](const RowResult& x) -> std::optional<double> {
                     if (!x.accuracy) return std::nullopt;
                     return 100 * *x.accuracy;
                   }),
                   plain([](const RowResult& x) { return x.seconds; })});
  }
  return table.without_empty_columns();
}

std::string verdict(const std::vector<SeedResults>& seeds) {
  std::ostringstream out;
  const bool has_control = find_row(seeds.front(), "fp32-continue") != nullptr;
  if (has_control) {
    const Difference gain = paired_difference(seeds, "fp32-continue", "fp32");
    out << "Control: the extra steps alone change fp32 by " << signed_nats(gain) << " nats"
        << (gain.resolved() ? "; trained rows are to be read against it.\n"
                            : ", which is not distinguishable from nothing.\n");
  }
  std::vector<std::pair<int, std::string>> widths;
  for (const RowResult& r : seeds.front().rows) {
    const std::pair<int, std::string> width{r.bits, r.granularity};
    if (!r.granularity.empty() && std::ranges::find(widths, width) == widths.end()) {
      widths.push_back(width);
    }
  }
  for (const auto& [bits, granularity] : widths) {
    width_verdict(out, seeds, ranked(seeds, bits, granularity), has_control);
  }
  return out.str();
}

std::string table_header(const ExperimentConfig& config, const Data& data,
                         const std::vector<SeedResults>& seeds) {
  const data::CorpusInfo& c = data.source.corpus;
  std::ostringstream out;
  out << config.name << ": " << c.name << " (" << c.bytes << " bytes, sha256 "
      << c.sha256.substr(0, 12) << "), " << config.data.tokenizer << " tokens, context "
      << config.model.block_size << ", " << data.source.tokens.val.size() - 1
      << " validation tokens scored; " << seeds.front().rows.front().size.weights << " parameters; "
      << seeds.size() << (seeds.size() == 1 ? " seed" : " seeds");
  std::set<std::string> grids;
  for (const RowResult& r : seeds.front().rows) {
    if (!r.grid.empty()) grids.insert(str("int", r.bits, ' ', r.grid));
  }
  for (const std::string& g : grids) out << (g == *grids.begin() ? "; grids: " : ", ") << g;
  if (!grids.empty()) {
    out << ", scales " << config.quant.scale << ", token table " << config.quant.embedding
        << "; calibration: " << config.calib.windows << " windows of the training split";
  }
  out << '\n';
  return out.str();
}

std::string column_notes() {
  return str(
      "Every row was scored from the file it wrote. bits/weight counts the whole model: codes, "
      "scales,\n"
      "zero points and what stays in fp32. +- is the standard deviation over seeds; Δ loss +- se "
      "is\n"
      "paired over windows. KL(fp32 || row), nats. R: share of round-to-nearest's loss (the better "
      "of\n"
      "rtn and rtn-mse) taken back, against fp32; R_c: the same against the control. Distilled "
      "rows (-kd)\n"
      "are judged by R, other trained rows by R_c; no share is given where rounding costs less "
      "than\n",
      kEquivalent, " nats or no more than its error.\n");
}

void write_results(const fs::path& dir, const ExperimentConfig& config, const Data& data,
                   const std::vector<SeedResults>& seeds) {
  const Table table = results_table(seeds);
  write_file(dir / "results.csv", render(table, TableFormat::csv));
  write_file(dir / "results.jsonl", render(table, TableFormat::json_lines));
  write_file(dir / "results.md",
             str("# ", config.name, "\n\n", table_header(config, data, seeds), '\n',
                 render(table, TableFormat::markdown), '\n', column_notes(), "\n## Verdict\n\n",
                 verdict(seeds), "\nhash ", results_hash(seeds), '\n'));
  ReportPage page{.title = config.name,
                  .header = table_header(config, data, seeds),
                  .verdict = verdict(seeds),
                  .figures = {loss_figure(seeds)},
                  .table = table,
                  .column_notes = column_notes(),
                  .config = to_toml(config),
                  .hash = results_hash(seeds)};
  write_file(dir / "results.svg", svg_of(page.figures.front().plot));
  const fs::path metrics = dir / "metrics.jsonl", environment = dir / "env.json";
  if (fs::exists(metrics)) {
    for (Figure& f : curve_figures(read_file(metrics), seeds)) page.figures.push_back(std::move(f));
  }
  if (fs::exists(environment)) {
    page.environment = Json::parse(read_file(environment), environment.string());
  }
  write_file(dir / "report.html", html_page(page));
}

}  // namespace notch::experiments
