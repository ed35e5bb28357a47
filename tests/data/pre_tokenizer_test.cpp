#include "data/pre_tokenizer.h"

#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "autograd/base/rng.h"
#include "data/unicode.h"
#include "tests/catch.h"

namespace pre_tokenizer_test {

using namespace notch;
using namespace notch::data;

using Words = std::vector<std::string>;

Words split(std::string_view text, const PreTokenizer& pre = {}) {
  Words out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = pre.word_end(text, begin);
    REQUIRE((end > begin && end <= text.size()));
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

constexpr PreTokenizer kLlama3{.pattern = SplitPattern::llama3};
constexpr PreTokenizer kQwen2{.pattern = SplitPattern::qwen2};

TEST_CASE("code points have the classes of the Unicode standard") {
  // General categories from UnicodeData.txt; White_Space from PropList.txt.
  struct Case {
    char32_t code_point;
    CharClass kind;
  };
  const Case cases[] = {
      {'A', CharClass::letter},     {'z', CharClass::letter},     {'0', CharClass::number},
      {' ', CharClass::space},      {'\t', CharClass::space},     {'\r', CharClass::space},
      {0x0E, CharClass::other},     {0x1F, CharClass::other},     {0x00, CharClass::other},
      {'_', CharClass::other},      {0x85, CharClass::space},     // NEL
      {0xA0, CharClass::space},                                   // no-break space
      {0xAA, CharClass::letter},                                  // feminine ordinal, Lo
      {0xAD, CharClass::other},                                   // soft hyphen, Cf
      {0xB2, CharClass::number},                                  // superscript two, No
      {0xBD, CharClass::number},                                  // one half, No
      {0xD7, CharClass::other},                                   // multiplication sign, Sm
      {0x301, CharClass::other},                                  // combining acute, Mn
      {0x2B0, CharClass::letter},                                 // modifier letter small h, Lm
      {0x378, CharClass::other},                                  // not assigned
      {0x1680, CharClass::space},   {0x180E, CharClass::other},   // Mongolian vowel separator, Cf
      {0x200B, CharClass::other},                                 // zero width space, Cf
      {0x2028, CharClass::space},   {0x2160, CharClass::number},  // Roman numeral one, Nl
      {0x24B6, CharClass::other},                                 // circled A, So
      {0x3000, CharClass::space},   {0x3007, CharClass::number},  // ideographic zero, Nl
      {0x4E00, CharClass::letter},  {0x4DC0, CharClass::other},   // hexagram, So
      {0xAC00, CharClass::letter},  {0xD7A3, CharClass::letter},  {0xD7A4, CharClass::other},
      {0xE000, CharClass::other},   {0xFEFF, CharClass::other},    // byte order mark, Cf
      {0xFF11, CharClass::number},                                 // fullwidth one
      {0x1F600, CharClass::other},  {0x1F100, CharClass::number},  // digit zero full stop, No
      {0x2A6DF, CharClass::letter}, {0x2A6E0, CharClass::other},  {0x323AF, CharClass::letter},
      {0x10FFFF, CharClass::other},
  };
  for (const Case& c : cases) {
    CAPTURE(static_cast<std::uint32_t>(c.code_point));
    CHECK(class_of(c.code_point) == c.kind);
  }
}

TEST_CASE("characters that NFC leaves alone are Unicode's") {
  // NFC_Quick_Check=Yes and Canonical_Combining_Class=0 in its files.
  for (const char32_t c :
       {U'\0',     U'a',      U'\u00e9', U'\u02ff', U'\u03b1', U'\u0416',     U'\u05d0',
        U'\u1ec7', U'\u2014', U'\u2019', U'\u2026', U'\u20ac', U'\u2192',     U'\u3042',
        U'\u4e2d', U'\uac00', U'\ud7a3', U'\ufe0f', U'\uff01', U'\U0001f600', U'\U00020000'}) {
    CAPTURE(static_cast<std::uint32_t>(c));
    CHECK(is_kept_by_nfc(c));
  }
  // Those that combine; those that become another: Greek's question mark, en quad, ohm, kelvin,
  // angstrom, angle brackets; Hangul's vowels; nukta letters; ideographs for compatibility.
  for (const char32_t c :
       {U'\u0300', U'\u0301', U'\u0345',     U'\u0483',     U'\u05b0',    U'\u064b',
        U'\u20d0', U'\u302a', U'\u3099',     U'\u309a',     U'\ufe20',    U'\u0374',
        U'\u037e', U'\u0387', U'\u2000',     U'\u2126',     U'\u212a',    U'\u212b',
        U'\u2329', U'\u2adc', U'\u1161',     U'\u11a8',     U'\u0958',    U'\u09be',
        U'\uf900', U'\ufb1d', U'\U0002f800', U'\U000e0100', U'\U0010ffff'}) {
    CAPTURE(static_cast<std::uint32_t>(c));
    CHECK_FALSE(is_kept_by_nfc(c));
  }
}

TEST_CASE("characters are read as UTF-8 and bytes that are none stand alone") {
  const auto check = [](std::string_view text, char32_t point, std::size_t bytes) {
    const Char c = char_at(text, 0);
    CHECK(c.code_point == point);
    CHECK(c.bytes == bytes);
  };
  check("a", 'a', 1);
  check("\xC3\xA9x", 0xE9, 2);
  check("\xE2\x82\xAC", 0x20AC, 3);
  check("\xF0\x9F\x98\x80", 0x1F600, 4);
  check("\xF4\x8F\xBF\xBF", 0x10FFFF, 4);
  for (const char* bad :
       {"\x80", "\xC3", "\xC3x", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82"}) {
    CAPTURE(bad);
    check(bad, 0xFFFD, 1);
    CHECK(char_at(bad, 0).kind == CharClass::other);
  }
}

TEST_CASE("every valid sequence is read whole: the same rule as is_utf8") {
  // is_utf8 is written apart from this reader.
  Rng rng(8);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text;
    for (std::size_t n = 1 + rng.below(4); n > 0; --n) {
      text += static_cast<char>(rng.below(2) == 0 ? 0x80 + rng.below(128) : 0xC0 + rng.below(64));
    }
    std::size_t valid = text.size();
    is_utf8(text, &valid);
    std::size_t at = 0;
    while (at < text.size() && char_at(text, at).code_point != 0xFFFD)
      at += char_at(text, at).bytes;
    CHECK(at == valid);
  }
}

TEST_CASE("the splitter does what GPT-2's pattern does on ASCII") {
  // Derived by hand from the pattern, first alternative that matches.
  CHECK(split("Hello world") == Words{"Hello", " world"});
  CHECK(split("I've don't we'll") == Words{"I", "'ve", " don", "'t", " we", "'ll"});
  CHECK(split("he's I'm you'd they're") ==
        Words{"he", "'s", " I", "'m", " you", "'d", " they", "'re"});
  CHECK(split("'S") == Words{"'", "S"});
  CHECK(split(" 's") == Words{" '", "s"});
  CHECK(split("it''s") == Words{"it", "''", "s"});
  CHECK(split("'rest") == Words{"'re", "st"});
  CHECK(split("'l") == Words{"'", "l"});
  CHECK(split("a  b") == Words{"a", " ", " b"});
  CHECK(split("a   b") == Words{"a", "  ", " b"});
  CHECK(split("a\n\nb") == Words{"a", "\n", "\n", "b"});
  CHECK(split("a \nb") == Words{"a", " ", "\n", "b"});
  CHECK(split("\t x") == Words{"\t", " x"});
  CHECK(split("a\tb") == Words{"a", "\t", "b"});
  CHECK(split("end  ") == Words{"end", "  "});
  CHECK(split("end\n") == Words{"end", "\n"});
  CHECK(split("x1y22") == Words{"x", "1", "y", "22"});
  CHECK(split("pi = 3.14!?") == Words{"pi", " =", " 3", ".", "14", "!?"});
  CHECK(split("a_b (c)") == Words{"a", "_", "b", " (", "c", ")"});
  CHECK(split(" [past]\n") == Words{" [", "past", "]", "\n"});
  CHECK(split("'") == Words{"'"});
  CHECK(split(" ") == Words{" "});
  CHECK(split(std::string("\0a", 2)) == Words{std::string(1, '\0'), "a"});
}

TEST_CASE("the splitter does what GPT-2's pattern does beyond ASCII") {
  CHECK(split("caf\u00E9 ol\u00E9") == Words{"caf\u00E9", " ol\u00E9"});
  CHECK(split("don\u2019t") == Words{"don", "\u2019", "t"});  // a quotation mark, Pf
  CHECK(split("1\u00B2") == Words{"1\u00B2"});                // superscript two is \p{N}
  CHECK(split("a\u00A0b") == Words{"a", "\u00A0", "b"});      // white space, not ' '
  CHECK(split("a\u00A0 b") == Words{"a", "\u00A0", " b"});
  CHECK(split("a\u3000\u3000b") == Words{"a", "\u3000", "\u3000", "b"});
  CHECK(split("e\u0301a") == Words{"e", "\u0301", "a"});  // a combining mark is neither
  CHECK(split("\u4F60\u597D\uFF0C") == Words{"\u4F60\u597D", "\uFF0C"});
  CHECK(split(" \u0663\u0664 \u2167") == Words{" \u0663\u0664", " \u2167"});
  CHECK(split("a\u200Db") == Words{"a", "\u200D", "b"});  // zero width joiner
  CHECK(split("\U0001F468\u200D\U0001F469!") == Words{"\U0001F468\u200D\U0001F469!"});
  CHECK(split("\uFEFF x") == Words{"\uFEFF", " x"});
  CHECK(split("a\u0085\u0085b") == Words{"a", "\u0085", "\u0085", "b"});
}

TEST_CASE("bytes that are no UTF-8 are words like punctuation") {
  CHECK(split("a\xFF\xFE") == Words{"a", "\xFF\xFE"});
  CHECK(split(" \xC3 a") == Words{" \xC3", " a"});
  CHECK(split("\xED\xA0\x80!") == Words{"\xED\xA0\x80!"});
}

TEST_CASE("digits before the pattern cut the text at numbers") {
  const PreTokenizer runs{.digits = DigitSplit::runs}, single{.digits = DigitSplit::single};
  CHECK(split("a 12b", single) == Words{"a", " ", "1", "2", "b"});
  CHECK(split("a 12b", runs) == Words{"a", " ", "12", "b"});
  // What is before the number is a text of its own: its white space ends it.
  CHECK(split("a  1", single) == Words{"a", "  ", "1"});
  CHECK(split("a \n 1", runs) == Words{"a", " \n ", "1"});
  CHECK(split("a  b 1", single) == Words{"a", " ", " b", " ", "1"});
  CHECK(split("x\u00B2\u0663", single) == Words{"x", "\u00B2", "\u0663"});
  CHECK(split("it's 5%", single) == Words{"it", "'s", " ", "5", "%"});
  // Tolong Siki digits: Nd since Unicode 17.0 (DerivedGeneralCategory.txt), which Digits knows and
  // the pattern does not. Digits cut a text at both kinds of numbers, the pattern a run of the two.
  const std::string newer = "\U00011DE0";
  CHECK(split("! " + newer + newer + "!", single) == Words{"!", " ", newer, newer, "!"});
  CHECK(split("!" + newer + newer + "1!", runs) == Words{"!", newer + newer, "1", "!"});
  CHECK(split("! " + newer + "!") == Words{"!", " " + newer + "!"});
}

TEST_CASE("the splitter does what Llama 3's and Qwen 2's patterns do") {
  // Derived by hand from the pattern, first alternative that matches.
  for (const PreTokenizer& pre : {kLlama3, kQwen2}) {
    CHECK(split("Hello world", pre) == Words{"Hello", " world"});
    CHECK(split("I'VE don'T", pre) == Words{"I", "'VE", " don", "'T"});
    CHECK(split("'\u017Fa", pre) == Words{"'\u017F", "a"});      // long s folds to s
    CHECK(split("(a) _b", pre) == Words{"(a", ")", " _", "b"});  // one character before letters
    CHECK(split("a_b\tc", pre) == Words{"a", "_b", "\tc"});
    CHECK(split("a\nb", pre) == Words{"a", "\n", "b"});  // not an end of line, though
    CHECK(split("a\u00A0b", pre) == Words{"a", "\u00A0b"});
    CHECK(split("!?\n\r\n x", pre) == Words{"!?\n\r\n", " x"});
    CHECK(split("a  b", pre) == Words{"a", " ", " b"});
    CHECK(split("a  !", pre) == Words{"a", " ", " !"});
    CHECK(split("a \n \n  b", pre) == Words{"a", " \n \n", " ", " b"});
    CHECK(split("a  \n", pre) == Words{"a", "  \n"});
    CHECK(split("a  ", pre) == Words{"a", "  "});
    CHECK(split("x 1", pre) == Words{"x", " ", "1"});        // no alternative has ' ' and numbers
    CHECK(split("x  1", pre) == Words{"x", " ", " ", "1"});  // \s+(?!\S), then \s+
    CHECK(split("$5", pre) == Words{"$", "5"});
    CHECK(split("5a", pre) == Words{"5", "a"});
  }
  CHECK(split("12345", kLlama3) == Words{"123", "45"});
  CHECK(split("12345", kQwen2) == Words{"1", "2", "3", "4", "5"});
}

}  // namespace pre_tokenizer_test
