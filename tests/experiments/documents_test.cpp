// The numbers of the README's and RESULTS' tables are those of the recorded runs, experiments/results/*.jsonl, which
// `notch run` wrote as results.jsonl; each is the recorded one, rounded to the decimals that are printed.
#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "quant/methods/methods.h"
#include "tests/catch.h"

using namespace notch;

namespace {

using Row = std::map<std::string, double>;  // the columns that have a number

fs::path file_of(const char* name) { return fs::path(NOTCH_SOURCE_DIR) / name; }

/// By method and bits, as in "gptq seq of control, 2".
std::map<std::string, Row> recorded(const char* name) {
  std::map<std::string, Row> rows;
  std::istringstream lines(read_file(file_of("experiments/results") / name));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, name);
    Row row;
    for (const auto& [key, value] : json.as_object(name)) {
      if (value.is_number()) row[key] = value.as_number(name);
    }
    rows[str(json.at("method", name).as_string(name), ", ", row.at("bits"))] = row;
  }
  return rows;
}

/// The cells of the lines below the first line that begins so, up to one that is no row.
std::vector<std::vector<std::string>> table(const char* document, const std::string& first) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(read_file(file_of(document)));
  std::string line;
  while (std::getline(lines, line) && !line.starts_with(first)) {
  }
  std::getline(lines, line);  // |---|---:|
  while (std::getline(lines, line) && line.starts_with("| ")) {
    std::vector<std::string> cells;
    std::istringstream columns(line.substr(1));
    for (std::string cell; std::getline(columns, cell, '|');) {
      const std::size_t begin = cell.find_first_not_of(' '), end = cell.find_last_not_of(' ');
      cells.push_back(begin == cell.npos ? "" : cell.substr(begin, end - begin + 1));
    }
    rows.push_back(cells);
  }
  return rows;
}

/// The numbers of a cell: "+0.0311 [+0.0223, +0.0400]" has three, "1,234" one and "-" none.
void check_cell(const std::string& cell, const std::vector<double>& expected) {
  constexpr const char* kDigits = "0123456789";
  std::size_t found = 0;
  for (std::size_t at = cell.find_first_of(kDigits); at != cell.npos;) {
    std::size_t end = std::min(cell.find_first_not_of("0123456789.,", at), cell.size());
    while (cell[end - 1] == ',') --end;
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

std::vector<double> numbers(const Row& row, std::initializer_list<const char*> keys) {
  std::vector<double> values;
  for (const char* key : keys) {
    if (const auto at = row.find(key); at != row.end()) values.push_back(at->second);
  }
  return values;
}

}  // namespace

TEST_CASE("RESULTS.md has the recorded head-to-head") {
  const auto rows = recorded("headtohead.jsonl");
  const auto lines = table("experiments/RESULTS.md", "| method | bits | bits/weight | bytes |");
  REQUIRE(lines.size() > 40);
  for (const auto& cells : lines) {
    REQUIRE(cells.size() == 11);
    CAPTURE(cells[0], cells[1]);
    REQUIRE(rows.contains(cells[0] + ", " + cells[1]));
    const Row& row = rows.at(cells[0] + ", " + cells[1]);
    check_cell(cells[2], numbers(row, {"bits_per_weight"}));
    check_cell(cells[3], numbers(row, {"bytes"}));
    check_cell(cells[4], numbers(row, {"loss", "loss_sd"}));
    check_cell(cells[5], numbers(row, {"loss_change", "loss_change_low", "loss_change_high"}));
    check_cell(cells[6], numbers(row, {"perplexity_change_percent"}));
    check_cell(cells[7], numbers(row, {"kl_mean"}));
    check_cell(cells[8], numbers(row, {"same_top_percent"}));
    check_cell(cells[9],
               numbers(row, {"recovery_percent", "recovery_percent_low", "recovery_percent_high"}));
    check_cell(cells[10], numbers(row, {"control_recovery_percent", "control_recovery_percent_low",
                                        "control_recovery_percent_high"}));
  }
}

TEST_CASE("the README's first table is of the head-to-head") {
  const auto rows = recorded("headtohead.jsonl");
  const auto lines = table("README.md", "| tinyshakespeare");
  const char* names[] = {"fp32, 32", "fp32-continue, 32", "rtn-mse, 4", "gptaq of control, 4",
                         "qat-ste, 4"};
  REQUIRE(lines.size() == std::size(names) + 1);
  for (std::size_t i = 0; i < std::size(names); ++i) {
    const Row& row = rows.at(names[i]);
    check_cell(lines[i][1], numbers(row, {"bits"}));
    check_cell(lines[i][2], numbers(row, {"bytes"}));
    check_cell(lines[i][3], numbers(row, {"loss"}));
    check_cell(lines[i][4], numbers(row, {"loss_change", "loss_change_low", "loss_change_high"}));
  }
  const Row &rounded = rows.at("gptaq seq of control, 2"), &trained = rows.at("qat-lsq seq, 2");
  check_cell(lines.back()[2], numbers(rounded, {"bytes"}));
  check_cell(lines.back()[3], {rounded.at("loss"), trained.at("loss")});
  check_cell(lines.back()[4], {rounded.at("loss_change"), trained.at("loss_change")});
}

TEST_CASE("the README's table of methods is of methods.toml") {
  const auto rows = recorded("methods.jsonl");
  std::size_t compared = 0;
  for (const auto& cells : table("README.md", "| method | what it does")) {
    const std::string name = cells[0].substr(1, cells[0].size() - 2);  // between backticks
    const auto at = rows.find(name + ", 4");
    CAPTURE(name);
    CHECK((at == rows.end()) == (cells[2] == "-"));
    if (at == rows.end()) continue;
    const bool from_text = quant::method(name).trains() && !name.ends_with("-kd");
    const Row& fp32 = rows.at(from_text ? "fp32-continue, 32" : "fp32, 32");
    check_cell(cells[2], {at->second.at("loss") - fp32.at("loss")});
    check_cell(cells[3], {at->second.at("bytes") / 1000});
    ++compared;
  }
  CHECK(compared + 1 == quant::methods().size());  // all but aqlm, which has another grid
}
