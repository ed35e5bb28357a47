// Tables of the README and of RESULTS.md, and the records in experiments/results/ that they are compared with.
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <initializer_list>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace notch::test {

using Row = std::map<std::string, double>;  // the columns that have a number

inline fs::path file_of(const char* name) { return source_dir() / name; }

inline std::vector<std::string> lines_of(const char* document) {
  std::vector<std::string> lines;
  std::istringstream in(read_file(file_of(document)));
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// A file of experiments/results/, an object a line.
inline std::vector<Json> records(const char* name) {
  std::vector<Json> all;
  for (const std::string& line : lines_of(str("experiments/results/", name).c_str()))
    all.push_back(Json::parse(line, name));
  return all;
}

/// Those of a run, by method and bits, as in "gptq seq of control, 2".
inline std::map<std::string, Row> recorded(const char* name) {
  std::map<std::string, Row> rows;
  for (const Json& json : records(name)) {
    Row row;
    for (const auto& [key, value] : json.as_object(name)) {
      if (value.is_number()) row[key] = value.as_number(name);
    }
    rows[str(json.at("method", name).as_string(name), ", ", row.at("bits"))] = row;
  }
  return rows;
}

/// The cells of the lines below the first line that begins so, up to one that is no row.
inline std::vector<std::vector<std::string>> table(const char* document, const std::string& first) {
  std::vector<std::vector<std::string>> rows;
  const std::vector<std::string> lines = lines_of(document);
  auto line = std::ranges::find_if(lines, [&](const auto& l) { return l.starts_with(first); });
  if (line != lines.end()) std::advance(line, 2);  // |---|---:|
  for (; line != lines.end() && line->starts_with("| "); ++line) {
    std::vector<std::string> cells;
    std::istringstream columns(line->substr(1));
    for (std::string cell; std::getline(columns, cell, '|');) {
      const std::size_t begin = cell.find_first_not_of(' '), end = cell.find_last_not_of(' ');
      cells.push_back(begin == cell.npos ? "" : cell.substr(begin, end - begin + 1));
    }
    rows.push_back(cells);
  }
  return rows;
}

/// From where the document says `from` up to where it says `to`, both on one line of any length.
inline std::string passage(const char* document, const std::string& from, const std::string& to) {
  std::string text = read_file(file_of(document));
  std::ranges::replace(text, '\n', ' ');
  const std::size_t begin = text.find(from);
  CAPTURE(document, from, to);
  REQUIRE(begin != text.npos);
  const std::size_t end = text.find(to, begin + from.size());
  REQUIRE(end != text.npos);
  return text.substr(begin, end - begin);
}

/// The numbers of a cell or of a sentence, each the expected one rounded to the decimals it has: "+0.0311
/// [+0.0223, +0.0400]" has three, "1,234" one, "-" and "fp32" none.
inline void check_cell(const std::string& cell, const std::vector<double>& expected) {
  constexpr const char* kDigits = "0123456789";
  std::size_t found = 0;
  for (std::size_t at = cell.find_first_of(kDigits); at != cell.npos;) {
    std::size_t end = std::min(cell.find_first_not_of("0123456789.,", at), cell.size());
    while (cell[end - 1] == ',' || cell[end - 1] == '.') --end;
    const char before = at > 0 ? cell[at - 1] : ' ';  // "q4_0" is a name
    if (before == '_' || std::isalpha(static_cast<unsigned char>(before))) {
      at = cell.find_first_of(kDigits, end);
      continue;
    }
    std::string digits = cell.substr(at, end - at);
    std::erase(digits, ',');
    const std::size_t point = digits.find('.');
    const double unit =
        point == digits.npos ? 1 : std::pow(10.0, -static_cast<double>(digits.size() - point - 1));
    const double sign = at > 0 && cell[at - 1] == '-' ? -1 : 1;
    CAPTURE(cell, digits);
    REQUIRE(found < expected.size());
    CHECK(std::abs(sign * std::stod(digits) - expected[found]) <= 0.5001 * unit);
    ++found;
    at = cell.find_first_of(kDigits, end);
  }
  CAPTURE(cell);
  CHECK(found == expected.size());
}

inline std::vector<double> numbers(const Row& row, std::initializer_list<const char*> keys) {
  std::vector<double> values;
  for (const char* key : keys) {
    if (const auto at = row.find(key); at != row.end()) values.push_back(at->second);
  }
  return values;
}

}  // namespace notch::test
