// The tables of a report.
#include <algorithm>
#include <cmath>
#include <functional>

#include "experiments/report/report.h"
#include "quant/methods/methods.h"

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
    sum += worst_window(*find_row(s, row.name), *find_row(s, kBaseRow));
  }
  return sum / static_cast<double>(seeds.size());
}

/// What a row is compared with, where that is not one row for all of the table.
Cell control_cell(const SeedResults& seed, const RowResult& row) {
  if (row.control.empty()) return missing();
  const bool one = std::ranges::all_of(seed.rows, [&](const RowResult& r) {
    return r.unlike_control.empty() && (r.control.empty() || r.control == kControlRow);
  });
  if (one) return missing();
  const std::string title = row.control == kBaseRow ? row.control : control_title(row.control);
  return text(str(title, row.unlike_control.empty() ? "" : " without ", row.unlike_control));
}

}  // namespace

Table results_table(const Statistics& statistics) {
  Table table(
      {{.key = "method", .text = true},
       {.key = "bits", .decimals = 0},
       {.key = "granularity", .text = true},
       {.key = "control", .text = true},
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
  const double base_loss = statistics.loss(kBaseRow);
  for (const RowResult& row : statistics.rows()) {
    const auto cell = [&](const Get& get) { return cell_of(seeds, row, get); };
    const auto plain = [&](const Get& get) {
      const Cell c = cell(get);
      return std::holds_alternative<Number>(c) ? number(std::get<Number>(c).value) : c;
    };
    const bool is_base = row.name == kBaseRow;
    const Difference change = statistics.difference(row.name, kBaseRow);
    const Recoveries r = statistics.recoveries(row);
    const double mean_loss = statistics.loss(row.name);
    table.add_row({text(label(row)),
                   number(row.bits),
                   row.granularity.empty() ? missing() : text(row.granularity),
                   control_cell(seeds.front(), row),
                   plain([](const RowResult& x) { return x.size.bits_per_weight(); }),
                   row.size.quantized > 0
                       ? plain([](const RowResult& x) { return x.size.coded_bits_per_weight(); })
                       : missing(),
                   plain([](const RowResult& x) { return static_cast<double>(x.file_bytes); }),
                   cell([](const RowResult& x) { return x.eval.loss; }),
                   is_base ? missing() : number_in(change.mean, change.low, change.high),
                   plain([](const RowResult& x) { return x.eval.bits_per_byte; }),
                   number(std::exp(mean_loss)),
                   is_base ? missing() : number(100 * std::expm1(mean_loss - base_loss)),
                   plain(divergence(&Divergence::kl_mean, 1)),
                   plain(divergence(&Divergence::kl_99, 1)),
                   plain(divergence(&Divergence::same_top, 100)),
                   is_base ? missing() : number(mean_worst_window(seeds, row)),
                   percent(r.from_fp32),
                   percent(r.from_control),
                   cell([](const RowResult& x) -> std::optional<double> {
                     if (!x.accuracy) return std::nullopt;
                     return 100 * *x.accuracy;
                   }),
                   plain([](const RowResult& x) { return x.seconds; })});
  }
  return table;
}

/// Where the bits are: per weight of the whole model, first seed (another seed's codes have another
/// entropy).
Table size_table(const SeedResults& seed) {
  Table table({{.key = "row", .text = true},
               {.key = "bits", .decimals = 0},
               {.key = "codes", .decimals = 3},
               {.key = "scales", .decimals = 3},
               {.key = "levels", .decimals = 3},
               {.key = "zero_points", .title = "zero points", .decimals = 3},
               {.key = "masks", .decimals = 3},
               {.key = "side_products", .title = "beside", .decimals = 3},
               {.key = "rest", .decimals = 3},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 3},
               {.key = "code_entropy", .title = "entropy per code", .decimals = 3},
               {.key = "coded_per_code", .title = "coded per code", .decimals = 3},
               {.key = "coded_bits_per_weight", .title = "coded bits/weight", .decimals = 3},
               {.key = "file_bytes", .title = "file bytes", .decimals = 0}});
  for (const RowResult& r : seed.rows) {
    const quant::SizeReport& s = r.size;
    if (s.quantized == 0) continue;
    const auto per_weight = [&](std::int64_t bytes) {
      return number(8 * static_cast<double>(bytes) / static_cast<double>(s.weights));
    };
    const auto if_any = [&](std::int64_t bytes) {
      return bytes > 0 ? per_weight(bytes) : missing();
    };
    table.add_row(
        {text(label(r)), number(r.bits), per_weight(s.code_bytes), if_any(s.scale_bytes),
         if_any(s.level_bytes), if_any(s.zero_point_bytes), if_any(s.mask_bytes),
         if_any(s.side_bytes), per_weight(s.float_bytes), number(s.bits_per_weight()),
         number(s.code_entropy),
         number(8 * static_cast<double>(s.coded_bytes) / static_cast<double>(s.quantized)),
         number(s.coded_bits_per_weight()), number(static_cast<double>(r.file_bytes))});
  }
  return table;
}

Table figures_table(const std::vector<SeedResults>& seeds) {
  const std::vector<quant::RowFigure>& figures = quant::row_figures();
  std::vector<Column> columns = {{.key = "row", .text = true},
                                 {.key = "bits", .decimals = 0},
                                 {.key = "granularity", .text = true}};
  for (const quant::RowFigure& f : figures) {
    columns.push_back(
        {.key = std::string(f.key), .title = std::string(f.title), .decimals = f.decimals});
  }
  Table table(std::move(columns));
  for (const RowResult& r : first_seed(seeds, "figures").rows) {
    if (r.figures.empty()) continue;
    std::vector<Cell> cells = {text(label(r)), number(r.bits), text(r.granularity)};
    for (const quant::RowFigure& f : figures) {
      cells.push_back(cell_of(seeds, r, [&](const RowResult& row) -> std::optional<double> {
        const auto at = row.figures.find(f.key);
        if (at == row.figures.end()) return std::nullopt;
        return (f.percent ? 100 : 1) * at->second;
      }));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

}  // namespace notch::experiments
