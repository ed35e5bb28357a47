#include "experiments/report/html_report.h"

#include <sstream>

#include "autograd/base/error.h"

namespace notch::experiments {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --quiet: #555; --rule: #ccc;
        --head: #f0f0f0; --over: #f6f6f6; --focus: #0062a3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e8e8e8; --quiet: #b4b8be; --rule: #4a4e55; --head: #262a30;
          --over: #20242a; --focus: #7cc0f0; }
}
body { margin: 0 auto; max-width: 1280px; padding: 24px; background: var(--paper);
       color: var(--ink); font: 15px/1.5 Verdana, "DejaVu Sans", Helvetica, Arial, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 32px 0 8px; border-bottom: 1px solid var(--rule);
     padding-bottom: 4px; }
.headline { font-size: 18px; max-width: 860px; }
.header, figcaption, .notes, dd { color: var(--quiet); font-size: 13px; }
.header, .notes, dl { max-width: 860px; overflow-wrap: anywhere; }
dt { font-weight: bold; font-size: 13px; }
dd { margin: 0 0 6px 16px; }
.verdict li { margin: 4px 0; max-width: 860px; }
figure { margin: 0 0 24px; max-width: 860px; }
figure svg { width: 100%; height: auto; border-radius: 4px; }
.small { display: grid; gap: 8px;
         grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); }
.small figure { margin: 0; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: right; white-space: nowrap; }
th { background: var(--head); border-bottom: 2px solid var(--rule); }
td { border-bottom: 1px solid var(--rule); background: var(--paper); }
th.text, td.text { text-align: left; }
tr:hover td { background: var(--over); }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; }
pre { background: var(--over); padding: 10px; overflow-x: auto; font-size: 12px;
      line-height: 1.4; }
summary { cursor: pointer; font-weight: bold; padding: 4px 0; }
th button { all: unset; cursor: pointer; font-weight: bold; }
label { margin-right: 16px; }
select { font: inherit; color: var(--ink); background: var(--paper); }
:focus-visible, th button:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
)";

/// Filters the table of all rows by method and width, and sorts it by the column whose title is
/// pressed. Without < and &, which XML and HTML read differently here.
constexpr std::string_view kScript = R"(
(function () {
  var table = document.querySelector("#all table");
  if (!table) return;
  var rows = Array.from(table.rows), head = rows.shift(), body = head.parentNode, chosen = {};
  var titles = Array.from(head.cells).map(function (cell) { return cell.textContent; });
  function cellOf(row, column) { return row.cells[column].textContent; }
  function show() {
    rows.forEach(function (row) {
      row.hidden = Object.keys(chosen).some(function (column) {
        return chosen[column] ? cellOf(row, column) !== chosen[column] : false;
      });
    });
  }
  var bar = document.createElement("p");
  ["method", "bits"].forEach(function (title) {
    var column = titles.indexOf(title);
    if (column === -1) return;
    var label = document.createElement("label"), select = document.createElement("select");
    select.add(new Option("all", ""));
    Array.from(new Set(rows.map(function (row) { return cellOf(row, column); })))
      .forEach(function (value) { select.add(new Option(value, value)); });
    select.onchange = function () { chosen[column] = select.value; show(); };
    label.append(title + " ", select);
    bar.append(label);
  });
  table.parentNode.before(bar);
  Array.from(head.cells).forEach(function (cell, column) {
    var button = document.createElement("button"), up = true;
    button.textContent = cell.textContent;
    button.title = "sort";
    cell.replaceChildren(button);
    button.onclick = function () {
      var sign = up ? 1 : -1;
      rows.sort(function (a, b) {
        var x = cellOf(a, column), y = cellOf(b, column), d = parseFloat(x) - parseFloat(y);
        return sign * (isNaN(d) ? x.localeCompare(y) : d);
      });
      rows.forEach(function (row) { body.append(row); });
      Array.from(head.cells).forEach(function (other) { other.removeAttribute("aria-sort"); });
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      up = !up;
    };
  });
})();
)";

struct Term {
  std::string_view name{}, meaning{};
};
constexpr Term kTerms[] = {
    {"loss, nat",
     "how badly the model predicts the next token, in nats (natural logarithms of a probability). "
     "0 is perfect; 0.01 more is 1 % more perplexity, 0.7 more halves the probability given to the "
     "right token."},
    {"bits per weight",
     "the file's size over the number of weights, with scales and all that stays in fp32: more "
     "than the width of the codes."},
    {"fp32, control",
     "the model in full precision, and the same trained on for as long as QAT takes. QAT is to be "
     "read against the control: against fp32 it would look better for having trained longer."},
    {"RTN", "round to nearest: every weight goes to the nearest of the 2^bits values."},
    {"post-training",
     "methods such as GPTQ that look at some calibration text to round so that the layers' outputs "
     "stay, without training."},
    {"QAT", "quantization-aware training: the model is trained on while its weights are rounded."},
    {"interval, 95 %",
     "where the difference would lie if other text (and, with several seeds, other models) had "
     "been drawn; one that contains 0 shows no difference."}};

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
  // The region scrolls, so a keyboard has to reach it.
  std::string out =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"table\"><table>\n";
  std::istringstream lines(render(table, TableFormat::markdown));
  int number = 0;
  for (std::string line; std::getline(lines, line); ++number) {
    if (number == 1) continue;  // the rule under the titles
    const char* tag = number == 0 ? "th" : "td";
    out += "<tr>";
    const std::vector<std::string> cells = markdown_cells(line);
    for (std::size_t c = 0; c < cells.size(); ++c) {
      out += str('<', tag, number == 0 ? " scope=\"col\"" : "",
                 table.columns().at(c).text ? " class=\"text\">" : ">", escaped_markup(cells[c]),
                 "</", tag, '>');
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string terms() {
  std::string out = "<details>\n<summary>What the words mean</summary>\n<dl>\n";
  for (const Term& t : kTerms) {
    out += str("<dt>", escaped_markup(t.name), "</dt><dd>", escaped_markup(t.meaning), "</dd>\n");
  }
  return out + "</dl>\n</details>\n";
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
          title, "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>", title, "</h1>\n");
  if (!page.headline.empty()) {
    out += str("<p class=\"headline\">", escaped_markup(page.headline), "</p>\n",
               html_table(page.brief), "<p class=\"notes\">", escaped_markup(page.brief_notes),
               "</p>\n", terms());
  }
  const auto figure = [&](const Figure& f) {
    out += str("<figure>\n", svg_of(f.plot), "<figcaption>", escaped_markup(f.caption),
               "</figcaption>\n</figure>\n");
  };
  if (!page.figures.empty()) figure(page.figures.front());
  out += str("<details id=\"all\"", page.headline.empty() ? " open=\"open\"" : "",
             ">\n<summary>All rows and columns</summary>\n<p class=\"header\">",
             escaped_markup(page.header), "</p>\n", html_table(page.table), "<p class=\"notes\">",
             escaped_markup(page.column_notes), "</p>\n</details>\n<h2>Verdict</h2>\n",
             verdict_list(page.verdict));
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
          environment_table(page.environment), "</details>\n<script>", kScript,
          "</script>\n</body>\n</html>\n");
  return out;
}

}  // namespace notch::experiments
