#include "experiments/report/html_report.h"

#include <sstream>

#include "autograd/base/error.h"

namespace notch::experiments {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1280px; padding: 24px; background: #fff; color: #222;
       font: 15px/1.5 Verdana, "DejaVu Sans", Helvetica, Arial, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 32px 0 8px; border-bottom: 1px solid #ddd; padding-bottom: 4px; }
.header, figcaption, .notes { color: #555; font-size: 13px; }
.verdict li { margin: 4px 0; max-width: 860px; }
figure { margin: 0 0 24px; max-width: 860px; }
figure svg { width: 100%; height: auto; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 8px; }
.small figure { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: right; white-space: nowrap; }
th { background: #f2f2f2; border-bottom: 2px solid #bbb; }
td { border-bottom: 1px solid #e6e6e6; }
th.text, td.text { text-align: left; }
tr:hover td { background: #f7f7f7; }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; }
.scroll td:first-child { background: #fff; }
pre { background: #f6f6f6; padding: 10px; overflow-x: auto; font-size: 12px; line-height: 1.4; }
summary { cursor: pointer; font-weight: bold; }
)";

/// The cells of a line of a Markdown table, as render() writes it.
std::vector<std::string> markdown_cells(std::string_view line) {
  std::vector<std::string> cells;
  std::string cell;
  for (std::size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
      cell += line[++i];
    } else if (line[i] == '|') {
      const std::size_t first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
      cell.clear();
    } else {
      cell += line[i];
    }
  }
  return cells;
}

/// The Markdown rendering with other marks between its cells, so that page and results.md show the
/// same digits.
std::string html_table(const Table& table) {
  std::string out = "<div class=\"scroll\"><table>\n";
  std::istringstream lines(render(table, TableFormat::markdown));
  int number = 0;
  for (std::string line; std::getline(lines, line); ++number) {
    if (number == 1) continue;  // the rule under the titles
    const char* tag = number == 0 ? "th" : "td";
    out += "<tr>";
    const std::vector<std::string> cells = markdown_cells(line);
    for (std::size_t c = 0; c < cells.size(); ++c) {
      out += str('<', tag, table.columns().at(c).text ? " class=\"text\">" : ">",
                 escaped_markup(cells[c]), "</", tag, '>');
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string verdict_list(std::string_view verdict) {
  std::istringstream lines{std::string(verdict)};
  std::string out = "<ul class=\"verdict\">\n";
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) out += str("<li>", escaped_markup(line), "</li>\n");
  }
  return out + "</ul>\n";
}

/// The widest codes' group is open; the others are a click away.
std::string diagnostics_of(const std::vector<FigureGroup>& groups) {
  if (groups.empty()) return {};
  std::string out =
      "<h2>Quantizers in training</h2>\n<p class=\"notes\">Trained rows of the first seed, means "
      "over layers; every layer is in metrics.jsonl. The cosine compares the straight-through "
      "gradient with that of the loss expected under stochastic rounding.</p>\n";
  for (const FigureGroup& group : groups) {
    out += str("<details", &group == &groups.front() ? " open=\"open\"" : "", ">\n<summary>",
               escaped_markup(group.title), "</summary>\n<div class=\"small\">\n");
    for (const Figure& f : group.figures) {
      out += str("<figure>\n", svg_of(f.plot), "</figure>\n");
    }
    out += "</div>\n</details>\n";
  }
  return out;
}

std::string environment_table(const Json& environment) {
  std::string out = "<table>\n";
  if (environment.is_object()) {
    for (const auto& [key, value] : environment.as_object("environment")) {
      if (key == "time" || key == "command_line") continue;
      out += str("<tr><td class=\"text\">", escaped_markup(key), "</td><td class=\"text\">",
                 escaped_markup(value.is_string() ? value.as_string(key) : value.dump()),
                 "</td></tr>\n");
    }
  }
  return out + "</table>\n";
}

}  // namespace

std::string html_page(const ReportPage& page) {
  const std::string title = escaped_markup(page.title);
  std::string out =
      str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
          title, "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>", title,
          "</h1>\n<p class=\"header\">", escaped_markup(page.header), "</p>\n<h2>Verdict</h2>\n",
          verdict_list(page.verdict));
  const auto figure = [&](const Figure& f) {
    out += str("<figure>\n", svg_of(f.plot), "<figcaption>", escaped_markup(f.caption),
               "</figcaption>\n</figure>\n");
  };
  if (!page.figures.empty()) figure(page.figures.front());
  out += str("<h2>Results</h2>\n", html_table(page.table), "<p class=\"notes\">",
             escaped_markup(page.column_notes), "</p>\n");
  for (const ReportSection& s : page.sections) {
    out += str("<h2>", escaped_markup(s.title), "</h2>\n<p class=\"notes\">",
               escaped_markup(s.notes), "</p>\n");
    for (const Table& t : s.tables) out += html_table(t);
  }
  if (page.figures.size() > 1) out += "<h2>Training</h2>\n";
  for (std::size_t i = 1; i < page.figures.size(); ++i) figure(page.figures[i]);
  out += diagnostics_of(page.diagnostics);
  out +=
      str("<h2>Reproduce</h2>\n<p>In the directory of this page:</p>\n"
          "<pre>notch run config.resolved.toml --out again</pre>\n<p class=\"notes\">The same "
          "binary on the same machine gives the same hash: ",
          escaped_markup(page.hash), "</p>\n<details>\n<summary>Configuration</summary>\n<pre>",
          escaped_markup(page.config),
          "</pre>\n</details>\n<details>\n<summary>Environment</summary>\n",
          environment_table(page.environment), "</details>\n</body>\n</html>\n");
  return out;
}

}  // namespace notch::experiments
