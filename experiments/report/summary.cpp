#include "experiments/report/summary.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>

#include "autograd/base/error.h"
#include "quant/methods/factored.h"
#include "quant/methods/methods.h"
#include "quant/methods/prune.h"

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
/// Whether rounding is known to cost nothing that matters: less than kTiny, and the 90 % interval ends
/// below the margin of equivalence. Far below zero counts: rounding is no gain.
bool is_tiny(const Difference& cost) {
  return cost.mean < kTiny && equivalence(cost).high < kEquivalent;
}

/// Bytes that a row of the width may take to be compared at it: a tenth more than the smallest that has
/// all its weights. Products and levels beside codes can take as much as the codes.
double most_bytes(const Statistics& statistics, const WidthRanking& w) {
  constexpr double kTenthMore = 1.1;
  double least = std::numeric_limits<double>::infinity();
  for (const RowResult* r : w.rows) {
    if (!r->figures.contains(quant::kPrunedFigure.key) &&
        !r->figures.contains(quant::kLeftFigure.key))
      least = std::min(least, statistics.file_bytes(r->name));
  }
  return kTenthMore * least;
}

/// Two digits of a loss, "0.0031"; four decimals of a tiny one.
std::string two_digits(double nats) {
  return printed(std::abs(nats) < kTiny ? "%.4f" : std::abs(nats) < 99.5 ? "%.2g" : "%.0f", nats);
}

/// The row of a family with the lowest loss among those that `counts`.
template <class Counts>
FamilyBest best_of(const Statistics& statistics, const WidthRanking& w, Family family,
                   const Counts& counts) {
  for (const RowResult* r : w.rows) {
    const quant::Method* method = quant::find_method(r->method);
    if (!method || method->family != family || !counts(*r)) continue;
    if (statistics.file_bytes(r->name) > most_bytes(statistics, w)) continue;
    const std::string reference = statistics.reference_of(*r);
    const Difference cost = statistics.difference(r->name, reference);
    if (!std::isfinite(cost.mean)) continue;
    return {.family = family, .row = r, .cost = cost, .of_control = reference != kBaseRow};
  }
  return {.family = family};
}

/// WidthSummary::elsewhere beside these, of which there is one at least.
std::vector<FamilyBest> judged_by_others(const Statistics& statistics, const WidthRanking& w,
                                         const std::vector<FamilyBest>& families) {
  double lowest = std::numeric_limits<double>::infinity(), least = -lowest;
  for (const FamilyBest& f : families) {
    lowest = std::min(lowest, statistics.loss(f.row->name));
    if (f.family == Family::trained) least = f.cost.mean;
  }
  std::vector<FamilyBest> out;
  for (const Family family : kFamilies) {
    std::set<std::string> references;  // of which a row is there
    for (const FamilyBest& f : families)
      if (f.family == family) references.insert(statistics.reference_of(*f.row));
    const auto is_new = [&](const RowResult& r) {
      return !references.contains(statistics.reference_of(r));
    };
    for (FamilyBest best; (best = best_of(statistics, w, family, is_new)).row;) {
      references.insert(statistics.reference_of(*best.row));
      const bool cheaper = family == Family::trained && best.cost.mean < least;
      if (cheaper || statistics.loss(best.row->name) < lowest) out.push_back(std::move(best));
    }
  }
  return out;
}

/// What rounding costs `a` minus what it costs `b`, and whether that is resolved from zero: as the
/// ranking compares the two. Where their references differ it does not: then by their own seeds, with
/// Bonferroni over as many pairs.
std::pair<Difference, bool> compared(const Statistics& statistics, const WidthRanking& w,
                                     const RowResult& a, const RowResult& b) {
  if (&a == &b) return {statistics.cost_difference(a, b), false};
  if (statistics.reference_of(a) == statistics.reference_of(b)) {
    const Pair& pair = w.pair(&a, &b);
    return {pair.above_other(&a), pair.resolved()};
  }
  const Difference d = statistics.cost_difference(a, b);
  return {d, d.p() * static_cast<double>(w.pairs.size()) < 0.05};
}

/// "8, 6 and 4 bits"; with their titles where those say more.
std::string at_widths(const std::vector<const WidthSummary*>& widths) {
  std::vector<std::string> titles, numbers;
  for (const WidthSummary* w : widths) {
    titles.push_back(w->title);
    if (w->title.ends_with(" bits")) numbers.push_back(str(w->bits));
  }
  return numbers.size() == titles.size() ? and_list(numbers) + " bits" : and_list(titles);
}

}  // namespace

bool WidthSummary::alike() const {
  return behind.size() > 1 && std::all_of(behind.begin() + 1, behind.end(),
                                          [](const auto& d) { return equivalence(d).holds(); });
}

