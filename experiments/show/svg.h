// SVG elements: text, lines and marks as lines of XML. What a plot is made of; where they go is
// plot.h's.
//
// Coordinates are pixels, written to a tenth. All words are escaped.
#pragma once

#include <string>
#include <string_view>

namespace notch::experiments {

/// `text` for XML and HTML: & < > " ' escaped, control characters replaced by spaces.
std::string escaped_markup(std::string_view text);

enum class Mark {
  none,
  circle,
  square,
  diamond,
  triangle_up,
  triangle_down,
  triangle_left,
  triangle_right,
  star,
  spark,
  hexagon,
  bar,
  plus,
  cross
};

namespace svg {

constexpr const char* kInk = "#222222";
constexpr const char* kPaper = "#ffffff";

std::string px(double x);

/// About the width of a text of size 12, in pixels.
double text_width(std::string_view text);

struct TextStyle {
  const char* anchor = "start";
  int size = 12;
  std::string_view color = kInk;
  std::string_view more{};  ///< further attributes, each with a space before it
};

std::string text_at(double x, double y, std::string_view words, const TextStyle& style = {});

/// `more`: further attributes, each with a space before it.
std::string line_from(double x1, double y1, double x2, double y2, std::string_view color,
                      double width, std::string_view more = "");

struct MarkStyle {
  Mark mark = Mark::circle;
  std::string_view color = kInk;
  bool hollow = false;
};
/// A mark around (x, y), of the given class; a browser shows `note` when the pointer rests on it.
std::string mark_at(double x, double y, const MarkStyle& style, std::string_view name,
                    std::string_view note = "");

}  // namespace svg
}  // namespace notch::experiments
