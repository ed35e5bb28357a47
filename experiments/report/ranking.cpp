#include "experiments/report/ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "autograd/base/error.h"
#include "experiments/report/moderation.h"

namespace notch::experiments {
namespace {

std::string p_text(double p) { return p < 1e-4 ? "p < 0.0001" : "p = " + printed("%.2g", p); }

/// "0.0041 nats [0.0020, 0.0062]"
std::string nats(const Difference& d, const char* format = "%.4f") {
  return str(printed(format, d.mean), " nats [", printed(format, d.low), ", ",
             printed(format, d.high), "]");
}

std::string change(const Difference& d) { return nats(d, "%+.4f"); }

/// "qat-lsq INT4": a row among those of all widths.
std::string title_of(const RowResult& row) { return str(label(row), " INT", row.bits); }

/// Of the quantized rows for which `is` holds.
template <class Predicate>
std::vector<std::string> titles_if(const SeedResults& seed, const Predicate& is) {
  std::vector<std::string> out;
  for (const RowResult& r : seed.rows) {
    if (!r.granularity.empty() && is(r)) out.push_back(title_of(r));
  }
  return out;
}

void moderate_seeds(const Statistics& statistics, WidthRanking& w) {
  constexpr double kFloor = 5e-4;
  std::map<const RowResult*, double> square_cost;
  for (const RowResult* r : w.rows) {
    const double cost = statistics.difference(r->name, statistics.reference_of(*r)).mean;
    square_cost[r] = cost * cost + kFloor * kFloor;
  }
  std::vector<ErrorPart> seeds;
  std::vector<double> scales;
  for (const Pair& pair : w.pairs) {
    const double scale = square_cost.at(pair.better) + square_cost.at(pair.worse);
    const bool measured = std::isfinite(scale);
    seeds.push_back(measured ? pair.difference.seeds : ErrorPart{});
    scales.push_back(measured ? scale : 1);
  }
  moderate(seeds, scales, std::ssize(w.rows));
  for (std::size_t k = 0; k < seeds.size(); ++k) {
    if (seeds[k].variance == 0) continue;
    w.pairs[k].difference.seeds = seeds[k];
    w.pairs[k].difference.enclose();
  }
}

/// The nearest row that the best one beats, or null.
const Pair* nearest_beaten(const WidthRanking& w) {
  for (std::size_t i = 1; i < w.rows.size(); ++i) {
    const Pair& pair = w.pair(w.rows.front(), w.rows[i]);
    if (pair.resolved()) return &pair;
  }
  return nullptr;
}

/// Best row, the nearest one it beats, and what is not resolved from it.
std::string best_sentence(const Statistics& statistics, const WidthRanking& w) {
  const RowResult& best = *w.rows.front();
  std::string out = str(w.title, ": ", label(best), " has the lowest loss, ",
                        change(statistics.difference(best.name, kBaseRow)), " from fp32");
  if (const std::string to = statistics.reference_of(best); to != kBaseRow) {
    out +=
        str(" and ", change(statistics.difference(best.name, to)), " from the ", control_title(to));
  }
  out += ".";
  std::vector<std::string> ties;
  for (std::size_t i = 1; i < w.rows.size(); ++i) {
    if (w.pair(&best, w.rows[i]).resolved()) continue;
    ties.push_back(label(*w.rows[i]) + statistics.other_bytes(w.rows[i]->name, best.name));
  }
  if (const Pair* nearest = nearest_beaten(w)) {
    out += str(" It beats ", label(*nearest->worse),
               statistics.other_bytes(nearest->worse->name, best.name), " by ",
               nats(nearest->difference), ", ", p_text(nearest->p), ".");
  }
  if (!ties.empty()) out += str(" Not resolvable from it: ", and_list(ties), ".");
  return out;
}

/// How each trained row stands to the best row without training that is made of what it is itself
/// compared with.
std::string rounding_sentence(const Statistics& statistics, const WidthRanking& w) {
  std::string out;
  for (const RowResult* row : w.rows) {
    if (!row->trained) continue;
    const std::string from = statistics.reference_of(*row);
    const auto rounded = std::ranges::find_if(w.rows, [&](const RowResult* r) {
      return !r->trained && r->on_control == (from != kBaseRow) &&
             statistics.reference_of(*r) == from;
    });
    if (rounded == w.rows.end()) continue;
    const Pair& pair = w.pair(row, *rounded);
    if (&pair == nearest_beaten(w)) continue;  // already said
    out += out.empty() ? " To the best without training: " : "; ";
    if (pair.resolved()) {
      out += str(label(*pair.better), " beats ", label(*pair.worse),
                 statistics.other_bytes(pair.worse->name, pair.better->name), " by ",
                 nats(pair.difference));
    } else {
      out += str(label(*row), " not resolvable from ", label(**rounded),
                 statistics.other_bytes((*rounded)->name, row->name), ", ",
                 change(pair.above_other(row)));
    }
    out += ", " + p_text(pair.p);
  }
  return out.empty() ? out : out + ".";
}

}  // namespace

Difference Pair::above_other(const RowResult* row) const {
  Difference d = difference;  // of the worse from the better
  if (row == worse) return d;
  d.mean = -d.mean;
  d.low = -std::exchange(d.high, -d.low);
  return d;
}

const Pair& WidthRanking::pair(const RowResult* a, const RowResult* b) const {
  const auto found = std::ranges::find_if(pairs, [&](const Pair& p) {
    return (p.better == a && p.worse == b) || (p.better == b && p.worse == a);
  });
  check(found != pairs.end(), title, "has no pair of these rows");
  return *found;
}

void require_whole(const WidthRanking& w) {
  const auto is_ranked = [&](const RowResult* r) {
    return r && std::ranges::find(w.rows, r) != w.rows.end();
  };
  const std::size_t n = w.rows.size();
  check(n > 0 && std::ranges::all_of(w.rows, is_ranked), "ranking", w.title, " has no rows");
  check(w.bytes.size() == n && w.pairs.size() == n * (n - 1) / 2, "ranking", w.title, " has ",
        w.bytes.size(), " sizes and ", w.pairs.size(), " pairs of ", n, " rows");
  for (const Pair& pair : w.pairs)
    check(is_ranked(pair.better) && is_ranked(pair.worse), "ranking", w.title,
          " has a pair of other rows");
}

std::vector<WidthRanking> rankings(const Statistics& statistics) {
  std::vector<WidthRanking> out;
  for (const RowResult& r : statistics.rows()) {
    if (r.granularity.empty()) continue;
    const std::string title = str("INT", r.bits, ' ', r.granularity);
    auto at = std::ranges::find(out, title, &WidthRanking::title);
    if (at == out.end()) at = out.insert(out.end(), {.title = title});
    at->rows.push_back(&r);
  }
  for (WidthRanking& w : out) {
    std::ranges::stable_sort(w.rows, {}, [&](const RowResult* r) {
      const double loss = statistics.loss(r->name);
      return std::isfinite(loss) ? loss : std::numeric_limits<double>::infinity();
    });
    for (std::size_t i = 0; i < w.rows.size(); ++i) {
      w.bytes.push_back(statistics.file_bytes(w.rows[i]->name));
      for (std::size_t j = i + 1; j < w.rows.size(); ++j) {
        w.pairs.push_back(
            {w.rows[i], w.rows[j], statistics.difference(w.rows[j]->name, w.rows[i]->name)});
      }
    }
    moderate_seeds(statistics, w);
    std::vector<double> p;
    for (const Pair& pair : w.pairs) p.push_back(pair.difference.p());
    const std::vector<double> adjusted = holm(p);
    for (std::size_t k = 0; k < p.size(); ++k) w.pairs[k].p = adjusted[k];
  }
  return out;
}

Table matrix(const WidthRanking& w) {
  require_whole(w);
  const auto [least, most] = std::ranges::minmax(w.bytes);
  const bool other_bytes = most > (1 + kSameBytes) * least;
  std::vector<Column> columns{{.key = w.title, .text = true}};
  if (other_bytes) columns.push_back({.key = "bytes", .decimals = 0});
  for (const RowResult* r : w.rows) columns.push_back({.key = label(*r), .text = true});
  Table table(std::move(columns));
  for (std::size_t i = 0; i < w.rows.size(); ++i) {
    const Cell name = text(label(*w.rows[i]));
    std::vector<Cell> cells =
        other_bytes ? std::vector<Cell>{name, number(w.bytes[i])} : std::vector<Cell>{name};
    for (std::size_t j = 0; j < w.rows.size(); ++j) {
      if (i == j) {
        cells.push_back(text("-"));
        continue;
      }
      const Pair& pair = w.pair(w.rows[i], w.rows[j]);
      const std::string mark = pair.resolved() ? " *" : "";
      cells.push_back(text(i < j ? printed("%.4f", pair.difference.mean) + mark
                                 : (pair.p < 1e-4 ? "<1e-4" : printed("%.2g", pair.p))));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

Table pairs_table(const std::vector<WidthRanking>& all) {
  Table table({{.key = "width", .text = true},
               {.key = "better", .text = true},
               {.key = "worse", .text = true},
               {.key = "better_bytes", .decimals = 0},
               {.key = "worse_bytes", .decimals = 0},
               {.key = "difference", .decimals = 4, .sign = true, .interval = true},
               {.key = "standard_error", .decimals = 5},
               {.key = "seeds_error", .decimals = 5},
               {.key = "windows_error", .decimals = 5},
               {.key = "p", .decimals = 5},
               {.key = "p_holm", .decimals = 5}});
  for (const WidthRanking& w : all) {
    require_whole(w);
    const auto bytes = [&](const RowResult* r) {
      return number(
          w.bytes[static_cast<std::size_t>(std::ranges::find(w.rows, r) - w.rows.begin())]);
    };
    for (const Pair& pair : w.pairs) {
      const Difference& d = pair.difference;
      table.add_row({text(w.title), text(label(*pair.better)), text(label(*pair.worse)),
                     bytes(pair.better), bytes(pair.worse), number_in(d.mean, d.low, d.high),
                     number(d.standard_error()), number(std::sqrt(d.seeds.variance)),
                     number(std::sqrt(d.windows.variance)), number(d.p()), number(pair.p)});
    }
  }
  return table;
}

Table equivalence_table(const Statistics& statistics) {
  constexpr int kLeastBits = 6;
  Table table({{.key = "row", .text = true},
               {.key = "bits", .decimals = 0},
               {.key = "reference", .text = true},
               {.key = "difference",
                .title = "difference, 90 %",
                .decimals = 5,
                .sign = true,
                .interval = true},
               {.key = "p", .decimals = 5},
               {.key = "verdict", .text = true}});
  for (const RowResult& r : statistics.rows()) {
    if (r.granularity.empty() || r.bits < kLeastBits) continue;
    const std::string to = statistics.reference_of(r);
    const Difference d = statistics.difference(r.name, to);
    const Equivalence e = equivalence(d);
    table.add_row({text(label(r)), number(r.bits), text(to), number_in(d.mean, e.low, e.high),
                   number(e.p), text(e.holds() ? "equivalent" : "not shown")});
  }
  return table;
}

std::string verdict(const Statistics& statistics, const std::vector<WidthRanking>& rankings) {
  std::ostringstream out;
  const SeedResults& seed = statistics.seeds().front();
  const std::vector<const RowResult*> controls = controls_of(seed);
  for (const RowResult* control : controls) {
    const Difference gain = statistics.difference(control->name, kBaseRow);
    std::string title = control_title(control->name);
    title.front() = 'C';
    out << title << ": the extra steps alone change fp32 by " << change(gain)
        << (gain.resolved() ? "; rows that saw them are to be read against it"
                            : ", which is not resolvable from zero");
    if (controls.size() > 1) {
      const auto alike = titles_if(
          seed, [&](const RowResult& r) { return r.trained && r.control == control->name; });
      out << (alike.empty() ? ". No row trains like it" : ". Trained like it: ") << and_list(alike);
    }
    out << ".\n";
  }
  const auto alone = titles_if(seed, [&](const RowResult& r) {
    return r.aims_at_data && r.control != kBaseRow && statistics.reference_of(r) == kBaseRow;
  });
  if (!alone.empty()) {
    out << "No control was made: what " << and_list(alone)
        << " gain is in part what their extra steps alone would give.\n";
  }
  for (const RowResult& r : seed.rows) {
    if (r.unlike_control.empty()) continue;
    out << title_of(r) << " was trained with " << r.unlike_control << ", and " << r.control
        << ", which it is compared with, was not.\n";
  }
  for (const WidthRanking& w : rankings) {
    require_whole(w);
    out << best_sentence(statistics, w) << rounding_sentence(statistics, w) << '\n';
  }
  std::vector<std::string> unequal;
  for (const RowResult& r : seed.rows) {
    const Recoveries all = statistics.recoveries(r);
    const std::optional<Recovery>& share = all.from_control ? all.from_control : all.from_fp32;
    if (!share) continue;
    const std::string bytes = statistics.other_bytes(r.name, share->rtn);
    if (!bytes.empty()) unequal.push_back(title_of(r) + bytes);
  }
  if (!unequal.empty()) {
    out << "These take back their share of round-to-nearest's loss (R, R_c) with other bytes than "
           "it: "
        << and_list(unequal) << ".\n";
  }
  if (!rankings.empty()) {
    out << "All this is of one model of " << seed.rows.front().size.weights
        << " parameters: whether training or rounding alone wins depends on the size, on how long "
           "the model was trained, and on the settings' tuning to either "
           "(experiments/sizes.toml).\n";
  }
  return out.str();
}

}  // namespace notch::experiments