void require_whole(const WidthSummary& w) {
  const auto has_row = [](const FamilyBest& f) { return f.row != nullptr; };
  check(!w.families.empty() && std::ranges::all_of(w.families, has_row) &&
            std::ranges::all_of(w.elsewhere, has_row),
        "summary", w.title, " has no rows");
  check(w.behind.size() == w.families.size() && w.resolved.size() == w.families.size(), "summary",
        w.title, " has ", w.behind.size(), " comparisons of ", w.families.size(), " families");
}

std::vector<WidthSummary> summaries(const Statistics& statistics,
                                    const std::vector<WidthRanking>& rankings) {
  for (const WidthRanking& w : rankings) require_whole(w);
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
    for (const RowResult* r : w.rows) {
      const double bytes = statistics.file_bytes(r->name);
      if (bytes > most_bytes(statistics, w))
        summary.larger.push_back(str(label(*r), " (", printed("%.1f", bytes / 1000), " kB)"));
    }
    for (const Family family : kFamilies) {
      const FamilyBest best = family == Family::trained
                                  ? trained
                                  : best_of(statistics, w, family, [&](const RowResult& r) {
                                      return has_counterparts ? counterpart(r) : !r.on_control;
                                    });
      if (best.row) summary.families.push_back(best);
    }
    if (summary.families.empty()) continue;
    summary.elsewhere = judged_by_others(statistics, w, summary.families);
    std::ranges::stable_sort(summary.families, {}, [](const FamilyBest& f) { return f.cost.mean; });
    const RowResult& first = *summary.families.front().row;
    for (FamilyBest& f : summary.families) {
      f.bytes = statistics.other_bytes(f.row->name, first.name);
      const auto [difference, resolved] = compared(statistics, w, *f.row, first);
      summary.behind.push_back(difference);
      summary.resolved.push_back(resolved);
    }
    out.push_back(std::move(summary));
  }
  return out;
}

std::string headline(const std::vector<WidthSummary>& widths) {
  if (widths.empty()) return "";
  std::string out;
  std::vector<const WidthSummary*> alike, tiny, unknown;
  std::vector<std::string> costs;
  double reach = 0;
  for (const WidthSummary& w : widths) {
    require_whole(w);
    const Difference& cost = w.families.front().cost;
    if (is_tiny(cost)) {
      tiny.push_back(&w);
    } else if (cost.mean < kTiny) {
      unknown.push_back(&w);
      reach = std::max({reach, std::abs(cost.low), std::abs(cost.high)});
    } else {
      costs.push_back(str(two_digits(cost.mean),
                          tiny.empty() && costs.empty() ? " nats per token" : "", " at ", w.title));
    }
    if (w.families.size() == 1) continue;
    if (w.alike()) {
      alike.push_back(&w);
      continue;
    }
    std::vector<std::string> best, behind;
    for (std::size_t i = 0; i < w.families.size(); ++i) {
      if (!w.resolved[i]) {
        best.push_back(spoken(w.families[i]) + w.families[i].bytes);
        continue;
      }
      behind.push_back(str(spoken(w.families[i]), w.families[i].bytes, ' ',
                           two_digits(w.behind[i].mean), behind.empty() ? " nats behind" : ""));
    }
    out += str(out.empty() ? "At " : "; at ", w.title, ' ', and_list(best),
               best.size() == 1 ? " is best" : " cannot be told apart");
    for (const std::string& b : behind) out += ", " + b;
  }
  if (!alike.empty()) {
    out += str(out.empty() ? "At " : "; at ", at_widths(alike), " no difference that matters");
  }
  if (!out.empty()) out += ". ";
  if (!tiny.empty()) {
    costs.insert(costs.begin(), str("less than ", kTiny, " nats per token at ", at_widths(tiny)));
  }
  const bool all_trained = std::ranges::all_of(
      widths, [](const WidthSummary& w) { return w.families.front().of_control; });
  out += str("Against ",
             all_trained ? "full precision trained as long" : "its own full precision", ' ');
  if (!costs.empty()) out += "the best costs " + and_list(costs);
  if (!unknown.empty()) {
    out += str(costs.empty() ? "" : "; ", "what the best costs at ", at_widths(unknown),
               " cannot be told from 0 (within ", two_digits(reach), " nats)");
  }
  return out + "; 0.01 nats are 1 % of perplexity.";
}

