#include "experiments/show/table.h"

#include <limits>

#include "autograd/base/json.h"
#include "tests/catch.h"

namespace table_test {

using namespace notch;
using namespace notch::experiments;

Table example() {
  Table table({{.key = "method", .text = true},
               {.key = "bytes", .decimals = 0},
               {.key = "ppl", .title = "perplexity", .decimals = 2, .spread = true},
               {.key = "delta", .title = "d%", .decimals = 1, .sign = true}});
  table.add_row({text("fp32"), number(3216384), number(6.568, 0.0119), missing()});
  table.add_row({text("rtn"), number(498688), number(16.827), number(-0.04)});
  table.add_row({text("a|b,\"c\""), missing(), number(6.5), number(3.91)});
  return table;
}

Table other_columns() {
  Table table({{.key = "a"}});
  table.add_row({number(1)});
  return table;
}

TEST_CASE("the screen aligns text left and numbers right") {
  CHECK(render(example(), TableFormat::screen) ==
        "method     bytes    perplexity    d%\n"
        "-------  -------  ------------  ----\n"
        "fp32     3216384   6.57 +-0.01     -\n"
        "rtn       498688  16.83          0.0\n"
        "a|b,\"c\"        -   6.50         +3.9\n");
}

TEST_CASE("what rounds to zero in a sentence has no sign") {
  CHECK(printed("%+.4f", -0.00004) == "0.0000");
  CHECK(printed("%+.4f", 0.00004) == "0.0000");
  CHECK(printed("%.2g", -0.0) == "0");
  CHECK(printed("%+.4f", -0.00006) == "-0.0001");
  CHECK(printed("%+.0f %%", 3.0) == "+3 %");
}

TEST_CASE("Markdown has aligned columns and escapes bars") {
  CHECK(render(example(), TableFormat::markdown) ==
        "| method   |   bytes |  perplexity |   d% |\n"
        "| -------- | ------: | ----------: | ---: |\n"
        "| fp32     | 3216384 |  6.57 ±0.01 |    - |\n"
        "| rtn      |  498688 | 16.83       |  0.0 |\n"
        "| a\\|b,\"c\" |       - |  6.50       | +3.9 |\n");
}

TEST_CASE("CSV has nine digits, quoted text and a spread column") {
  Table table = example();
  table.add_row({text("two\nlines"), number(12345678901234), number(1.0 / 3, 0), number(1e-7)});
  table.add_row({text(""), number(std::numeric_limits<double>::quiet_NaN()),
                 number(std::numeric_limits<double>::infinity()), missing()});
  CHECK(render(table, TableFormat::csv) ==
        "method,bytes,ppl,ppl_sd,delta\n"
        "fp32,3216384,6.568,0.0119,\n"
        "rtn,498688,16.827,,-0.04\n"
        "\"a|b,\"\"c\"\"\",,6.5,,3.91\n"
        "\"two\nlines\",12345678901234,0.333333333,0,1e-07\n"
        ",nan,inf,,\n");
}

TEST_CASE("JSON lines read back equal, null where not finite") {
  Table table({{.key = "name", .text = true}, {.key = "x", .spread = true}});
  table.add_row({text("a"), number(1.0 / 3, 0.1)});
  table.add_row({missing(), number(std::numeric_limits<double>::quiet_NaN())});
  const std::string lines = render(table, TableFormat::json_lines);
  const std::size_t end = lines.find('\n');
  const Json first = Json::parse(lines.substr(0, end), "line 1");
  CHECK(first.at("name", "").as_string("") == "a");
  CHECK(first.at("x", "").as_number("") == 1.0 / 3);
  CHECK(first.at("x_sd", "").as_number("") == 0.1);
  const Json second = Json::parse(lines.substr(end + 1, lines.size() - end - 2), "line 2");
  CHECK(second.at("name", "").is_null());
  CHECK(second.at("x", "").is_null());
  CHECK(second.at("x_sd", "").is_null());
}

TEST_CASE("JSON is one document with the rows that JSON lines have") {
  const Json all = Json::parse(render(example(), TableFormat::json), "json");
  const Json::Array& rows = all.as_array("json");
  REQUIRE(rows.size() == 3);
  std::string lines;
  for (const Json& row : rows) lines += row.dump() + "\n";
  CHECK(lines == render(example(), TableFormat::json_lines));
  const Table none({{.key = "a"}});
  CHECK(Json::parse(render(none, TableFormat::json), "json").as_array("json").empty());
  CHECK(render(none, TableFormat::json_lines).empty());
}

TEST_CASE("bytes have three digits on screen, all when exported") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1000) == "1.00 kB");
  CHECK(bytes_text(9996) == "10.0 kB");
  CHECK(bytes_text(99'960) == "100 kB");
  CHECK(bytes_text(999'600) == "1.00 MB");
  CHECK(bytes_text(13'476'831'232) == "13.5 GB");
  CHECK(bytes_text(1024, true) == "1.00 KiB");
  CHECK(bytes_text(0x1p31, true) == "2.00 GiB");
  Table table({{.key = "size", .bytes = true}});
  table.add_row({number(637472)});
  CHECK(render(table, TableFormat::screen).find("637 kB") != std::string::npos);
  CHECK(render(table, TableFormat::csv) == "size\n637472\n");
}

TEST_CASE("a table takes the rows of another with the same columns") {
  Table table = example();
  table.append(example());
  CHECK(table.rows().size() == 6);
  CHECK(test::error_of([&] { table.append(other_columns()); }).fault == Fault::usage);
}

TEST_CASE("people do not see columns without any value, programs do") {
  Table table({{.key = "a"}, {.key = "b", .spread = true}});
  CHECK(table.without_empty_columns().columns().size() == 2);
  table.add_row({number(1), missing()});
  CHECK(table.without_empty_columns().columns().size() == 1);
  CHECK(render(table, TableFormat::csv) == "a,b,b_sd\n1,,\n");
  CHECK(render(table, TableFormat::json_lines) == R"({"a": 1, "b": null, "b_sd": null})"
                                                  "\n");
  CHECK(render(table, TableFormat::screen) ==
        render(table.without_empty_columns(), TableFormat::screen));
  CHECK(render(table, TableFormat::markdown).find('b') == std::string::npos);
  table.add_row({missing(), number(2)});
  CHECK(table.without_empty_columns().columns().size() == 2);
}

TEST_CASE("a wrong row length or unknown format is refused") {
  Table table({{.key = "a"}});
  CHECK(test::error_of([&] { table.add_row({}); }).fault == Fault::usage);
  CHECK(test::error_of([] { parse_table_format("sql"); }).fault == Fault::usage);
  CHECK(parse_table_format("csv") == TableFormat::csv);
  CHECK(parse_table_format("json") == TableFormat::json);
}

}  // namespace table_test
