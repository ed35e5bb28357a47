#include "experiments/config/toml.h"

#include <string>
#include <vector>

#include "tests/catch.h"

namespace toml_test {

using namespace notch;
using namespace notch::experiments;

toml::Table parse(std::string text) {
  return toml::parse({.name = "x.toml", .text = std::move(text)});
}

const toml::Value& at(const toml::Table& table, std::string_view key) {
  const toml::Value* value = toml::find(table, key);
  REQUIRE(value);
  return *value;
}

template <class T>
T get(const toml::Table& table, std::string_view key) {
  const toml::Value& value = at(table, key);
  REQUIRE(std::holds_alternative<T>(value.data));
  return std::get<T>(value.data);
}

std::string repeat(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// Values below are those of the TOML 1.0.0 specification's own examples where it has one.
TEST_CASE("toml reads every kind of value") {
  const toml::Table t = parse(
      "int = 1_000\nneg = -17\nplus = +99\nhex = 0xDEAD_beef\noct = 0o755\nbin = 0b1101\nzero = 0\n"
      "f1 = 1e-3\nf2 = 6.626e-34\nf3 = -0.5\nf4 = 224_617.445_991\nf5 = 1e06\nmax = "
      "9223372036854775807\n"
      "min = -9223372036854775808\nyes = true\nno = false\n"
      "basic = \"a \\\"b\\\" \\u00e9 \\U0001F600 \\t\\\\\"\nliteral = 'C:\\x \"y\"'\nempty = "
      "\"\"\n");
  CHECK(get<std::int64_t>(t, "int") == 1000);
  CHECK(get<std::int64_t>(t, "neg") == -17);
  CHECK(get<std::int64_t>(t, "plus") == 99);
  CHECK(get<std::int64_t>(t, "hex") == 3735928559);
  CHECK(get<std::int64_t>(t, "oct") == 493);
  CHECK(get<std::int64_t>(t, "bin") == 13);
  CHECK(get<std::int64_t>(t, "zero") == 0);
  CHECK(get<double>(t, "f1") == 0.001);
  CHECK(get<double>(t, "f2") == 6.626e-34);
  CHECK(get<double>(t, "f3") == -0.5);
  CHECK(get<double>(t, "f4") == 224617.445991);
  CHECK(get<double>(t, "f5") == 1e6);
  CHECK(get<std::int64_t>(t, "max") == INT64_MAX);
  CHECK(get<std::int64_t>(t, "min") == INT64_MIN);
  CHECK(get<bool>(t, "yes"));
  CHECK_FALSE(get<bool>(t, "no"));
  CHECK(get<std::string>(t, "basic") == "a \"b\" \xC3\xA9 \xF0\x9F\x98\x80 \t\\");
  CHECK(get<std::string>(t, "literal") == "C:\\x \"y\"");
  CHECK(get<std::string>(t, "empty").empty());
}

TEST_CASE("toml reads tables, dotted keys, arrays and inline tables") {
  const toml::Table t = parse(
      "\xEF\xBB\xBF# comment\r\na.b.c = 1 # after\r\na.b.d = 2\r\n\r\n[x . y] \nk = [\n 1, # one\n "
      "2,\n]\n"
      "[x]\n\"quoted key\" = {p = 'h.*', q.r = [[1], []], s = {}}\n[[row]]\nv = 1\n[row.sub]\nw = "
      "2\n"
      "[[row]]\nv = 3\n");
  const auto& b = get<toml::Table>(get<toml::Table>(t, "a"), "b");
  CHECK(get<std::int64_t>(b, "c") == 1);
  CHECK(get<std::int64_t>(b, "d") == 2);
  const auto x = get<toml::Table>(t, "x");
  CHECK(get<toml::Array>(get<toml::Table>(x, "y"), "k").size() == 2);
  const auto quoted = get<toml::Table>(x, "quoted key");
  CHECK(get<std::string>(quoted, "p") == "h.*");
  CHECK(get<toml::Array>(get<toml::Table>(quoted, "q"), "r").size() == 2);
  CHECK(get<toml::Table>(quoted, "s").empty());
  const auto rows = get<toml::Array>(t, "row");
  REQUIRE(rows.size() == 2);
  CHECK(get<std::int64_t>(*rows[0].table(), "v") == 1);
  CHECK(get<std::int64_t>(get<toml::Table>(*rows[0].table(), "sub"), "w") == 2);
  CHECK(get<std::int64_t>(*rows[1].table(), "v") == 3);
}

TEST_CASE("toml remembers lines and columns, in characters") {
  const toml::Table t = parse("a = 1\n[t]\n\"\xC3\xA9\xC3\xA9\" = [7,\n  'zz']\n");
  const auto table = get<toml::Table>(t, "t");
  CHECK(table[0].mark.line == 3);
  CHECK(table[0].mark.column == 1);
  CHECK(table[0].mark.width == 4);
  CHECK(table[0].value.mark.column == 8);
  const auto array = std::get<toml::Array>(table[0].value.data);
  CHECK(array[0].mark.column == 9);
  CHECK(array[1].mark.line == 4);
  CHECK(array[1].mark.column == 3);
  CHECK(array[1].mark.width == 4);
}

TEST_CASE("toml counts the columns of a line of any length once") {
  // From the start of the line each time, this would take minutes.
  const auto refused = [](std::string text) {
    return test::error_of([&] { parse(std::move(text)); });
  };
  CHECK(refused("\"é\" = [" + repeat("1,", 300'000) + "?]").where == "x.toml:1:600008");
  CHECK(refused("\"é\" = [" + repeat("{},", 200'000) + "?]").where == "x.toml:1:600008");
  const toml::Table t = parse("a = [{b = 1}, {c = [2, 'é', 3]}]");
  const toml::Value second = get<toml::Array>(t, "a")[1];
  CHECK(second.mark.column == 15);
  CHECK(second.mark.width == 17);
  CHECK(get<toml::Array>(std::get<toml::Table>(second.data), "c")[2].mark.column == 29);
}

TEST_CASE("toml rejects what is not TOML, with the place") {
  struct Case {
    std::string text{};
    std::string place{};
  };
  const std::vector<Case> cases = {
      {"a = 1\na = 2", "2:1"},
      {"[t]\n[t]", "2:2"},
      {"[t]\n[u]\n[t]\n", "3:2"},
      {"[[t]]\n[t]", "2:2"},
      {"[t]\n[[t]]", "2:3"},
      {"t = []\n[[t]]", "2:3"},
      {"t = {}\n[t]", "2:2"},
      {"t = {}\n[t.u]", "2:2"},
      {"t = {a = 1}\nt.b = 2", "2:1"},
      {"t = {a.b = 1, a = 2}", "1:15"},
      {"a.b = 1\na.b.c = 2", "2:3"},
      {"a.b.c = 1\na.b = 2", "2:3"},
      {"a = 1\na.b = 2", "2:1"},
      {"[a.b]\nx = 1\n[a]\nb.y = 2", "4:1"},
      {"[a.b.c]\nx = 1\n[a]\nb.c.y = 2", "4:1"},
      {"[a]\nb.c = 1\n[a.b]", "3:4"},
      {"a = 1\rb = 2", "1:6"},
      {std::string("a = 'x\0y'", 9), "1:7"},
      {"a = \"\x01\"", "1:6"},
      {"a = 1 # \x7f", "1:9"},
      {"a = '\xFF'", "1:6"},
      {"a = '\xC0\x80'", "1:6"},
      {"a = '\xED\xA0\x80'", "1:6"},
      {"a = 01", "1:5"},
      {"a = -01", "1:5"},
      {"a = 1__0", "1:5"},
      {"a = 1_", "1:5"},
      {"a = _1", "1:5"},
      {"a = 1e_3", "1:5"},
      {"a = 1_.5", "1:5"},
      {"a = 1.", "1:5"},
      {"a = .5", "1:5"},
      {"a = 1.e3", "1:5"},
      {"a = 1e", "1:5"},
      {"a = 0x", "1:5"},
      {"a = 0xg", "1:5"},
      {"a = 0x-1", "1:5"},
      {"a = +0x1", "1:5"},
      {"a = 9223372036854775808", "1:5"},
      {"a = 0xFFFFFFFFFFFFFFFF", "1:5"},
      {"a = 9e99999", "1:5"},
      {"a = 1e-99999", "1:5"},
      {"a = inf", "1:5"},
      {"a = -nan", "1:5"},
      {"a = True", "1:5"},
      {"a = 1979-05-27", "1:5"},
      {"a = 1979-05-27T07:32:00Z", "1:5"},
      {"a = 07:32:00", "1:5"},
      {"a = word", "1:5"},
      {"a = ", "1:5"},
      {"a =\n1", "1:4"},
      {"a", "1:2"},
      {"= 1", "1:1"},
      {"a. = 1", "1:4"},
      {"a = 1 b = 2", "1:7"},
      {"a = \"x", "1:5"},
      {"a = 'x\ny'", "1:5"},
      {"a = \"\"\"x\"\"\"", "1:5"},
      {"a = '''x'''", "1:5"},
      {"a = \"\\q\"", "1:6"},
      {"a = \"\\u12\"", "1:6"},
      {"a = \"\\uD800\"", "1:6"},
      {"a = \"\\U00110000\"", "1:6"},
      {"a = [1 2]", "1:8"},
      {"a = [1,,2]", "1:8"},
      {"a = [,]", "1:6"},
      {"a = [1,\n2", "1:5"},
      {"a = {b = 1,}", "1:12"},
      {"a = {b = 1\n}", "1:11"},
      {"a = {b = 1, b = 2}", "1:13"},
      {"[a", "1:3"},
      {"[a]]", "1:4"},
      {"[[a]", "1:5"},
      {"[]", "1:2"},
      {"[a] b = 1", "1:5"},
      {"a = " + repeat("[", 17) + repeat("]", 17), "1:21"},
      {"a = " + repeat("{a = ", 17) + "1" + repeat("}", 17), "1:85"},
      {"[" + repeat("a.", 16) + "a]", "1:1"},
      {"x" + repeat(".a", 17) + " = 1", "1:1"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const ErrorParts parts = test::error_of([&] { parse(c.text); });
    CHECK(parts.fault == Fault::usage);
    CHECK(parts.where == "x.toml:" + c.place);
  }
}

TEST_CASE("toml has limits for nesting, keys and bytes") {
  CHECK_NOTHROW(parse("a = " + repeat("[", 16) + repeat("]", 16)));
  CHECK_NOTHROW(parse("[" + repeat("a.", 15) + "a]\n"));
  std::string keys;
  for (int i = 0; i < 10'000; ++i) keys += "k" + std::to_string(i) + "=1\n";
  CHECK_NOTHROW(parse(keys));
  CHECK(test::error_of([&] { parse(keys + "one_more=1"); }).where == "x.toml:10001:1");
  CHECK_NOTHROW(parse(std::string(1 << 20, ' ')));
  CHECK(test::error_of([&] { parse(std::string((1 << 20) + 1, ' ')); }).fault == Fault::usage);
}

TEST_CASE("a toml error shows the line with a caret under the place") {
  const auto excerpt = [](std::string text) {
    return test::error_of([&] { parse(std::move(text)); }).excerpt;
  };
  CHECK(excerpt("\na = 0\n\tb = 007 # seven\n") ==
        "    3 |  b = 007 # seven\n"
        "      |      ^^^");
  CHECK(excerpt("a = '\xC3\xA9\xC3\xA9' x") ==
        "    1 | a = '\xC3\xA9\xC3\xA9' x\n"
        "      |          ^");
  // Bytes that cannot be shown become '?'; long lines are cut around the place.
  CHECK(excerpt("a = 'x\xFFy'") ==
        "    1 | a = 'x?y'\n"
        "      |       ^");
  const std::string cut = excerpt("a = \"" + std::string(500, 'x') + "\" y");
  CHECK(cut.size() < 250);
  CHECK(cut.find('^') != std::string::npos);
}

TEST_CASE("quoted text reads back as itself") {
  std::string all;
  for (int c = 1; c < 128; ++c) all += static_cast<char>(c);
  all += "\xC3\xA9";
  CHECK(get<std::string>(parse("a = " + toml::quote(all)), "a") == all);
}

TEST_CASE("toml survives all truncations and single-byte changes") {
  const std::string good =
      "a = 1 # c\n[t.u]\nb = [1, 'x', {k = \"\\u00e9\"}]\nc = 1.5e-3\n[[r]]\nd = true\n";
  const auto survives = [](std::string text) {
    try {
      parse(std::move(text));
    } catch (const Error& e) {
      return e.fault() == Fault::usage && !e.parts().what.empty();
    }
    return true;
  };
  for (std::size_t n = 0; n <= good.size(); ++n) CHECK(survives(good.substr(0, n)));
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char c :
         {'\0', '\n', '\r', '"', '\'', '[', ']', '{', '}', '.', ',', '=', '\\', '\xFF'}) {
      std::string bad = good;
      bad[i] = c;
      if (!survives(bad)) FAIL("byte " << i << " replaced by " << static_cast<int>(c));
    }
  }
}

TEST_CASE("values of other languages are told how to be written") {
  const auto hint = [](const std::string& value) {
    return notch::test::error_of(
               [&] { notch::experiments::toml::parse({.name = "x.toml", .text = "a = " + value}); })
        .hint;
  };
  CHECK(hint("True") == "write true");
  CHECK(hint("no") == "write false");
  CHECK(hint("None").find("leave the key out") == 0);
  CHECK(hint("null").find("leave the key out") == 0);
  CHECK(hint("5.") == "write 5.0");
  CHECK(hint("-5.") == "write -5.0");
  CHECK(hint("1..3") == "write [1, 2, 3]");
  CHECK(hint("1337-1339") == "write [1337, 1338, 1339]");
  CHECK(hint("[1-3]") == "write [1, 2, 3]");
  CHECK(hint("1-100").find("and so on to 100") != std::string::npos);
  CHECK(hint("2024-05-01").find("string") != std::string::npos);  // a date
  CHECK(hint("words").find("needs quotes: \"words\"") != std::string::npos);
}

}  // namespace toml_test
