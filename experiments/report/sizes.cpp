#include "experiments/report/sizes.h"

#include <algorithm>
#include <map>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "experiments/report/html_report.h"
#include "experiments/report/report.h"
#include "experiments/report/size_plots.h"

namespace notch::experiments {
namespace {

std::string count_text(double n) {
  if (n < 1e3) return printed("%.0f", n);
  return n < 1e6 ? printed("%.3gk", n / 1e3) : printed("%.3gM", n / 1e6);
}

void check_comparable(const std::vector<SizedRun>& runs) {
  if (runs.size() < 2) {
    throw Error({.where = "report",
                 .what = "--sizes compares runs",
                 .found = str(runs.size()),
                 .expected = "two or more, of models of different sizes"});
  }
  const SizedRun& first = runs.front();
  for (const SizedRun& r : runs) {
    const auto refuse = [&](std::string what, std::string field, std::string found,
                            std::string expected, std::string hint) {
      throw Error({.fault = Fault::mismatch,
                   .where = r.directory,
                   .what = std::move(what),
                   .field = std::move(field),
                   .found = std::move(found),
                   .expected = std::move(expected),
                   .hint = std::move(hint)});
    };
    if (r.scored_on != first.scored_on) {
      refuse(str("was scored on other tokens than ", first.directory), "",
             "sha256 " + r.scored_on, "sha256 " + first.scored_on,
             "losses of other texts or tokenizers cannot be compared");
    }
    if (r.config.model.block_size != first.config.model.block_size) {
      refuse(str("sees another length of text than ", first.directory), "model.block_size",
             str(r.config.model.block_size), str(first.config.model.block_size),
             "with more text before it a token is predicted better by any model: run them with one "
             "length");
    }
  }
}

/// What is the same wherever all runs were made.
Json common_environment(const std::vector<const Json*>& environments) {
  Json out = Json::object();
  if (!environments.front()->is_object()) return out;
  for (const auto& [key, value] : environments.front()->as_object("environment")) {
    const bool everywhere = std::ranges::all_of(environments, [&, key = key, text = value.dump()](
                                                                  const Json* e) {
      const Json* other = e->is_object() ? e->find(key) : nullptr;
      return other && other->dump() == text;
    });
    if (everywhere) out.set(key, value);
  }
  return out;
}

std::string place_text(const SizePoint& p) {
  return str(bytes_text(p.bytes()), " (", p.width, ", loss ",
             printed("%.4f", p.size->statistics->loss(p.row->name)), ')');
}

/// Tables under one another, each line begun by its model: every column once, after the one that it
/// follows, and missing where a table has none.
Table stacked(const std::vector<std::pair<std::string, Table>>& tables) {
  std::vector<Column> columns{{.key = "model", .text = true}};
  const auto place = [&](const std::string& key) {
    return std::ranges::find(columns.begin() + 1, columns.end(), key, &Column::key);
  };
  for (const auto& [name, table] : tables) {
    auto after = columns.begin() + 1;
    for (const Column& c : table.columns()) {
      auto at = place(c.key);
      if (at == columns.end()) at = columns.insert(after, c);
      after = at + 1;
    }
  }
  Table out(columns);
  for (const auto& [name, table] : tables) {
    for (const std::vector<Cell>& row : table.rows()) {
      std::vector<Cell> cells(columns.size(), missing());
      cells.front() = text(name);
      for (std::size_t c = 0; c < row.size(); ++c) {
        cells[static_cast<std::size_t>(place(table.columns()[c].key) - columns.begin())] = row[c];
      }
      out.add_row(std::move(cells));
    }
  }
  return out;
}

std::string notes() {
  return cost_legend() +
         " Losses of two sizes are those of two trainings: what lies between them is chance as "
         "well, which only several seeds show.\n";
}

}  // namespace

SizesReport::Size::Size(SizedRun read)
    : run(std::move(read)),
      statistics(run.seeds),
      rankings(experiments::rankings(statistics)),
      widths(summaries(statistics, rankings)) {}

SizesReport::SizesReport(std::vector<SizedRun> runs) {
  check_comparable(runs);
  for (SizedRun& r : runs) sizes_.push_back(std::make_unique<Size>(std::move(r)));
  const auto weights = [](const auto& s) { return s->base().size.weights; };
  std::ranges::stable_sort(sizes_, [&](const auto& a, const auto& b) {
    return weights(a) != weights(b) ? weights(a) < weights(b)
                                    : a->run.config.name < b->run.config.name;
  });
  std::map<std::string, int> times;
  const auto short_title = [&](const auto& s) {
    return count_text(static_cast<double>(weights(s))) + " weights";
  };
  for (const auto& s : sizes_) ++times[short_title(s)];
  std::map<std::string, const Size*> titles;
  for (const auto& s : sizes_) {
    s->title = short_title(s);
    if (times.at(s->title) > 1) s->title += ", " + s->run.config.name;
    const auto [earlier, is_new] = titles.try_emplace(s->title, s.get());
    if (is_new) continue;
    throw Error({.where = s->run.directory,
                 .what = "is of the same size and name as " + earlier->second->run.directory,
                 .found = s->title,
                 .hint = "runs of one size that differ in seeds or rows are merged without --sizes; "
                         "other trainings need another name: notch run … name=longer"});
  }
  std::vector<std::pair<std::string, Table>> tables;
  for (const auto& s : sizes_) tables.emplace_back(s->title, results_table(s->statistics));
  table_ = stacked(tables);
}

std::string SizesReport::hash() const {
  Sha256 all;
  for (const auto& s : sizes_) all.update(results_hash(s->run.seeds) + "\n");
  return all.hex();
}

Table SizesReport::brief() const {
  std::vector<std::pair<std::string, Table>> tables;
  for (const auto& s : sizes_) {
    tables.emplace_back(s->title, short_table(s->statistics, s->widths));
  }
  return stacked(tables);
}

/// How the models were made.
Table SizesReport::runs() const {
  Table out({{.key = "model", .text = true},
             {.key = "run", .text = true},
             {.key = "weights", .decimals = 0},
             {.key = "layers", .decimals = 0},
             {.key = "channels", .decimals = 0},
             {.key = "heads", .decimals = 0},
             {.key = "tokens", .title = "tokens trained on", .decimals = 0},
             {.key = "qat_tokens", .title = "tokens of QAT", .decimals = 0},
             {.key = "seeds", .decimals = 0}});
  for (const auto& s : sizes_) {
    const ExperimentConfig& c = s->run.config;
    const auto tokens = [&](const TrainSettings& t) {
      return number(static_cast<double>(t.schedule.steps * t.batch_size * t.grad_accum *
                                        c.model.block_size));
    };
    out.add_row({text(s->title), text(c.name), number(static_cast<double>(s->base().size.weights)),
                 number(static_cast<double>(c.model.n_layer)),
                 number(static_cast<double>(c.model.n_embd)),
                 number(static_cast<double>(c.model.n_head)), tokens(base_settings(c, 0)),
                 tokens(fork_settings(c, 0, "")), number(static_cast<double>(c.seeds.size()))});
  }
  return out;
}

std::string SizesReport::headline() const {
  std::vector<SizeSeen> seen;
  for (const auto& s : sizes_) {
    seen.push_back({.title = s->title, .statistics = &s->statistics, .widths = &s->widths});
  }
  const std::vector<SizePoint> front = size_front(all_points(seen));
  std::string out = "Lowest loss in so many bytes: ";
  for (std::size_t first = 0, last = 0; first < front.size(); first = last + 1) {
    last = first;
    while (last + 1 < front.size() && front[last + 1].size == front[first].size) ++last;
    out += str(first == 0 ? "" : "; ", front[first].size->title, last > first ? " from " : " at ",
               place_text(front[first]),
               last > first ? " to " + place_text(front[last]) : "");
  }
  return out + ".";
}

std::string SizesReport::screen(int characters) const {
  return str(wrapped(headline(), characters), '\n', fitted_screen(brief(), characters), '\n',
             wrapped(notes(), characters));
}

void SizesReport::write(const std::filesystem::path& dir) const {
  std::vector<SizeSeen> seen;
  std::vector<const Json*> environments;
  std::vector<std::string> names;
  std::string configs, commands, again = "notch report --sizes";
  ReportPage page{.brief_notes = notes(), .table = table_, .hash = hash()};
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    const Size& s = *sizes_[i];
    seen.push_back({s.title, &s.statistics, &s.widths, s.run.questions});
    environments.push_back(&s.run.environment);
    names.push_back(s.title);
    ExperimentConfig config = s.run.config;
    config.out.clear();  // a report is the same wherever its runs lie
    const std::string file = str(i + 1, ".toml"), toml = to_toml(config);
    write_file(dir / file, toml);
    configs += str("# ", file, ", ", s.title, "\n\n", toml, i + 1 < sizes_.size() ? "\n\n" : "");
    commands += str("notch run ", file, " --out again-", i + 1, '\n');
    again += str(" again-", i + 1);
  }
  const SizedRun& any = sizes_.front()->run;
  page.title = "Sizes: " + and_list(names);
  page.headline = headline();
  page.header = str("Scored on tokens of sha256 ", any.scored_on.substr(0, 12), ", context ",
                    any.config.model.block_size, ". Every run has its own fp32 and control.");
  page.brief = brief();
  page.fronts = size_figures(seen);
  page.column_notes = column_notes(table_, any.seeds);
  page.commands = commands + again + " --out again";
  page.config = configs;
  page.environment = common_environment(environments);
  page.sections.push_back(
      {.title = "Runs",
       .notes = "A size that was trained on too few tokens looks worse than it is: compare sizes by "
                "runs that were trained as long as each needs.\n",
       .tables = {runs()}});
  for (const auto& s : sizes_) {
    page.verdict += str(s->title, ": ", experiments::headline(s->widths), '\n');
  }
  page.limits = {
      "One text: another may order sizes and methods differently.",
      "The same bits come again on the same kind of processor only, as OpenBLAS chooses its "
      "kernels by it; seconds are those of the machines and of what else ran on them."};
  const bool one_seed =
      std::ranges::any_of(sizes_, [](const auto& s) { return s->run.seeds.size() == 1; });
  if (one_seed) {
    page.limits.insert(page.limits.begin(),
                       "Runs of one seed: their losses and intervals are those of these trained "
                       "models, not of other trainings.");
  }
  std::string markdown = str(
      "# ", page.title, "\n\n", page.headline, "\n\n",
      render(page.brief, TableFormat::markdown), '\n', page.brief_notes, "\n## All rows\n\n",
      page.header, "\n\n", render(table_, TableFormat::markdown), '\n', page.column_notes,
      "\n## Verdict\n\n", page.verdict, '\n');
  for (const ReportSection& s : page.sections) {
    markdown += str("## ", s.title, "\n\n", s.notes, '\n');
    for (const Table& t : s.tables) markdown += render(t, TableFormat::markdown) + "\n";
  }
  write_file(dir / "results.csv", render(table_, TableFormat::csv));
  write_file(dir / "results.jsonl", render(table_, TableFormat::json_lines));
  write_file(dir / "results.md", markdown + "hash " + page.hash + "\n");
  write_file(dir / "results.svg", svg::file_of(svg_of(page.fronts.front().plot)));
  write_file(dir / "report.html", html_page(page));
}

}  // namespace notch::experiments