Table short_table(const Statistics& statistics, const std::vector<WidthSummary>& widths) {
  Table table({{.key = "width", .text = true},
               {.key = "rtn", .title = "RTN", .text = true},
               {.key = "post_training", .title = "post-training", .text = true},
               {.key = "qat", .title = "QAT", .text = true},
               {.key = "size", .bytes = true},
               {.key = "bits_per_weight", .title = "bits/weight", .decimals = 2},
               {.key = "loss", .title = "its loss", .decimals = 4}});
  const auto reference = [&](const RowResult& row, std::string_view title) {
    table.add_row(
        {text(title), missing(), missing(), missing(), number(statistics.file_bytes(row.name)),
         number(statistics.bits_per_weight(row.name)), number(statistics.loss(row.name))});
  };
  const SeedResults& seed = statistics.seeds().front();
  reference(row_of(seed, kBaseRow), kBaseRow);
  const RowResult* control = find_row(seed, kControlRow);
  if (control) reference(*control, "control");
  const std::size_t room = kLines - table.rows().size();
  for (std::size_t i = widths.size() > room ? widths.size() - room : 0; i < widths.size(); ++i) {
    const WidthSummary& w = widths[i];
    require_whole(w);
    std::vector<Cell> cells{text(w.title)};
    const RowResult* lowest = nullptr;
    for (const Family family : kFamilies) {
      const auto at = std::ranges::find(w.families, family, &FamilyBest::family);
      if (at == w.families.end()) {
        cells.push_back(missing());
        continue;
      }
      const bool best = w.alike() || !w.resolved[static_cast<std::size_t>(at - w.families.begin())];
      cells.push_back(
          text(str(printed("%+.4f", at->cost.mean), best ? "*" : "", ' ', shown_method(*at->row))));
      if (!lowest || statistics.loss(at->row->name) < statistics.loss(lowest->name)) {
        lowest = at->row;
      }
    }
    cells.insert(cells.end(), {number(statistics.file_bytes(lowest->name)),
                               number(statistics.bits_per_weight(lowest->name)),
                               number(statistics.loss(lowest->name))});
    table.add_row(std::move(cells));
  }
  return table;
}

std::string fitted_screen(const Table& table, int characters) {
  const Table all = table.without_empty_columns(), shown = table.fitted(characters);
  std::string left;
  for (std::size_t c = shown.columns().size(); c < all.columns().size(); ++c) {
    const Column& column = all.columns()[c];
    left += str(left.empty() ? "" : ", ", column.title.empty() ? column.key : column.title);
  }
  return render(shown, TableFormat::screen) +
         (left.empty() ? ""
                       : wrapped(str("left out for the width: ", left, "; --wide has them"),
                                 characters));
}

std::string cost_legend() {
  return str(
      "Nats per token by which rounding raises the loss of the same model in full precision, and "
      "the method of each family with the lowest loss; * the lowest of its width, not told apart "
      "from it, or (where no difference matters) within ",
      kEquivalent,
      " nats of it; size, bits/weight and its loss are those of the family with the lowest loss.");
}

std::string short_notes(const Statistics& statistics, const std::vector<WidthSummary>& widths) {
  const auto others = std::ranges::count_if(statistics.rows(), [](const RowResult& r) {
    return r.name != kBaseRow && r.name != kControlRow && !quant::find_method(r.method);
  });
  const std::string elsewhere = others > 0
                                    ? str("Pipelines and rows that are not quantized, ", others,
                                          " here, are in results.md; --wide shows them.")
                                    : "";
  if (widths.empty()) return elsewhere;
  std::string larger, beside, others_judged;
  for (const WidthSummary& w : widths) {
    require_whole(w);
    for (const FamilyBest& f : w.families) {
      if (f.bytes.empty()) continue;
      beside += str(beside.empty() ? " Beside the best of its width: " : ", ", shown_method(*f.row),
                    " at ", w.title, f.bytes);
    }
    for (const FamilyBest& f : w.elsewhere) {
      const std::string to = statistics.reference_of(*f.row);
      others_judged +=
          str(others_judged.empty() ? " Judged by another model, and so in no line: " : "; ",
              label(*f.row), " at ", w.title, ", ", printed("%+.4f", f.cost.mean), " to ",
              f.of_control ? control_title(to) : to, ", its loss ",
              printed("%.4f", statistics.loss(f.row->name)));
    }
    if (w.larger.empty()) continue;
    larger += str(larger.empty() ? " Not compared, for a tenth more bytes than others of their "
                                   "width, or more: "
                                 : "; ",
                  w.title, ": ", and_list(w.larger));
  }
  if (!larger.empty()) larger += '.';
  if (!beside.empty()) beside += '.';
  if (!others_judged.empty()) others_judged += '.';
  const bool of_control = std::ranges::any_of(widths, [](const WidthSummary& w) {
    return std::ranges::any_of(w.families, [](const FamilyBest& f) { return f.row->on_control; });
  });
  return str(cost_legend(),
             of_control ? " Beside QAT that learned from the text, the others are made from the "
                          "control, fp32 trained on for as long, so that all saw the same."
                        : "",
             beside, others_judged, larger, elsewhere.empty() ? "" : " ", elsewhere);
}

}  // namespace notch::experiments
