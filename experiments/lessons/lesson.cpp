#include "experiments/lessons/lesson.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "autograd/base/error.h"
#include "autograd/base/files.h"

namespace notch::lessons {
namespace {

constexpr std::size_t kColumns = 78, kLabel = 46;

/// Characters of a UTF-8 text.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string written(double value, int digits) {
  std::ostringstream out;
  out << std::setprecision(digits) << value;
  return out.str();
}

}  // namespace

void Page::say(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::size_t column = 0;
  out_ << '\n';
  for (std::string word; words >> word; column += width(word)) {
    if (column > 0) {
      const bool fits = column + 1 + width(word) <= kColumns;
      out_ << (fits ? ' ' : '\n');
      column = fits ? column + 1 : 0;
    }
    out_ << word;
  }
  out_ << '\n';
  in_claims_ = false;
}

void Page::print_line(std::string_view label, std::string_view value) {
  if (!in_claims_) out_ << '\n';
  in_claims_ = true;
  const std::size_t used = width(label);
  out_ << "  " << label << std::string(used < kLabel ? kLabel - used : 1, ' ') << ' ' << value
       << '\n';
}

void Page::number(std::string_view key, std::string_view label, double value, int digits) {
  print_line(label, written(value, digits));
  claims_.push_back({.key = std::string(key), .number = value});
}

void Page::print_numbers(std::string_view key, std::string_view label,
                         std::span<const double> values, int digits) {
  std::string list;
  for (std::size_t i = 0; i < values.size(); ++i) {
    list += (i > 0 ? ", " : "") + written(values[i], digits);
    claims_.push_back({.key = str(key, '.', i), .number = values[i]});
  }
  print_line(label, "[" + list + "]");
}

void Page::show(std::string_view key, std::string_view text) {
  out_ << '\n';
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) out_ << "  " << line << '\n';
  in_claims_ = false;
  claims_.push_back({.key = std::string(key), .text = std::string(text)});
}

void Page::picture(std::string_view name, const experiments::Plot& plot) {
  const fs::path file = pictures_ / (std::string(name) + ".svg");
  const std::string drawn = experiments::svg::file_of(experiments::svg_of(plot));
  const bool is_there = fs::exists(file) && read_file(file) == drawn;  // of the lesson read before
  if (!is_there) write_file(file, drawn, Existing::refuse);
  say(str("Picture: ", file.string()));
}

std::string Lesson::source() const {
  return str("experiments/lessons/", number, '_', name, ".cpp");
}

const Lesson& find_lesson(std::string_view text) {
  std::vector<std::string> names;
  for (const Lesson& lesson : lessons()) {
    const bool digit = text.size() == 1 && lesson.number == str("0", text);
    if (lesson.number == text || lesson.name == text || digit) return lesson;
    names.emplace_back(lesson.name);
  }
  const std::string near = did_you_mean(text, names);
  throw Error({.where = "notch lesson",
               .what = "no lesson has this number or name",
               .found = std::string(text),
               .hint = near.empty() ? "`notch lesson list` has them all"
                                    : str("did you mean ", near, "?")});
}

}  // namespace notch::lessons
