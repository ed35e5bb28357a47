// SVG elements: text, lines and marks as lines of XML. What a plot is made of; where they go is
// plot.h's.
//
// Coordinates are pixels, written to a tenth. All words are escaped.
#pragma once

#include <string>
#include <string_view>

namespace notch::experiments {

/// `text` for XML and HTML: & < > " ' escaped, control characters as printable() shows them.
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
constexpr const char* kDarkPaper = "#16181c";

/// Contrast of two colours "#rrggbb", 1 to 21 (WCAG 2.2, "contrast ratio").
double contrast(std::string_view a, std::string_view b);

/// What `color` ("#rrggbb", meant for kPaper) is on kDarkPaper: the same hue and saturation (HSL),
/// as light as gives it the contrast there that it has on white; at most white.
std::string on_dark_paper(std::string_view color);

/// CSS: every colour that `markup` names as fill="#…" or stroke="#…" becomes on_dark_paper where
/// the reader's system is dark. "" where there is none.
std::string dark_rules(std::string_view markup);

/// An <svg> element as a file of its own, with its dark_rules.
std::string file_of(std::string_view element);

std::string px(double x);

/// How a picture begins, up to its paper: sizes in pixels as they are to be written.
std::string opening(std::string_view width, std::string_view height, std::string_view title,
                    std::string_view description);

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
/// `more` as in line_from.
std::string mark_at(double x, double y, const MarkStyle& style, std::string_view name,
                    std::string_view note = "", std::string_view more = "");

}  // namespace svg
}  // namespace notch::experiments
