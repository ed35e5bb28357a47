#include "experiments/show/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <numeric>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "autograd/base/printable.h"

namespace notch::experiments {

namespace {

constexpr std::size_t kLongest = 400;  // of a number: 309 digits before the point

/// What rounds to zero has no sign: "-0.00" would read as a difference.
std::string without_sign_of_zero(std::string number) {
  if (number.find_first_not_of("+-0.") == std::string::npos &&
      (number.starts_with('-') || number.starts_with('+')))
    number.erase(0, 1);
  return number;
}

/// With `sign` a "+" before what is positive.
std::string fixed(double x, int decimals, bool sign = false) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? (sign ? "+inf" : "inf") : "-inf";
  check(decimals >= 0 && decimals <= kMostDecimals, "table", "a column of ", decimals,
        " decimals, not 0 to ", kMostDecimals);
  char buffer[kLongest];
  std::snprintf(buffer, sizeof buffer, sign ? "%+.*f" : "%.*f", decimals, x);
  return without_sign_of_zero(buffer);
}

std::string csv_number(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  const bool whole = x == std::trunc(x) && std::abs(x) < 0x1p53;
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, whole ? "%.0f" : "%.9g", x);
  return buffer;
}

/// Characters, for alignment (every character is taken to be one column wide).
std::size_t width_of(std::string_view s) {
  return static_cast<std::size_t>(std::count_if(
      s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

std::string_view title_of(const Column& column) {
  return column.title.empty() ? column.key : column.title;
}

/// A cell in two parts, so that the numbers of a column align whether or not they have a spread.
struct Shown {
  std::string main{};
  std::string spread{};
};

Shown show(const Cell& cell, const Column& column, std::string_view plus_minus) {
  if (const auto* words = std::get_if<std::string>(&cell)) return {.main = printable(*words)};
  const auto* n = std::get_if<Number>(&cell);
  if (!n) return {.main = "-"};
  if (column.bytes) return {.main = bytes_text(n->value)};
  Shown shown{.main = fixed(n->value, column.decimals, column.sign)};
  if (n->spread >= 0) shown.spread = str(" ", plus_minus, fixed(n->spread, column.decimals));
  if (!std::isnan(n->low)) {
    shown.spread = str(" [", fixed(n->low, column.decimals, column.sign), ", ",
                       fixed(n->high, column.decimals, column.sign), "]");
  }
  return shown;
}

/// One cell, padded to its column: text to the right, numbers to the left.
std::string padded(const Shown& shown, bool is_text, std::size_t main_width,
                   std::size_t spread_width, std::size_t width) {
  const std::size_t used = is_text ? width_of(shown.main) : main_width + spread_width;
  const std::string outer(width - used, ' ');
  if (is_text) return shown.main + outer;
  return outer + std::string(main_width - width_of(shown.main), ' ') + shown.main + shown.spread +
         std::string(spread_width - width_of(shown.spread), ' ');
}

std::string escaped_markdown(std::string_view words) {
  std::string out;
  for (const char c : words) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

/// Screen and Markdown share widths and alignment; they differ in what stands between the cells.
std::string aligned(const Table& table, bool markdown) {
  const std::vector<Column>& columns = table.columns();
  if (columns.empty()) return "";
  std::vector<std::string> lines(table.rows().size() + 2);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::string title =
        markdown ? escaped_markdown(title_of(columns[c])) : std::string(title_of(columns[c]));
    std::vector<Shown> cells;
    std::size_t main_width = 0, spread_width = 0;
    for (const std::vector<Cell>& row : table.rows()) {
      Shown shown = show(row[c], columns[c], markdown ? "±" : "+-");
      if (markdown) shown.main = escaped_markdown(shown.main);
      main_width = std::max(main_width, width_of(shown.main));
      spread_width = std::max(spread_width, width_of(shown.spread));
      cells.push_back(std::move(shown));
    }
    const bool is_text = columns[c].text;
    const std::size_t width = std::max(
        {width_of(title), main_width + spread_width, markdown ? std::size_t{3} : std::size_t{1}});
    const std::string fill(width - width_of(title), ' ');
    const std::string between = markdown ? (c == 0 ? "| " : " | ") : (c == 0 ? "" : "  ");
    lines[0] += between + (is_text ? title + fill : fill + title);
    lines[1] += between + (markdown && !is_text ? std::string(width - 1, '-') + ":"
                                                : std::string(width, '-'));
    for (std::size_t r = 0; r < cells.size(); ++r) {
      lines[r + 2] += between + padded(cells[r], is_text, main_width, spread_width, width);
    }
  }
  std::string out;
  for (std::string& line : lines) {
    if (markdown) line += " |";
    line.resize(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string csv_field(std::string_view words) {
  if (words.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(words);
  std::string out = "\"";
  for (const char c : words) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

/// Both ends of a cell's interval, NaN where it has none; nothing for a column without intervals.
std::vector<double> bounds(const Column& column, const Number* n) {
  if (!column.interval) return {};
  const Number none;
  return {n ? n->low : none.low, n ? n->high : none.high};
}

std::string csv(const Table& table) {
  std::string out;
  bool first = true;  // of its line
  const auto put = [&](std::string_view field) {
    if (!first) out += ',';
    first = false;
    out += csv_field(field);
  };
  const auto end_line = [&] {
    out += '\n';
    first = true;
  };
  const std::vector<Column>& columns = table.columns();
  for (std::size_t c = 0; c < columns.size(); ++c) {
    put(columns[c].key);
    if (columns[c].spread) put(columns[c].key + "_sd");
    if (columns[c].interval) {
      put(columns[c].key + "_low");
      put(columns[c].key + "_high");
    }
  }
  end_line();
  for (const std::vector<Cell>& row : table.rows()) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const auto* words = std::get_if<std::string>(&row[c]);
      const auto* n = std::get_if<Number>(&row[c]);
      put(words ? *words : n ? csv_number(n->value) : std::string{});
      if (columns[c].spread) put(n && n->spread >= 0 ? csv_number(n->spread) : std::string{});
      for (const double bound : bounds(columns[c], n)) {
        put(std::isnan(bound) ? std::string{} : csv_number(bound));
      }
    }
    end_line();
  }
  return out;
}

/// An object per row, with `between` them.
std::string json_objects(const Table& table, std::string_view between) {
  std::string out;
  const std::vector<Column>& columns = table.columns();
  for (const std::vector<Cell>& row : table.rows()) {
    Json line = Json::object();
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const auto* words = std::get_if<std::string>(&row[c]);
      const auto* n = std::get_if<Number>(&row[c]);
      line.set(columns[c].key, words ? Json(*words) : n ? Json(n->value) : Json());
      if (columns[c].spread)
        line.set(columns[c].key + "_sd", n && n->spread >= 0 ? Json(n->spread) : Json());
      const std::vector<double> ends = bounds(columns[c], n);
      for (std::size_t e = 0; e < ends.size(); ++e) {
        line.set(columns[c].key + (e == 0 ? "_low" : "_high"),
                 std::isfinite(ends[e]) ? Json(ends[e]) : Json());
      }
    }
    out += str(out.empty() ? "" : between, line.dump());
  }
  return out;
}

}  // namespace

void Table::add_row(std::vector<Cell> cells) {
  check(cells.size() == columns_.size(), "table", "a row has ", cells.size(), " cells, the table ",
        columns_.size(), " columns");
  rows_.push_back(std::move(cells));
}

void Table::append(const Table& other) {
  check(std::ranges::equal(columns_, other.columns_, {}, &Column::key, &Column::key), "table",
        "rows of other columns are put below its own");
  const std::vector<std::vector<Cell>> rows = other.rows_;  // which may be this table's
  for (const std::vector<Cell>& row : rows) add_row(row);
}

std::string printed(const char* format, double value) {
  char text[kLongest];
  std::snprintf(text, sizeof text, format, value);
  return without_sign_of_zero(text);
}

std::string and_list(const std::vector<std::string>& names) { return joined(names, ", ", " and "); }

std::string bytes_text(double bytes, bool binary) {
  static constexpr const char* kDecimal[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  static constexpr const char* kBinary[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  const double step = binary ? 1024 : 1000;
  std::size_t unit = 0;
  // What would round to a thousand belongs to the next unit.
  while (std::abs(bytes) >= 999.5 && unit + 1 < std::size(kDecimal)) {
    bytes /= step;
    ++unit;
  }
  const int decimals = unit == 0 || std::abs(bytes) >= 99.95 ? 0 : std::abs(bytes) >= 9.995 ? 1 : 2;
  return str(fixed(bytes, decimals), ' ', (binary ? kBinary : kDecimal)[unit]);
}

Table Table::without_empty_columns() const {
  std::vector<std::size_t> kept;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const bool is_empty = std::ranges::all_of(
        rows_, [&](const std::vector<Cell>& row) { return row[c].index() == 0; });
    if (!is_empty || rows_.empty()) kept.push_back(c);
  }
  return with_columns(kept);
}

Table Table::fitted(int characters) const {
  Table out = without_empty_columns();
  std::vector<std::size_t> kept(out.columns_.size());
  std::iota(kept.begin(), kept.end(), std::size_t{0});
  while (kept.size() > 1) {
    const std::string shown = aligned(out.with_columns(kept), false);
    std::size_t longest = 0;
    for (std::size_t at = 0; at < shown.size();) {
      const std::size_t end = shown.find('\n', at);
      longest = std::max(longest, width_of(std::string_view(shown).substr(at, end - at)));
      at = end + 1;
    }
    if (longest <= static_cast<std::size_t>(std::max(characters, 1))) break;
    kept.pop_back();
  }
  return out.with_columns(kept);
}

std::string wrapped(std::string_view words, int characters) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find_first_of(" \n", at), words.size());
    const std::string_view word = words.substr(at, end - at);
    if (column > 0 && column + 1 + width_of(word) > static_cast<std::size_t>(characters)) {
      out += '\n';
      column = 0;
    }
    out += str(column > 0 ? " " : "", word);
    column += width_of(word) + (column > 0 ? 1 : 0);
    if (end < words.size() && words[end] == '\n') {
      out += '\n';
      column = 0;
    }
    at = end + 1;
  }
  return column > 0 ? out + '\n' : out;
}

Table Table::with_columns(const std::vector<std::size_t>& kept) const {
  std::vector<Column> columns;
  for (const std::size_t c : kept) columns.push_back(columns_[c]);
  Table out(std::move(columns));
  for (const std::vector<Cell>& row : rows_) {
    std::vector<Cell> cells;
    for (const std::size_t c : kept) cells.push_back(row[c]);
    out.add_row(std::move(cells));
  }
  return out;
}

TableFormat parse_table_format(std::string_view word) {
  if (word == "md") return TableFormat::markdown;
  if (word == "csv") return TableFormat::csv;
  if (word == "json") return TableFormat::json;
  throw Error({.where = "-o",
               .what = "unknown format",
               .found = std::string(word),
               .expected = "md, csv or json"});
}

// Programs get every column, so that two runs' files have the same ones; people those with a value.
std::string render(const Table& table, TableFormat format) {
  switch (format) {
    case TableFormat::screen:
      return aligned(table.without_empty_columns(), false);
    case TableFormat::markdown:
      return aligned(table.without_empty_columns(), true);
    case TableFormat::csv:
      return csv(table);
    case TableFormat::json:
      return str("[\n", json_objects(table, ",\n"), "\n]\n");
    case TableFormat::json_lines:
      return table.rows().empty() ? "" : json_objects(table, "\n") + "\n";
  }
  return {};
}

}  // namespace notch::experiments
