// A small table of results, rendered for the screen, Markdown, CSV and JSON.
//
// One table is built once and rendered in every format: the file and the screen cannot disagree.
// The screen and Markdown round to the column's decimals; CSV carries nine significant digits
// (integers in full), JSON the fewest digits that read back equal.
//
// experiments/show/ draws what it is given, tables, plots, progress, and knows nothing of runs.
// May include: autograd/base.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "autograd/base/nothing.h"

namespace notch::experiments {

/// Of a number in a table or a map of heat: more say nothing of a double.
inline constexpr int kMostDecimals = 17;

struct Column {
  std::string key{};    ///< name in CSV and JSON
  std::string title{};  ///< name on the screen and in Markdown; empty = key
  int decimals = 3;
  bool text = false;      ///< aligned left
  bool sign = false;      ///< "+" before positive numbers
  bool spread = false;    ///< numbers have a spread: CSV and JSON get a second column, key_sd
  bool interval = false;  ///< numbers have an interval: two more columns, key_low and key_high
  bool bytes = false;     ///< shown in the unit that fits, "467 kB"; CSV and JSON have the bytes
};

/// A mean with the spread over seeds, or with an interval. A spread < 0, and an interval that is
/// not a number, mean "none".
struct Number {
  double value = 0;
  double spread = -1;
  double low = std::numeric_limits<double>::quiet_NaN(), high = low;
};

using Cell = std::variant<Nothing, std::string, Number>;
inline Cell missing() { return Nothing{}; }
inline Cell number(double value, double spread = -1) {
  return Number{.value = value, .spread = spread};
}
inline Cell number_in(double value, double low, double high) {
  return Number{.value = value, .low = low, .high = high};
}
inline Cell text(std::string_view words) { return std::string(words); }

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// `cells` has one cell per column; throws Fault::usage otherwise.
  void add_row(std::vector<Cell> cells);
  const std::vector<Column>& columns() const { return columns_; }
  const std::vector<std::vector<Cell>>& rows() const { return rows_; }
  /// Adds the rows of a table with the same columns.
  void append(const Table& other);
  /// Without the columns that are missing in every row.
  Table without_empty_columns() const;
  /// Without as many of the last columns as make lines on the screen longer than `characters`; the
  /// first column stays.
  Table fitted(int characters) const;

 private:
  Table with_columns(const std::vector<std::size_t>& kept) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_{};
};

/// A count of bytes with three digits and the decimal unit that fits, or the binary one: "1.26 MB",
/// "1.20 MiB".
std::string bytes_text(double bytes, bool binary = false);

/// json: one array of objects; json_lines: an object per line.
enum class TableFormat { screen, markdown, csv, json, json_lines };

/// "md", "csv" or "json" as given to -o.
TableFormat parse_table_format(std::string_view word);

/// A number by the format of printf, for sentences: printed("%+.4f", x).
std::string printed(const char* format, double value);
/// "qat-ste, qat-lsq and gptq"
std::string and_list(const std::vector<std::string>& names);

/// `words` in lines of at most `characters`, broken at spaces.
std::string wrapped(std::string_view words, int characters);

/// The table, each line ended by \n. Missing cells: "-" on the screen and in Markdown, empty in
/// CSV, null in JSON. Not finite: "nan", "inf", "-inf"; null in JSON. CSV quotes as RFC 4180, lines
/// end in \n.
std::string render(const Table& table, TableFormat format);

}  // namespace notch::experiments
