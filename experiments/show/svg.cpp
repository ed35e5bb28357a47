#include "experiments/show/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

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

using Rgb = std::array<double, 3>;  // 0 to 1

Rgb parsed(std::string_view color) {
  check(color.size() == 7 && color[0] == '#' &&
            color.find_first_not_of("0123456789abcdefABCDEF", 1) == color.npos,
        "svg color", printable(color), " is not #rrggbb");
  Rgb out{};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string digits(color.substr(1 + 2 * i, 2));
    out[i] = static_cast<double>(std::strtol(digits.c_str(), nullptr, 16)) / 255;
  }
  return out;
}

double luminance(const Rgb& c) {
  const auto linear = [](double v) {
    return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
}

/// The colour with another lightness, hue and saturation kept.
Rgb with_lightness(const Rgb& c, double lightness) {
  const double high = std::ranges::max(c), low = std::ranges::min(c), middle = (high + low) / 2;
  const double reach = 1 - std::abs(2 * middle - 1);
  const double saturation = reach > 0 ? (high - low) / reach : 0;
  const double half = saturation * (1 - std::abs(2 * lightness - 1)) / 2;
  Rgb out{};
  for (std::size_t i = 0; i < 3; ++i) {
    // From -1 at the lowest channel to 1 at the highest: what the hue says.
    const double place = high > low ? (2 * c[i] - high - low) / (high - low) : 0;
    out[i] = lightness + half * place;
  }
  return out;
}

}  // namespace

double contrast(std::string_view a, std::string_view b) {
  const double x = luminance(parsed(a)), y = luminance(parsed(b));
  return (std::max(x, y) + 0.05) / (std::min(x, y) + 0.05);
}

std::string on_dark_paper(std::string_view color) {
  if (color == kPaper) return kDarkPaper;
  const Rgb given = parsed(color);
  const double wanted = contrast(color, kPaper) * (luminance(parsed(kDarkPaper)) + 0.05) - 0.05;
  double low = 0, high = 1;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (luminance(with_lightness(given, middle)) < wanted ? low : high) = middle;
  }
  const Rgb found = with_lightness(given, high);
  char text[8];
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned>(std::lround(255 * std::clamp(found[i], 0.0, 1.0)));
  };
  std::snprintf(text, sizeof text, "#%02x%02x%02x", byte(0), byte(1), byte(2));
  return text;
}

std::string dark_rules(std::string_view markup) {
  std::string rules;
  for (const std::string_view property : {"fill", "stroke"}) {
    std::set<std::string_view> colors;
    const std::string before = str(' ', property, "=\"#");
    for (std::size_t at = markup.find(before); at != std::string_view::npos;
         at = markup.find(before, at + 1)) {
      colors.insert(markup.substr(at + before.size() - 1, 7));
    }
    for (const std::string_view c : colors) {
      rules += str("  [", property, "=\"", c, "\"] { ", property, ": ", on_dark_paper(c), "; }\n");
    }
  }
  return rules.empty() ? "" : str("@media (prefers-color-scheme: dark) {\n", rules, "}\n");
}

std::string file_of(std::string_view element) {
  check(element.starts_with("<svg") && element.find('>') != element.npos, "svg",
        "a file is made of an <svg> element");
  const std::size_t end = element.find('>') + 1;
  return str(element.substr(0, end), "\n<style>", dark_rules(element), "</style>",
             element.substr(end));
}

/// Coordinates to a tenth of a pixel, without a negative zero.
std::string px(double x) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", std::round(10 * x) / 10 + 0.0);
  return text;
}

std::string opening(std::string_view width, std::string_view height, std::string_view title,
                    std::string_view description) {
  return str("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, ' ', height,
             "\" width=\"", width, "\" height=\"", height,
             "\" role=\"img\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, "
             "sans-serif\">\n<title>",
             escaped_markup(title), "</title>\n<desc>", escaped_markup(description),
             "</desc>\n<rect width=\"", width, "\" height=\"", height, "\" fill=\"", kPaper,
             "\"/>\n");
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
                    std::string_view note, std::string_view more) {
  const bool open = s.hollow || s.mark == Mark::plus || s.mark == Mark::cross;
  const std::string color = escaped_markup(s.color);
  std::string out = str("<path class=\"", name, "\" transform=\"translate(", px(x), ',', px(y),
                        ")\" d=\"", outline(s.mark), "\" fill=\"", open ? kPaper : color,
                        "\" stroke=\"", open ? color : std::string(kPaper), "\" stroke-width=\"",
                        open ? "1.8" : "0.8", '"', more);
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
