#include "experiments/show/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "autograd/base/error.h"
#include "autograd/base/printable.h"

namespace notch::experiments {
namespace svg {
namespace {

constexpr double kMark = 5.2;       // radius, pixels
constexpr double kCharacter = 6.7;  // about the mean width of one at 12 px

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

std::string outline(Mark mark) {
  const auto polygon = [](int corners, double first_degree, double radius, double inner = 0) {
    std::string d;
    const int n = inner > 0 ? 2 * corners : corners;
    for (int i = 0; i < n; ++i) {
      const double angle = (first_degree + 360.0 * i / n) * 3.14159265358979 / 180;
      const double r = inner > 0 && i % 2 == 1 ? inner : radius;
      d += str(i == 0 ? "M" : "L", px(r * std::cos(angle)), ' ', px(r * std::sin(angle)));
    }
    return d + "Z";
  };
  switch (mark) {
    case Mark::circle:
      return polygon(24, 0, kMark);
    case Mark::square:
      return polygon(4, 45, kMark * 1.3);
    case Mark::diamond:
      return polygon(4, 0, kMark * 1.4);
    case Mark::triangle_up:
      return polygon(3, -90, kMark * 1.45);
    case Mark::triangle_down:
      return polygon(3, 90, kMark * 1.45);
    case Mark::triangle_left:
      return polygon(3, 180, kMark * 1.45);
    case Mark::triangle_right:
      return polygon(3, 0, kMark * 1.45);
    case Mark::spark:
      return polygon(4, -90, kMark * 1.7, kMark * 0.6);
    case Mark::hexagon:
      return polygon(6, 0, kMark * 1.15);
    case Mark::bar:
      return "M-7 -2.5L7 -2.5L7 2.5L-7 2.5Z";
    case Mark::star:
      return polygon(5, -90, kMark * 1.6, kMark * 0.75);
    case Mark::plus:
      return "M-5 0L5 0M0 -5L0 5";
    case Mark::cross:
      return "M-4 -4L4 4M-4 4L4 -4";
    case Mark::none:
      break;
  }
  return "";
}

}  // namespace

/// Coordinates to a tenth of a pixel, without a negative zero.
std::string px(double x) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", std::round(10 * x) / 10 + 0.0);
  return text;
}

double text_width(std::string_view text) {
  return kCharacter * static_cast<double>(characters(text));
}

std::string text_at(double x, double y, std::string_view words, const TextStyle& style) {
  return str("<text x=\"", px(x), "\" y=\"", px(y), "\" text-anchor=\"", style.anchor,
             "\" font-size=\"", style.size, "\" fill=\"", escaped_markup(style.color), '"',
             style.more, '>', escaped_markup(words), "</text>\n");
}

std::string line_from(double x1, double y1, double x2, double y2, std::string_view color,
                      double width, std::string_view more) {
  return str("<line x1=\"", px(x1), "\" y1=\"", px(y1), "\" x2=\"", px(x2), "\" y2=\"", px(y2),
             "\" stroke=\"", escaped_markup(color), "\" stroke-width=\"", px(width), '"', more,
             "/>\n");
}

std::string mark_at(double x, double y, const MarkStyle& s, std::string_view name,
                    std::string_view note) {
  const bool open = s.hollow || s.mark == Mark::plus || s.mark == Mark::cross;
  const std::string color = escaped_markup(s.color);
  std::string out =
      str("<path class=\"", name, "\" transform=\"translate(", px(x), ',', px(y), ")\" d=\"",
          outline(s.mark), "\" fill=\"", open ? kPaper : color, "\" stroke=\"",
          open ? color : std::string(kPaper), "\" stroke-width=\"", open ? "1.8" : "0.8", '"');
  return out + (note.empty() ? "/>\n" : str("><title>", escaped_markup(note), "</title></path>\n"));
}

}  // namespace svg

std::string escaped_markup(std::string_view text) {
  std::string out;
  for (const char c : printable_lines(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace notch::experiments
