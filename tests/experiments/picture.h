// What a test asks of a picture: is it XML, where are its marks.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/error.h"
#include "tests/catch.h"

namespace notch::test {

inline std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++n;
  }
  return n;
}

/// What is wrong with the text as XML: tags that do not balance, attributes without quotes, bare &
/// or <. Empty when nothing is.
inline std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '&') {
      const std::string_view entity = text.substr(at, text.find(';', at) - at + 1);
      const std::vector<std::string_view> known{"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
      if (std::ranges::find(known, entity) == known.end()) return str("entity at ", at);
    }
    if (text[at] != '<') {
      ++at;
      continue;
    }
    std::size_t end = at + 1;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return str("< inside a tag at ", end);
    }
    if (end >= text.size()) return "a tag has no end";
    const std::string tag(text.substr(at + 1, end - at - 1));
    at = end + 1;
    if (tag.starts_with('!')) continue;
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag.starts_with('/')) {
      if (open.empty() || "/" + open.back() != tag) return "unexpected <" + tag + ">";
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    if (count(tag, "=\"") * 2 != count(tag, "\"")) return "quotes in <" + tag + ">";
  }
  return open.empty() ? "" : "<" + open.back() + "> has no end";
}

inline double number_after(std::string_view text, std::string_view key, std::size_t from) {
  const std::size_t at = text.find(key, from);
  REQUIRE(at != std::string_view::npos);
  return std::stod(std::string(text.substr(at + key.size(), 24)));
}

struct Spot {
  double x = 0, y = 0;
};
inline std::vector<Spot> marks_of(std::string_view svg) {
  constexpr std::string_view kMark = "<path class=\"mark\"";
  std::vector<Spot> marks;
  for (std::size_t at = svg.find(kMark); at != std::string_view::npos;
       at = svg.find(kMark, at + 1)) {
    marks.push_back(
        {number_after(svg, "translate(", at), number_after(svg, ",", svg.find("translate(", at))});
  }
  return marks;
}

/// Whether every mark is inside the plot area and every coordinate is a number inside the picture.
inline void check_picture(const std::string& svg, std::size_t marks) {
  CHECK(xml_fault(svg) == "");
  CHECK(count(svg, "http") == 1);
  CHECK(count(svg, "xmlns=\"http://www.w3.org/2000/svg\"") == 1);
  for (const char* bad : {"nan", "inf", "href", "url(", "<script", "<image"}) {
    INFO(bad);
    CHECK(count(svg, bad) == 0);
  }
  const std::size_t area = svg.find("<rect class=\"area\"");
  REQUIRE(area != std::string::npos);
  const double left = number_after(svg, " x=\"", area), top = number_after(svg, " y=\"", area);
  const double right = left + number_after(svg, " width=\"", area);
  const double bottom = top + number_after(svg, " height=\"", area);
  CHECK(bottom - top > 100);
  const std::vector<Spot> found = marks_of(svg);
  CHECK(found.size() == marks);
  for (const Spot& m : found) {
    CHECK(m.x > left);
    CHECK(m.x < right);
    CHECK(m.y > top);
    CHECK(m.y < bottom);
  }
}

}  // namespace notch::test
