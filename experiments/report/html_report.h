// The report of a run as one HTML page: what a person opens first.
//
// Self-contained: figures are inline SVG, nothing is loaded from anywhere; it opens from a file. All
// of it can be read without script, which filters, sorts, and moves the width over the weights. It is also
// well-formed XML. Equal contents give equal bytes: times stay in env.json.
#pragma once

#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/report/diagnostic_figures.h"
#include "experiments/report/figures.h"
#include "experiments/show/heat_map.h"
#include "experiments/show/table.h"
#include "experiments/show/weight_grid.h"

namespace notch::experiments {

/// Tables under a heading, after the results.
struct ReportSection {
  std::string title{};
  std::string notes{};
  std::vector<Table> tables{};
};

/// What models wrote after one prompt. `same` bytes of a text are those of the model it was made of.
struct PageSample {
  std::string title{};
  std::string text{};
  std::size_t same = 0;
};
struct PageSamples {
  std::string notes{};
  std::string prompt{};
  std::vector<PageSample> samples{};
};

struct ReportPage {
  std::string title{};
  std::string header{};    ///< one line
  std::string verdict{};   ///< a sentence or more per line
  std::string headline{};  ///< what it comes to; "" without quantized rows, as what follows
  Table brief{{}};         ///< in a line per width
  std::string brief_notes{};
  std::vector<Figure> fronts{};  ///< what is reached with how much, before the table
  Table table{{}};
  std::string column_notes{};
  std::vector<ReportSection> sections{};
  std::vector<Figure> figures{};  ///< of the training
  std::vector<FigureGroup> diagnostics{};
  std::vector<HeatMap> layers{};
  std::vector<WeightHistogram> weights{};
  int weight_bits = 4;     ///< the width at which the first of them is shown
  std::string roofline{};  ///< an <svg>; "" where it was not measured
  PageSamples samples{};
  std::vector<std::string> limits{};  ///< what the numbers do not say, a sentence or two each
  std::string commands{"notch run config.resolved.toml --out again"};  ///< that make it again
  std::string config{};               ///< TOML, every value of the run
  Json environment{};                 ///< as in env.json; its time and command line are not shown
  std::string hash{};                 ///< of the results
};

std::string html_page(const ReportPage& page);

}  // namespace notch::experiments
