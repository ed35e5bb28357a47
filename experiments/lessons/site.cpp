#include "experiments/lessons/site.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "experiments/lessons/random_layer.h"
#include "experiments/lessons/site_scripts.h"
#include "experiments/show/page_style.h"
#include "experiments/show/svg.h"
#include "experiments/show/table.h"
#include "experiments/show/weight_grid.h"
#include "quant/methods/reference.h"

namespace notch::lessons {
namespace {

namespace fs = std::filesystem;
using experiments::escaped_markup;
using experiments::printed;
namespace svg = experiments::svg;

struct SitePage {
  const char* file;
  const char* title;
  const char* lesson;  ///< where to read on
  std::string (*body)();
  std::string_view script;
};

std::string drawing(const char* title, const std::string& told, int width, int height,
                    const std::string& inside) {
  return str("<div class=\"plot\">\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ",
             width, ' ', height, "\" width=\"", width, "\" height=\"", height,
             "\" role=\"img\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, "
             "sans-serif\">\n<title>",
             title, "</title>\n<desc>", escaped_markup(told), "</desc>\n<rect width=\"", width,
             "\" height=\"", height, "\" fill=\"", svg::kPaper, "\"/>\n", inside,
             "</svg>\n</div>\n");
}

std::string paragraph(std::string_view words) {
  return str("<p>", escaped_markup(words), "</p>\n");
}

std::string four(double v) { return printed("%.4g", v); }

std::string at_step(std::size_t step) { return str(" data-step=\"", step, '"'); }

/// A table of steps: with script, those to come are hidden.
std::string step_table(const std::vector<std::string>& titles,
                       const std::vector<std::vector<std::string>>& rows) {
  std::string out =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"steps\"><table>\n<tr>";
  for (const std::string& t : titles) {
    out += str("<th scope=\"col\" class=\"text\">", escaped_markup(t), "</th>");
  }
  out += "</tr>\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out += str("<tr", at_step(i + 1), '>');
    for (const std::string& cell : rows[i]) {
      out += str("<td class=\"text\">", escaped_markup(cell), "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string tape_page() {
  const std::vector<TapeStep> steps = tape_steps();
  struct Node {
    const char* name;
    double x, y;
  };
  constexpr Node kNodes[] = {{"w", 70, 60},    {"x", 70, 140},  {"b", 250, 180},
                             {"w x", 250, 90}, {"z", 420, 120}, {"y", 590, 120}};
  constexpr std::pair<int, int> kEdges[] = {{0, 3}, {1, 3}, {3, 4}, {2, 4}, {4, 5}};
  std::string inside, told = "Nodes w, x and b lead to y by w x and z = w x + b.";
  for (const auto& [from, to] : kEdges) {
    inside += svg::line_from(kNodes[from].x + 44, kNodes[from].y, kNodes[to].x - 44, kNodes[to].y,
                             "#888888", 1.2);
  }
  for (const Node& n : kNodes) {
    inside += str("<rect x=\"", svg::px(n.x - 44), "\" y=\"", svg::px(n.y - 14),
                  "\" width=\"88\" height=\"28\" rx=\"5\" fill=\"#f0f0f0\" stroke=\"#888888\"/>\n");
    inside +=
        svg::text_at(n.x, n.y + 4, n.name, {.anchor = "middle", .more = " font-weight=\"bold\""});
  }
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const TapeStep& s = steps[i];
    const auto node =
        std::ranges::find_if(kNodes, [&](const Node& n) { return s.where == n.name; });
    const std::string attribute = at_step(i + 1);
    const std::string what =
        s.backward ? str("dy/d(", s.where, ") ", four(s.number)) : four(s.number);
    inside += svg::text_at(node->x, node->y + (s.backward ? 29 : -19), what,
                           {.anchor = "middle",
                            .color = s.backward ? std::string_view("#a33b00") : svg::kInk,
                            .more = attribute});
    told += str(' ', s.backward ? "gradient of " : "value of ", s.where, ": ", four(s.number), '.');
    rows.push_back({str(i + 1), s.backward ? "back" : "forward", s.where, four(s.number), s.why});
  }
  return paragraph(
             "A program that trains writes down every operation it does, in order: the tape. Then "
             "it "
             "walks the tape back, from the result to the inputs, and hands to every number its "
             "gradient: how the result moves when that number moves.") +
         "<figure id=\"steps\">\n" +
         drawing("The tape of y = tanh(w x + b)", told, 680, 230, inside) +
         step_table({"step", "way", "node", "number", "why"}, rows) + "</figure>\n" +
         paragraph(
             "Values are written above the nodes, gradients below them. The gradient of z is 1 - y "
             "y because that is the slope of tanh there; the product hands each side the gradient "
             "times the other side.");
}

std::string staircase_page() {
  // w from -0.2 to 1 is 40 to 640; the script draws in the same places.
  const auto x = [](double w) { return 40 + 500 * (w + 0.2); };
  const auto y = [](double v) { return 250 - 220 * (v + 0.2); };
  std::string path, inside;
  for (int k = -2; k <= 7; ++k) {
    const double from = std::max(0.1 * k - 0.05, -0.2), to = k == 7 ? 1 : 0.1 * k + 0.05;
    path += str(path.empty() ? "M" : "L", svg::px(x(from)), ' ', svg::px(y(0.1 * k)), "L",
                svg::px(x(to)), ' ', svg::px(y(0.1 * k)));
  }
  for (int i = 0; i <= 6; ++i) {
    const double w = -0.2 + 0.2 * i;
    inside += svg::text_at(x(w), 272, four(std::abs(w) < 1e-9 ? 0 : w), {.anchor = "middle"});
    inside += svg::line_from(x(w), 250, x(w), 255, svg::kInk, 1);
  }
  for (int i = 0; i <= 4; ++i) {
    const double v = 0.2 * i;
    inside += svg::text_at(34, y(v) + 4, four(v), {.anchor = "end"});
    inside += svg::line_from(40, y(v), 640, y(v), "#e6e6e6", 1);
  }
  inside += svg::line_from(40, y(0.33), 640, y(0.33), "#00704f", 1.2, " stroke-dasharray=\"6 4\"");
  inside += svg::text_at(646, y(0.33) + 4, "0.33", {.color = "#00704f"});
  inside += str("<path d=\"", path, "\" fill=\"none\" stroke=\"#0062a3\" stroke-width=\"2\"/>\n");
  inside += svg::line_from(x(0.17), y(0.2), x(0.57), y(0.6), "#a33b00", 1.6,
                           " class=\"pretended\" stroke-dasharray=\"3 3\"");
  inside += str("<circle class=\"now\" cx=\"", svg::px(x(0.37)), "\" cy=\"", svg::px(y(0.4)),
                "\" r=\"7\" fill=\"#a33b00\"/>\n");
  inside += svg::text_at(340, 292, "weight w", {.anchor = "middle"});
  inside += svg::text_at(44, 22, "what the network sees, ŵ");
  return paragraph(
             "The network sees ŵ, the nearest point of a grid with step 0.1 that ends at 0.7. The "
             "staircase is flat wherever it is not broken, so its true slope is 0 and training "
             "would "
             "learn nothing. The straight-through estimator pretends that the slope is 1 (the "
             "dashed "
             "line) inside the grid, and 0 outside.") +
         "<figure id=\"staircase\">\n" +
         drawing("A weight on the staircase",
                 "The rounded weight over the weight: steps of 0.1 up to 0.7, flat above. At w = "
                 "0.37 the rounded weight is 0.4, and the dashed line of slope 1 goes through it. "
                 "The loss is least at 0.33.",
                 680, 300, inside) +
         "<p class=\"said\" aria-live=\"polite\">At w = 0.37: ŵ = 0.4, the loss (ŵ − 0.33)² has "
         "the "
         "slope 0.14 at ŵ; the true gradient of w is 0, the straight-through one is 0.14.</p>\n"
         "</figure>\n" +
         paragraph(
             "The loss wants 0.33, which is no point of the grid. Press \"train\" until the weight "
             "reaches the boundary at 0.35: it is pushed down from 0.4 and up from 0.3, for ever. "
             "That is oscillation, and the count of changed codes tells it.");
}

std::string width_page() {
  constexpr std::size_t kWeights = 4096, kBins = 64;
  Rng rng(7);
  std::vector<double> normal(kWeights), uniform(kWeights);
  for (double& w : normal) w = rng.normal();
  for (double& w : uniform) w = 2 * rng.uniform() - 1;
  std::vector<double> outlier = normal;
  outlier[0] = 20;
  std::vector<experiments::WeightHistogram> all;
  for (const auto& [name, w] : {std::pair{"normal", &normal},
                                {"normal with one weight of 20 σ", &outlier},
                                {"uniform", &uniform}}) {
    experiments::WeightHistogram h{.name = name, .shares = std::vector<double>(kBins)};
    double most = 0, signal = 0;
    for (const double v : *w) most = std::max(most, std::abs(v)), signal += v * v;
    for (const double v : *w) {
      const auto bin = static_cast<std::size_t>((v / most + 1) / 2 * kBins);
      h.shares[std::min(bin, kBins - 1)] += 1.0 / kWeights;
    }
    for (int bits = 2; bits <= 8; ++bits) {
      const double step = most / ((1 << (bits - 1)) - 1);
      double noise = 0;
      for (const double v : *w) noise += std::pow(v - step * std::nearbyint(v / step), 2);
      h.sqnr_db.push_back(10 * std::log10(signal / noise));
    }
    all.push_back(std::move(h));
  }
  return paragraph(
             "With b bits a symmetric grid has 2^b - 1 values, evenly spread over the range of the "
             "weights. Every bit halves the step between them: some 6 dB less noise. One large "
             "weight stretches the range for all, and the values are spent where no weights are.") +
         weight_grid(all, 4) +
         paragraph(
             "Move the width, and choose other weights: 4096 each. With the outlier it takes some "
             "two bits more to be as good as without.");
}

std::string gptq_page() {
  const std::vector<ColumnStep> steps = column_steps();
  std::array<double, 3> w{0.1, 0.2, 0.3};
  const auto list = [](const std::array<double, 3>& v) {
    return str('(', four(v[0]), ", ", four(v[1]), ", ", four(v[2]), ')');
  };
  // A line from 0 to 1 for each column; a group of marks per step, of which one is shown.
  const auto x = [](std::size_t column) { return 120 + 200 * static_cast<double>(column); };
  const auto y = [](double v) { return 210 - 160 * v; };
  std::string inside;
  for (std::size_t c = 0; c < 3; ++c) {
    inside += svg::line_from(x(c), y(0) + 10, x(c), y(1) - 10, "#888888", 1.2);
    for (const double v : {0.0, 0.5, 1.0}) {
      inside +=
          svg::line_from(x(c) - 8, y(v), x(c) + 8, y(v), v == 0.5 ? "#e6e6e6" : "#0062a3", 1.6);
    }
    inside += svg::text_at(x(c) - 14, y(0) + 4, "0", {.anchor = "end"});
    inside += svg::text_at(x(c) - 14, y(1) + 4, "1", {.anchor = "end"});
    inside += svg::text_at(x(c), 244, str("weight ", c + 1), {.anchor = "middle"});
  }
  std::vector<std::vector<std::string>> rows;
  std::string told = "Weights at " + list(w) + " before the first step.";
  const auto marks = [&](std::size_t step, const std::array<double, 3>& at) {
    std::string group = str("<g data-only=\"", step, '"',
                            step == steps.size() ? "" : " style=\"display: none\"", ">\n");
    for (std::size_t c = 0; c < 3; ++c) {
      const bool is_code = c < step;
      group += str("<circle cx=\"", svg::px(x(c)), "\" cy=\"", svg::px(y(at[c])),
                   "\" r=\"6\" fill=\"", is_code ? "#00704f" : "#a33b00", "\"/>\n");
      group += svg::text_at(x(c) + 14, y(at[c]) + 4, four(at[c]));
    }
    inside += group + "</g>\n";
  };
  marks(0, w);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const ColumnStep& s = steps[i];
    marks(i + 1, s.after);
    rows.push_back(
        {str(s.column + 1), four(s.weight), four(s.code), four(s.scaled_error), list(s.after)});
    told += str(" Then weight ", s.column + 1, " is rounded to ", four(s.code), ": ", list(s.after),
                '.');
  }
  return paragraph(
             "Three inputs that have much in common: the mean of their products, H, is 5 on the "
             "diagonal and 4 beside it. The weights 0.1, 0.2 and 0.3 would all be rounded down, "
             "and "
             "the output with them: an error of 1.58. GPTQ rounds one weight and moves those to "
             "its "
             "right to where the output changes least.") +
         "<figure id=\"steps\">\n" +
         drawing("Three weights, column by column", told, 680, 260, inside) +
         step_table({"column", "weight", "code", "error ÷ H⁻¹ of the column", "weights after"},
                    rows) +
         "</figure>\n" +
         paragraph(
             "The last weight has grown to 0.54 and is rounded up: (0, 0, 1) has an error of "
             "1.18.");
}

const std::vector<SitePage>& pages() {
  static const std::vector<SitePage> all = {
      {"tape.html", "Step through the tape of y = tanh(w x + b)", "01", tape_page, kStepScript},
      {"staircase.html", "Drag a weight across the staircase", "10", staircase_page,
       kStaircaseScript},
      {"width.html", "Move the width of a grid over its weights", "08", width_page,
       experiments::kWeightGridScript},
      {"gptq.html", "Step through GPTQ's columns", "12", gptq_page, kStepScript}};
  return all;
}

std::string page_of(std::string_view title, const std::string& body, std::string_view script) {
  return str(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
      escaped_markup(title), "</title>\n<style>", experiments::kPageStyle, kSiteStyle,
      svg::dark_rules(body), "</style>\n</head>\n<body>\n<h1>", escaped_markup(title), "</h1>\n",
      body, script.empty() ? "" : str("<script>", script, "</script>\n"), "</body>\n</html>\n");
}

}  // namespace

std::vector<TapeStep> tape_steps() {
  real w = 0.5, x = 2, b = -0.5;
  Graph g;
  g.begin(Graph::Mode::training);
  const Var vw = g.input({&w, {1}}, "w"), vx = g.input({&x, {1}}, "x"),
            vb = g.input({&b, {1}}, "b");
  const Var product = mul(vw, vx), z = add(product, vb), y = tanh(z);
  std::vector<TapeStep> out;
  const auto forward = [&](const char* where, Var v, const char* why) {
    out.push_back({where, false, static_cast<double>(v.item()), why});
  };
  forward("w", vw, "the weight");
  forward("x", vx, "the input");
  forward("b", vb, "the bias");
  forward("w x", product, "a product of lines 1 and 2");
  forward("z", z, "a sum of lines 4 and 3");
  forward("y", y, "tanh of line 5: the result");
  g.backward(y);
  const auto backward = [&](const char* where, Var leaf, const char* why) {
    out.push_back({where, true, static_cast<double>(g.grad(leaf)[0]), why});
  };
  out.push_back({"y", true, 1, "the result moves as itself does"});
  // A graph keeps the gradients of its inputs; those of z and w x are b's, as sums hand theirs on.
  backward("z", vb, "tanh has the slope 1 - y y");
  backward("b", vb, "a sum hands its gradient to both sides");
  backward("w x", vb, "a sum hands its gradient to both sides");
  backward("x", vx, "a product: times the other side, w");
  backward("w", vw, "a product: times the other side, x");
  return out;
}

std::vector<ColumnStep> column_steps() {
  Matrix Hinv = quant::reference::inverse(Matrix{5, 4, 4, 4, 5, 4, 4, 4, 5}, 3);
  const auto h = [&](std::size_t i, std::size_t j) -> double& { return Hinv[i * 3 + j]; };
  std::array<double, 3> w{0.1, 0.2, 0.3};
  std::vector<ColumnStep> out;
  for (std::size_t c = 0; c < 3; ++c) {
    ColumnStep step{.column = c, .weight = w[c], .code = nearest(w[c], 1)};
    step.scaled_error = (w[c] - step.code) / h(c, c);
    w[c] = step.code;
    for (std::size_t j = c + 1; j < 3; ++j) w[j] -= step.scaled_error * h(j, c);
    for (std::size_t i = c + 1; i < 3; ++i) {
      for (std::size_t j = c + 1; j < 3; ++j) h(i, j) -= h(i, c) * h(c, j) / h(c, c);
    }
    step.after = w;
    out.push_back(step);
  }
  return out;
}

void write_site(const fs::path& dir) {
  fs::create_directories(dir);
  std::string list =
      paragraph("Four lessons to touch. Each stands beside one that runs in the terminal.") +
      "<ul>\n";
  for (const SitePage& p : pages()) {
    const std::string back = str("<p class=\"notes\">Read on: notch lesson ", p.lesson,
                                 " <a href=\"index.html\">All pages</a></p>\n");
    write_file(dir / p.file, page_of(p.title, p.body() + back, p.script));
    list += str("<li><a href=\"", p.file, "\">", escaped_markup(p.title), "</a>, with lesson ",
                p.lesson, "</li>\n");
  }
  write_file(dir / "index.html", page_of("Lessons to touch", list + "</ul>\n", ""));
}

}  // namespace notch::lessons
