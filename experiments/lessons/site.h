// Site: four lessons as pages for a browser, to be touched: the tape stepped forwards and backwards,
// a weight dragged across the staircase, the width of a grid moved over histograms, GPTQ's columns
// stepped.
//
// Self-contained files with inline SVG and a few kilobytes of plain script; without script they show
// the last step. What is stepped was computed here, by the engine or as in its lesson.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace notch::lessons {

/// A line of the page that steps through y = tanh(w x + b): the value or gradient that comes with it.
struct TapeStep {
  std::string where{};  ///< the node: "w", "w x", "z", "y"
  bool backward = false;
  double number = 0;
  std::string why{};
};
/// At lesson 01's numbers, computed by the engine.
std::vector<TapeStep> tape_steps();

/// A column that GPTQ rounds, in lesson 12's example.
struct ColumnStep {
  std::size_t column = 0;
  double weight = 0, code = 0, scaled_error = 0;  ///< (weight - code) / H⁻¹ of the column
  std::array<double, 3> after{};                  ///< all weights, rounded ones included
};
std::vector<ColumnStep> column_steps();

/// Writes index.html and the pages into `dir`, which is made where it is absent. Throws Fault::io.
void write_site(const std::filesystem::path& dir);

}  // namespace notch::lessons
