#include "data/bpe.h"

#include <algorithm>
#include <map>
#include <string>

#include "autograd/base/rng.h"
#include "tests/catch.h"

using namespace notch;
using namespace notch::data;

namespace {

using Words = std::vector<std::string>;

Words split(std::string_view text) {
  Words out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = word_end(text, begin);
    REQUIRE(end > begin);
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

using Ids = std::vector<std::int32_t>;

Ids bytes_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

/// One merge over one word, by the definition.
Ids replaced(const Ids& ids, const Merge& m) {
  Ids out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i + 1 < ids.size() && ids[i] == m.left && ids[i + 1] == m.right) {
      out.push_back(m.result);
      ++i;
    } else {
      out.push_back(ids[i]);
    }
  }
  return out;
}

/// Algorithm 1 of Sennrich et al. with every count made anew for every merge.
std::vector<Merge> naive_train(std::string_view text, int vocab_size) {
  std::vector<Ids> words;
  for (const std::string& w : split(text)) words.push_back(bytes_of(w));
  std::vector<Merge> merges;
  for (int id = 256; id < vocab_size; ++id) {
    std::map<std::pair<int, int>, int> counts;
    for (const Ids& w : words) {
      for (std::size_t i = 0; i + 1 < w.size(); ++i) ++counts[{w[i], w[i + 1]}];
    }
    Merge best;
    int best_count = 1;
    for (const auto& [pair, count] :
         counts) {  // ascending, so the first of the best is the smallest
      if (count > best_count) {
        best_count = count;
        best = {pair.first, pair.second, id};
      }
    }
    if (best_count < 2) break;
    merges.push_back(best);
    for (Ids& w : words) w = replaced(w, best);
  }
  return merges;
}

std::string random_text(Rng& rng, std::size_t n, std::string_view alphabet) {
  std::string text;
  for (std::size_t i = 0; i < n; ++i) text += alphabet[rng.below(alphabet.size())];
  return text;
}

bool same(const std::vector<Merge>& a, const std::vector<Merge>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Merge& x, const Merge& y) {
    return x.left == y.left && x.right == y.right && x.result == y.result;
  });
}

}  // namespace

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

TEST_CASE("the splitter never cuts a UTF-8 sequence") {
  CHECK(split("caf\xC3\xA9 ol\xC3\xA9") == Words{"caf\xC3\xA9", " ol\xC3\xA9"});
  CHECK(split("\xE2\x80\x99s") == Words{"\xE2\x80\x99s"});
  CHECK(split("1\xC2\xB2") == Words{"1", "\xC2\xB2"});
}

TEST_CASE("training follows the counts of a worked example") {
  // Words: low, " low" twice, " lower". (l,o) and (o,w) occur 4 times, (space,l) 3, (w,e) and (e,r)
  // once.
  // 1. (l,o): the tie with (o,w) goes to the smaller left id.  2. (lo,w) 4.  3. (space,low) 3.
  // 4. (" low",e) and (e,r) occur once: the end.
  const std::vector<Merge> merges = train_bpe("low low low lower", 300);
  REQUIRE(merges.size() == 3);
  CHECK(same(merges, {{'l', 'o', 256}, {256, 'w', 257}, {' ', 257, 258}}));
}

TEST_CASE("training ties go to the smaller left id, then the right one") {
  CHECK(same(train_bpe("ba1ab1ba1ab", 257), {{'a', 'b', 256}}));
  CHECK(same(train_bpe("ac1ab1ac1ab", 258), {{'a', 'b', 256}, {'a', 'c', 257}}));
}

TEST_CASE("a run counts each adjacent pair and merges from the left") {
  // "aaa" twice: (a,a) 4 times, then [aa, a] twice.
  CHECK(same(train_bpe("aaa1aaa", 300), {{'a', 'a', 256}, {256, 'a', 257}}));
}

TEST_CASE("incremental training equals training by recounting") {
  Rng rng(11);
  for (int trial = 0; trial < 60; ++trial) {
    const std::string_view alphabet = trial % 2 == 0 ? "ab" : "abc  d\n";
    const std::string text = random_text(rng, 20 + rng.below(300), alphabet);
    CAPTURE(text);
    CHECK(same(train_bpe(text, 290), naive_train(text, 290)));
  }
}

TEST_CASE("applying merges equals applying them one rank after the other") {
  Rng rng(12);
  const std::string text = random_text(rng, 3000, "aabc ");
  const std::vector<Merge> merges = train_bpe(text, 330);
  const MergeTable table(merges);
  for (int trial = 0; trial < 200; ++trial) {
    const std::string word = random_text(rng, rng.below(40), "abcd");
    Ids expected = bytes_of(word);
    for (const Merge& m : merges) expected = replaced(expected, m);
    Ids found = bytes_of(word);
    table.apply(found);
    CAPTURE(word);
    CHECK(found == expected);
  }
}

TEST_CASE("a vocabulary size out of range is refused") {
  for (const int size : {-1, 0, 256, 65537}) {
    const ErrorParts e = test::error_of([&] { train_bpe("text", size); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.field == "bpe_vocab");
    CHECK(e.found == std::to_string(size));
  }
}
