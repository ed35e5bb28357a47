#include "experiments/report/html_report.h"

#include <sstream>

#include "autograd/base/error.h"
#include "experiments/report/page_script.h"
#include "experiments/show/page_style.h"

namespace notch::experiments {
namespace {

struct Term {
  std::string_view name{}, meaning{};
};
constexpr Term kTerms[] = {
    {"loss, nat",
     "how badly the model predicts the next token, in nats (natural logarithms of a probability). "
     "0 is perfect; 0.01 more is 1 % more perplexity, 0.7 more halves the probability given to the "
     "right token."},
    {"right answers",
     "the share of the task's questions for which the model finds the right label the most probable "
     "of all that could be said."},
    {"bits per weight",
     "the size of all tensors in the file over the number of weights, with scales and all that "
     "stays in fp32: more than the width of the codes. The file's header, names and shapes, is not "
     "counted."},
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
std::string html_table(const Table& all) {
  const Table table = all.without_empty_columns();
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

/// What scrolls where the screen is narrower than a plot can be read at.
std::string plot_box(const Figure& f) {
  return str("<div class=\"plot\">\n", svg_of(f.plot), "</div>\n");
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
      out += str("<figure>\n", plot_box(f), "</figure>\n");
    }
    out += "</div>\n</details>\n";
  }
  return out;
}

std::string layers_of(const ReportPage& page) {
  if (page.layers.empty() && page.weights.empty()) return {};
  std::string out = "<h2>Layers</h2>\n";
  for (const HeatMap& map : page.layers) out += heat_map(map);
  if (!page.weights.empty()) out += weight_grid(page.weights, page.weight_bits);
  return out;
}

std::string roofline_of(const std::string& drawing) {
  std::string out = "<h2>Roofline</h2>\n";
  if (drawing.empty()) {
    return out +
           "<p class=\"notes\">Not measured. In the directory of this page: notch bench . , "
           "then notch report . , on a machine that does nothing else.</p>\n";
  }
  return out +
         str("<figure>\n<div class=\"plot\">\n", drawing,
             "</div>\n<figcaption>Lines: what this machine reads and multiplies at most, "
             "measured in the same minute. Right of a line's knee arithmetic is the limit, left "
             "of it memory. A model in the caches of the processor is read faster than one in "
             "memory.</figcaption>\n</figure>\n");
}

std::string samples_of(const PageSamples& all) {
  if (all.samples.empty()) return {};
  std::string out = str("<h2>Samples</h2>\n<p class=\"notes\">", escaped_markup(all.notes),
                        "</p>\n<div class=\"samples\">\n");
  for (const PageSample& s : all.samples) {
    const std::string_view text = s.text;
    out += str(
        "<figure>\n<figcaption>", escaped_markup(s.title), "</figcaption>\n<blockquote><b>",
        escaped_markup(all.prompt), "</b>", escaped_markup(text.substr(0, s.same)),
        s.same < text.size() ? str("<mark>", escaped_markup(text.substr(s.same)), "</mark>") : "",
        "</blockquote>\n</figure>\n");
  }
  return out + "</div>\n";
}

std::string limits_of(const std::vector<std::string>& limits) {
  if (limits.empty()) return {};
  std::string out = "<h2>Limits</h2>\n<ul class=\"verdict\">\n";
  for (const std::string& l : limits) out += str("<li>", escaped_markup(l), "</li>\n");
  return out + "</ul>\n";
}

std::string environment_table(const Json& environment) {
  std::string out =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"environment\"><table>\n";
  if (environment.is_object()) {
    for (const auto& [key, value] : environment.as_object("environment")) {
      if (key == "time" || key == "command_line") continue;
      out += str("<tr><td class=\"text\">", escaped_markup(key), "</td><td class=\"text\">",
                 escaped_markup(value.is_string() ? value.as_string(key) : value.dump()),
                 "</td></tr>\n");
    }
  }
  return out + "</table></div>\n";
}

}  // namespace

std::string html_page(const ReportPage& page) {
  const std::string title = escaped_markup(page.title);
  std::string out = str("<body>\n<h1>", title, "</h1>\n");
  if (!page.headline.empty()) {
    out += str("<p class=\"headline\">", escaped_markup(page.headline), "</p>\n",
               html_table(page.brief), "<p class=\"notes\">", escaped_markup(page.brief_notes),
               "</p>\n", terms());
  }
  const auto figure = [&](const Figure& f, std::string_view more = "") {
    out += str("<figure", more, ">\n", plot_box(f), "<figcaption>", escaped_markup(f.caption),
               "</figcaption>\n</figure>\n");
  };
  if (!page.fronts.empty()) out += "<div class=\"fronts\">\n";
  for (const Figure& f : page.fronts) {
    figure(f, &f == &page.fronts.front() ? " class=\"front\" id=\"pareto\"" : " class=\"front\"");
  }
  if (!page.fronts.empty()) out += "</div>\n";
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
  if (!page.figures.empty()) out += "<h2>Training</h2>\n";
  for (const Figure& f : page.figures) figure(f);
  out += layers_of(page) + diagnostics_of(page.diagnostics) + roofline_of(page.roofline) +
         samples_of(page.samples) + limits_of(page.limits);
  out +=
      str("<h2>Reproduce</h2>\n<p>In the directory of this page:</p>\n"
          "<pre>",
          escaped_markup(page.commands),
          "</pre>\n<p class=\"notes\">The same binary on the same machine gives the same hash: ",
          escaped_markup(page.hash), "</p>\n<details>\n<summary>Configuration</summary>\n<pre>",
          escaped_markup(page.config),
          "</pre>\n</details>\n<details>\n<summary>Environment</summary>\n",
          environment_table(page.environment), "</details>\n<script>", kPageScript,
          page.weights.empty() ? "" : kWeightGridScript, "</script>\n</body>\n");
  return str(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
      title, "</title>\n<style>", kPageStyle, svg::dark_rules(out), "</style>\n</head>\n", out,
      "</html>\n");
}

}  // namespace notch::experiments
