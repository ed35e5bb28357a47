// The report of a run as one HTML page: what a person opens first.
//
// Self-contained: figures are inline SVG, nothing is loaded from anywhere; it opens from a file. All
// of it can be read without script, which only sorts and filters the table of all rows. It is also
// well-formed XML. Equal contents give equal bytes: times stay in env.json.
#pragma once

#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/report/diagnostic_figures.h"
#include "experiments/report/figures.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// Tables under a heading, after the results.
struct ReportSection {
  std::string title{};
  std::string notes{};
  std::vector<Table> tables{};
};

struct ReportPage {
  std::string title{};
  std::string header{};    ///< one line
  std::string verdict{};   ///< a sentence or more per line
  std::string headline{};  ///< what it comes to; "" without quantized rows, as what follows
  Table brief{{}};         ///< in a line per width
  std::string brief_notes{};
  std::vector<Figure> figures{};
  Table table{{}};
  std::string column_notes{};
  std::vector<ReportSection> sections{};
  std::vector<FigureGroup> diagnostics{};
  std::string config{};  ///< TOML, every value of the run
  Json environment{};    ///< as in env.json; its time and command line are not shown
  std::string hash{};    ///< of the results
};

std::string html_page(const ReportPage& page);

}  // namespace notch::experiments
