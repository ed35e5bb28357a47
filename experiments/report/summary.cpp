#include "experiments/report/summary.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>

#include "autograd/base/error.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

using quant::Family;

constexpr Family kFamilies[] = {Family::baseline, Family::post_training, Family::trained};
constexpr std::size_t kLines = 8;

/// "RTN", "GPTQ", "QAT": what a sentence calls a row.
std::string spoken(const FamilyBest& best) {
  if (best.family == Family::baseline) return "RTN";
  if (best.family == Family::trained) return "QAT";
  std::string name = best.row->method;
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

constexpr double kTiny = 0.0005;  // nats

/// Two digits of a loss, "0.0031"; four decimals of a tiny one.
std::string two_digits(double nats) {
  return printed(std::abs(nats) < kTiny ? "%.4f" : std::abs(nats) < 99.5 ? "%.2g" : "%.0f", nats);
}

/// The row of a family with the lowest cost among those that `counts`.
template <class Counts>
FamilyBest best_of(const Statistics& statistics, const WidthRanking& w, Family family,
                   const Counts& counts) {
  FamilyBest best{.family = family};
  for (const RowResult* r : w.rows) {
    const quant::Method* method = quant::find_method(r->method);
    if (!method || method->family != family || !counts(*r)) continue;
    const Difference cost = statistics.difference(r->name, statistics.reference_of(*r));
    if (!std::isfinite(cost.mean) || (best.row && cost.mean >= best.cost.mean)) continue;
    best.row = r;
    best.cost = cost;
  }
  return best;
}

}  // namespace

bool WidthSummary::alike() const {
  return behind.size() > 1 && std::all_of(behind.begin() + 1, behind.end(),
                                          [](const auto& d) { return equivalence(d).holds(); });
}

std::vector<WidthSummary> summaries(const Statistics& statistics,
                                    const std::vector<WidthRanking>& rankings) {
  std::vector<WidthSummary> out;
  for (const WidthRanking& w : rankings) {
    const RowResult& any = *w.rows.front();
    const bool several = std::ranges::count_if(rankings, [&](const WidthRanking& other) {
                           return other.rows.front()->bits == any.bits;
                         }) > 1;
    WidthSummary summary{.bits = any.bits,
                         .title = str(any.bits, any.bits == 1 ? " bit" : " bits",
                                      several ? ", " + any.granularity : "")};
    const FamilyBest trained =
        best_of(statistics, w, Family::trained, [](const RowResult&) { return true; });
    const std::string from = trained.row ? statistics.reference_of(*trained.row) : "";
    const auto counterpart = [&](const RowResult& r) { return r.on_control && r.control == from; };
    const bool has_counterparts =
        std::ranges::any_of(w.rows, [&](const RowResult* r) { return counterpart(*r); });
    for (const Family family : kFamilies) {
      const FamilyBest best = family == Family::trained
                                  ? trained
                                  : best_of(statistics, w, family, [&](const RowResult& r) {
                                      return has_counterparts ? counterpart(r) : !r.on_control;
                                    });
      if (best.row) summary.families.push_back(best);
    }
    if (summary.families.empty()) continue;
    std::ranges::stable_sort(summary.families, {}, [](const FamilyBest& f) { return f.cost.mean; });
    for (const FamilyBest& f : summary.families) {
      summary.behind.push_back(statistics.cost_difference(*f.row, *summary.families.front().row));
    }
    out.push_back(std::move(summary));
  }
  return out;
}

