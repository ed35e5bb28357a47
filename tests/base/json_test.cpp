// The JSON reader against RFC 8259's grammar and the limits it states; the writer against the
// reader.
#include "autograd/base/json.h"

#include <bit>
#include <cmath>
#include <limits>

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace json_test {

using namespace notch;
using test::error_of;

Json parse(std::string_view text) { return Json::parse(text, "t.json"); }

// A random value of nesting at most `depth`; strings contain every kind of character.
Json random_value(Rng& rng, int depth) {
  const auto random_string = [&rng] {
    const std::string_view pieces[] = {"a",
                                       "\"",
                                       "\\",
                                       "\n",
                                       "\x01",
                                       "/",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\x7f",
                                       " ",
                                       "\xf0\x9f\x98\x80",
                                       std::string_view("\0", 1)};
    std::string s;
    for (std::uint64_t n = rng.below(6); n > 0; --n) s += pieces[rng.below(std::size(pieces))];
    return s;
  };
  switch (rng.below(depth > 0 ? 7 : 5)) {
    case 0:
      return Json();
    case 1:
      return Json(rng.below(2) == 1);
    case 2:
      return Json(std::bit_cast<std::int64_t>(rng.next()));
    case 3:
      return Json(rng.normal());
    case 4:
      return Json(random_string());
    case 5: {
      Json array = Json::array();
      for (std::uint64_t n = rng.below(4); n > 0; --n) array.push(random_value(rng, depth - 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (std::uint64_t n = rng.below(4); n > 0; --n) {
        object.set(random_string(), random_value(rng, depth - 1));
      }
      return object;
    }
  }
}

TEST_CASE("every kind of value is read as its type") {
  const Json v = parse(
      " { \"n\" : null , \"t\":true,\"f\":false,\t\"i\":-12,\"d\":0.5,\r\n\"s\":\"x\",\"a\":[1,[]],"
      "\"o\":{} } ");
  CHECK(v.at("n", "w").is_null());
  CHECK(v.at("t", "w").as_bool("w"));
  CHECK_FALSE(v.at("f", "w").as_bool("w"));
  CHECK(v.at("i", "w").as_int("w") == -12);
  CHECK(v.at("d", "w").as_number("w") == 0.5);
  CHECK(v.at("s", "w").as_string("w") == "x");
  CHECK(v.at("a", "w").as_array("w").size() == 2);
  CHECK(v.at("o", "w").as_object("w").empty());
  CHECK(v.find("absent") == nullptr);
}

TEST_CASE("a number is an integer if it is written so and fits int64") {
  for (const char* text : {"0", "-0", "7", "-1", "9223372036854775807", "-9223372036854775808"}) {
    CHECK(parse(text).is_int());
  }
  for (const char* text : {"0.0", "-0.0", "1e0", "1E+2", "1e-2", "1.5", "9223372036854775808",
                           "-9223372036854775809", "5e-324", "1.7976931348623157e308"}) {
    CHECK_FALSE(parse(text).is_int());
    CHECK(parse(text).is_number());
  }
  CHECK(parse("9223372036854775807").as_int("") == std::numeric_limits<std::int64_t>::max());
  CHECK(parse("-9223372036854775808").as_int("") == std::numeric_limits<std::int64_t>::min());
  CHECK(parse("9223372036854775808").as_number("") == 0x1p63);
  CHECK(parse("5e-324").as_number("") == std::numeric_limits<double>::denorm_min());
  CHECK(parse("12").as_number("") == 12.0);
  CHECK(std::signbit(parse("-0.0").as_number("")));
}

TEST_CASE("escapes and surrogate pairs become UTF-8") {
  CHECK(parse(R"("\"\\\/\b\f\n\r\t")").as_string("") == "\"\\/\b\f\n\r\t");
  CHECK(parse(R"("\u0041\u00e9\u20AC\ud83d\ude00")").as_string("") ==
        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(parse(R"("\u0000")").as_string("") == std::string(1, '\0'));
  CHECK(parse(R"("\uffff\udbff\udfff")").as_string("") == "\xef\xbf\xbf\xf4\x8f\xbf\xbf");
  CHECK(parse("\"\x7f\xc3\xa9\"").as_string("") == "\x7f\xc3\xa9");
}

TEST_CASE("text that is not JSON is an input error") {
  const std::vector<std::string> invalid = {"",
                                            " ",
                                            "{",
                                            "}",
                                            "[",
                                            "]",
                                            "[1",
                                            "[1,",
                                            "[1,]",
                                            "[,1]",
                                            "[1 2]",
                                            "{\"a\"}",
                                            "{\"a\":}",
                                            "{\"a\":1,}",
                                            "{,}",
                                            "{a:1}",
                                            "{'a':1}",
                                            "{1:2}",
                                            "{\"a\" 1}",
                                            "{\"a\":1 \"b\":2}",
                                            "[1}",
                                            "nul",
                                            "nulll",
                                            "True",
                                            "tru",
                                            "falsE",
                                            "undefined",
                                            "NaN",
                                            "Infinity",
                                            "-Infinity",
                                            "inf",
                                            "01",
                                            "-01",
                                            "00",
                                            "+1",
                                            "-",
                                            ".5",
                                            "1.",
                                            "-.5",
                                            "1.e5",
                                            "1e",
                                            "1e+",
                                            "0x10",
                                            "1_000",
                                            "1,",
                                            "--1",
                                            "1e5.2",
                                            "1e400",
                                            "-1e400",
                                            "1e-400",
                                            "1 2",
                                            "\"a\" \"b\"",
                                            "[] []",
                                            "// c\n1",
                                            "/*c*/1",
                                            "\"",
                                            "\"a",
                                            "\"\\",
                                            "\"\\\"",
                                            "\"\\x41\"",
                                            "\"\\u\"",
                                            "\"\\u12\"",
                                            "\"\\u12g4\"",
                                            "\"\\u+123\"",
                                            "\"\\u-123\"",
                                            "\"\\u 123\"",
                                            "\"\\ud800\"",
                                            "\"\\udc00\"",
                                            "\"\\ud800\\u0041\"",
                                            "\"\\ud800\\ud800\"",
                                            "\"\\ud800x\"",
                                            "\"\n\"",
                                            "\"\t\"",
                                            std::string("\"\0\"", 3),
                                            std::string("1\0", 2),
                                            "\"\xff\"",
                                            "\"\xc0\xaf\"",
                                            "\"\xed\xa0\x80\"",
                                            "\xef\xbb\xbf"
                                            "1",
                                            "\x0b"
                                            "1",
                                            "\xc2\xa0"
                                            "1"};
  for (const std::string& text : invalid) {
    CAPTURE(text);
    const ErrorParts parts = error_of([&] { parse(text); });
    CHECK(parts.fault == Fault::input);
    CHECK(parts.where.rfind("t.json:", 0) == 0);
  }
}

TEST_CASE("every proper prefix of a document is an error") {
  const std::string text = R"({"a":[1.5e3,true,null,"x\u00e9\ud83d\ude00"],"b":{"c":-1}})";
  CHECK_NOTHROW(parse(text));
  for (std::size_t n = 0; n < text.size(); ++n) {
    CHECK(error_of([&] { parse(text.substr(0, n)); }).fault == Fault::input);
  }
}

TEST_CASE("errors name the line and the column of the first offence") {
  CHECK(error_of([] { parse("{\n  \"a\": 1,\n  \"b\": x\n}"); }).where == "t.json:3:8");
  CHECK(error_of([] { parse("[1,]"); }).where == "t.json:1:4");
  CHECK(error_of([] { parse("1\n\n2"); }).where == "t.json:3:1");
  CHECK(error_of([] { parse("[1"); }).where == "t.json:1:3");
  CHECK(error_of([] { parse("\n\"\xff\""); }).where == "t.json:2:2");
  CHECK(error_of([] { parse("{\"a\":1,\n\"b\":2,\"a\":3,\"b\":4}"); }).where == "t.json:2:7");
}

TEST_CASE("duplicate keys in one object are errors, even behind an escape") {
  CHECK(error_of([] { parse(R"({"a":1,"a":1})"); }).fault == Fault::input);
  CHECK(error_of([] { parse(R"({"a":1,"b":2,"\u0061":3})"); }).fault == Fault::input);
  CHECK(error_of([] { parse(R"({"":1,"":2})"); }).fault == Fault::input);
  CHECK_NOTHROW(parse(R"({"a":{"a":1},"b":{"a":2}})"));
}

TEST_CASE("nesting is limited to 64 levels") {
  const auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK_NOTHROW(parse(nested(64)));
  CHECK(error_of([&] { parse(nested(65)); }).fault == Fault::input);
  CHECK(error_of([] { parse(std::string(1000000, '[')); }).fault == Fault::input);
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK(error_of([&] { parse(objects); }).fault == Fault::input);
}

TEST_CASE("the number of values is limited, and with it the memory") {
  const auto array_of = [](std::size_t n) {
    std::string text = "[";
    for (std::size_t i = 1; i < n; ++i) text += "1,";
    return text + "1]";
  };
  // n numbers and the array are n + 1 values in 2 n + 1 bytes: at most 2^19 + (2 n + 1) / 16 of them.
  constexpr std::size_t kMost = 599185;
  static_assert(kMost + 1 == (std::size_t{1} << 19) + (2 * kMost + 1) / 16);
  CHECK(Json::parse(array_of(kMost), "j").as_array("j").size() == kMost);
  const ErrorParts parts = error_of([&] { Json::parse(array_of(kMost + 1), "j"); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.what.find("more than 599186 values") != std::string::npos);
}

TEST_CASE("an object of a vocabulary's size is read and written in order") {
  Json::Object members;
  for (int i = 0; i < 100000; ++i) members.emplace_back("token" + std::to_string(i * 7919), i);
  const std::string text = Json(members).dump();
  const Json read = parse(text);
  REQUIRE(read.as_object("").size() == members.size());
  CHECK(read.as_object("")[99999].second.as_int("") == 99999);
  CHECK(read.dump() == text);
}

TEST_CASE("typed reads of another type name the place and both types") {
  const Json v = parse(R"({"a":"x","f":1.5})");
  const ErrorParts parts = error_of([&] { v.at("a", "f.json").as_int("f.json: a"); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.where == "f.json: a");
  CHECK(parts.expected == "an integer");
  CHECK(parts.found == "a string");
  CHECK(error_of([&] { v.at("f", "w").as_int("w"); }).fault == Fault::input);
  CHECK(error_of([&] { v.as_array("w"); }).fault == Fault::input);
  CHECK(error_of([&] { v.as_string("w"); }).fault == Fault::input);
  CHECK(error_of([&] { v.as_bool("w"); }).fault == Fault::input);
  CHECK(error_of([&] { v.as_number("w"); }).fault == Fault::input);
  CHECK(error_of([&] { Json(1).as_object("w"); }).fault == Fault::input);
  CHECK(error_of([&] { Json(1).at("k", "w"); }).fault == Fault::input);
  CHECK(Json(1).find("k") == nullptr);
  const ErrorParts missing = error_of([&] { v.at("bits", "f.json"); });
  CHECK(missing.fault == Fault::input);
  CHECK(missing.where == "f.json");
  CHECK(missing.field == "bits");
}

TEST_CASE("set replaces in place, push appends, and both start from null") {
  Json v;
  v.set("b", 1).set("a", "x").set("b", Json().push(true).push(true));
  CHECK(v.dump() == R"({"b": [true, true], "a": "x"})");
  CHECK(error_of([&] { v.push(1); }).fault == Fault::usage);
  CHECK(error_of([&] { Json(1).set("a", 1); }).fault == Fault::usage);
}

TEST_CASE("pretty printing indents and empty containers stay on one line") {
  const Json v = parse(R"({"a":[1,{"b":2}],"c":[],"d":{}})");
  CHECK(v.dump(2) ==
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": [],\n  \"d\": {}\n}");
}

TEST_CASE("dump and parse are inverse for random values") {
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    const Json v = random_value(rng, 4);
    const std::string compact = v.dump();
    REQUIRE(parse(compact).dump() == compact);
    REQUIRE(parse(v.dump(1)).dump() == compact);
  }
}

TEST_CASE("every finite double reads back with the same bits") {
  Rng rng(2);
  std::vector<double> values = {0.0,
                                -0.0,
                                0.1,
                                1e22,
                                1e23,
                                123456789012345680000.0,
                                0x1p53,
                                5e-324,
                                2.2250738585072014e-308,
                                1.7976931348623157e308,
                                9007199254740993e3};
  for (int i = 0; i < 20000; ++i) values.push_back(std::bit_cast<double>(rng.next()));
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    const double read = parse(Json(x).dump()).as_number("");
    REQUIRE(std::bit_cast<std::uint64_t>(read) == std::bit_cast<std::uint64_t>(x));
  }
  CHECK(json_number(0.1) == "0.1");
  CHECK(json_number(std::nan("")) == "null");
  CHECK(Json(-INFINITY).dump() == "null");
}

TEST_CASE("integers above int64 cannot become JSON integers") {
  CHECK(Json(std::uint64_t{1} << 62).as_int("") == std::int64_t{1} << 62);
  CHECK(error_of([] { Json(std::uint64_t{1} << 63); }).fault == Fault::usage);
}

TEST_CASE("json_quote escapes what JSON demands and replaces invalid UTF-8") {
  CHECK(json_quote("a\"b\\c\n\r\t\x01\x1f/") == R"("a\"b\\c\n\r\t\u0001\u001f/")");
  CHECK(json_quote("\xc3\xa9") == "\"\xc3\xa9\"");
  CHECK(json_quote("a\xff"
                   "b\xe2\x82") == R"("a\ufffdb\ufffd\ufffd")");
}

TEST_CASE("numbers that Python writes beyond JSON are read on request") {
  const char* text = R"({"a": NaN, "b": [Infinity, -Infinity], "c": -1})";
  const Json json = Json::parse(text, "x", NonFinite::allowed);
  CHECK(std::isnan(json.at("a", "").as_number("")));
  const Json::Array& b = json.at("b", "").as_array("");
  CHECK(b[0].as_number("") == std::numeric_limits<double>::infinity());
  CHECK(b[1].as_number("") == -std::numeric_limits<double>::infinity());
  CHECK(json.at("c", "").as_int("") == -1);
  CHECK(error_of([&] { Json::parse(text, "x"); }).fault == Fault::input);
  for (const char* bad : {"Inf", "nan", "-NaN", "+Infinity", "Infinit", "-", "Infinityx"}) {
    CAPTURE(bad);
    CHECK(error_of([&] { Json::parse(bad, "x", NonFinite::allowed); }).fault == Fault::input);
  }
}

}  // namespace json_test
