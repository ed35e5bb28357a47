// Plot: a small SVG writer for scatter and line plots, enough for the figures of a report.
//
// One function from data to text: equal plots give equal bytes, nothing refers to another file, and
// what is not finite is left out. Every point stands at its true place. A description in words is
// part of the element, for those who cannot see it. Marks are told apart by shape as well as by colour (Okabe and
// Ito's palette, safe for colour-blind readers). Legend and names of levels stand outside the plot
// area, so that they cannot cover points.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/show/svg.h"

namespace notch::experiments {

struct PlotPoint {
  double x = 0;
  double y = 0;
  double error = 0;    ///< half length of the error bar; <= 0: none
  std::string note{};  ///< shown by a browser when the pointer rests on the mark
  /// What a page's filter knows the point by: data-model, data-method and data-bits of its mark and
  /// bar.
  std::string model{}, method{}, bits{};
};

struct PlotSeries {
  std::string name{};  ///< for the legend; "" or the name of an earlier series: no entry of its own
  std::string color = "#000000";
  Mark mark = Mark::none;
  bool hollow = false;
  bool line = false;        ///< joins the points, in their order
  std::string end_label{};  ///< beside the last point, in the right margin
  std::vector<PlotPoint> points{};
};

/// A horizontal line across the plot, named in the right margin.
struct PlotLevel {
  std::string name{};
  std::string color = "#000000";
  double y = 0;
};

/// A place on the x axis, named along the upper edge.
struct PlotPlace {
  std::string name{};
  double x = 0;
};

struct Plot {
  std::string title{};
  std::string x_label{};
  std::string y_label{};  ///< completed by the scale's name where it is not linear
  int width = 720;
  int height = 440;  ///< more for a legend of more than one line
  /// Whether y may become symmetric-logarithmic: linear around zero as high as a decade, then
  /// logarithmic. It does when the largest magnitude is over ten times the median; the axis says
  /// where it changes.
  bool may_be_log = false;
  bool x_is_log = false;  ///< logarithmic in x; points that are not above zero are left out
  /// What y cannot pass: error bars end there.
  double y_least = -std::numeric_limits<double>::infinity(), y_most = -y_least;
  std::vector<PlotSeries> series{};
  std::vector<PlotLevel> levels{};
  std::vector<PlotPlace> places{};
};

/// A complete <svg> element with its namespace: a file of its own, or a part of an HTML page.
std::string svg_of(const Plot& plot);

/// About `count` round numbers (1, 2 or 5 times a power of ten apart) in [low, high], low < high.
std::vector<double> round_numbers(double low, double high, int count);

}  // namespace notch::experiments