std::string headline(const std::vector<WidthSummary>& widths) {
  if (widths.empty()) return "";
  std::string out;
  std::vector<std::string> alike, costs;
  for (const WidthSummary& w : widths) {
    const FamilyBest& best = w.families.front();
    const std::string cost =
        std::abs(best.cost.mean) < kTiny ? str("less than ", kTiny) : two_digits(best.cost.mean);
    costs.push_back(str(cost, costs.empty() ? " nats per token at " : " at ", w.title));
    if (w.families.size() == 1) continue;
    if (w.alike()) {
      alike.push_back(w.title);
      continue;
    }
    std::vector<std::string> behind, unresolved;
    for (std::size_t i = 1; i < w.families.size(); ++i) {
      if (!w.behind[i].resolved()) {
        unresolved.push_back(spoken(w.families[i]));
        continue;
      }
      behind.push_back(str(spoken(w.families[i]), ' ', two_digits(w.behind[i].mean),
                           behind.empty() ? " nats behind" : ""));
    }
    out += str(out.empty() ? "At " : "; at ", w.title, ' ', spoken(best));
    if (!unresolved.empty()) out += " and " + and_list(unresolved);
    out += unresolved.empty() ? " is best" : " cannot be told apart";
    for (const std::string& b : behind) out += ", " + b;
  }
  if (!alike.empty()) {
    out += str(out.empty() ? "At " : "; at ", and_list(alike), " no difference that matters");
  }
  if (!out.empty()) out += ". ";
  return out + str("Against full precision trained as long the best costs ", and_list(costs),
                   "; 0.01 nats are 1 % of perplexity.");
}

Table short_table(const Statistics& statistics, const std::vector<WidthSummary>& widths) {
  Table table({{.key = "width", .text = true},
               {.key = "rtn", .title = "RTN", .text = true},
               {.key = "post_training", .title = "post-training", .text = true},
               {.key = "qat", .title = "QAT", .text = true},
               {.key = "size", .bytes = true},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 2},
               {.key = "loss", .title = "best loss", .decimals = 4}});
  const auto reference = [&](const RowResult& row, std::string_view title) {
    table.add_row({text(title), missing(), missing(), missing(),
                   number(static_cast<double>(row.file_bytes)), number(row.size.bits_per_weight()),
                   number(statistics.loss(row.name))});
  };
  const SeedResults& seed = statistics.seeds().front();
  reference(*find_row(seed, kBaseRow), kBaseRow);
  const RowResult* control = find_row(seed, kControlRow);
  if (control) reference(*control, "control");
  const std::size_t room = kLines - table.rows().size();
  for (std::size_t i = widths.size() > room ? widths.size() - room : 0; i < widths.size(); ++i) {
    const WidthSummary& w = widths[i];
    std::vector<Cell> cells{text(w.title)};
    const RowResult* lowest = nullptr;
    for (const Family family : kFamilies) {
      const auto at = std::ranges::find(w.families, family, &FamilyBest::family);
      if (at == w.families.end()) {
        cells.push_back(missing());
        continue;
      }
      const Difference& behind = w.behind[static_cast<std::size_t>(at - w.families.begin())];
      const bool best = at == w.families.begin() || !behind.resolved();
      cells.push_back(
          text(str(printed("%+.4f", at->cost.mean), best ? "*" : "", ' ', shown_method(*at->row))));
      if (!lowest || statistics.loss(at->row->name) < statistics.loss(lowest->name)) {
        lowest = at->row;
      }
    }
    cells.push_back(number(static_cast<double>(lowest->file_bytes)));
    cells.push_back(number(lowest->size.bits_per_weight()));
    cells.push_back(number(statistics.loss(lowest->name)));
    table.add_row(std::move(cells));
  }
  return table.without_empty_columns();
}

std::string short_notes(const std::vector<WidthSummary>& widths) {
  if (widths.empty()) return "";
  const bool of_control = std::ranges::any_of(widths, [](const WidthSummary& w) {
    return std::ranges::any_of(w.families, [](const FamilyBest& f) { return f.row->on_control; });
  });
  return str(
      "Nats per token by which rounding raises the loss of the same model in full "
      "precision, and the method of each family that raises it least; * the lowest of its "
      "width, or not told apart from it.",
      of_control ? " RTN and post-training rows are of the control, fp32 trained on for as "
                   "long as QAT, so that all saw the same text."
                 : "");
}

}  // namespace notch::experiments
