#include "data/bpe.h"

#include <algorithm>
#include <map>
#include <string>

#include "autograd/base/rng.h"
#include "data/vocabulary.h"
#include "tests/catch.h"

namespace bpe_test {

using namespace notch;
using namespace notch::data;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = PreTokenizer{}.word_end(text, begin);
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

/// Algorithm 1 of Sennrich et al. with every count made anew for every merge, and ties as the
/// BpeTrainer of Hugging Face's tokenizers decides them: the pair of ids that is the smaller where
/// bytes are numbered as the characters that spell them are (trainer.rs, `Ord for Merge` and
/// `compute_alphabet`).
std::vector<Merge> naive_train(std::string_view text, int vocab_size) {
  std::vector<Ids> words;
  for (const std::string& w : split(text)) words.push_back(bytes_of(w));
  const auto place = [](int id) {
    return id < 256 ? spell(std::string(1, static_cast<char>(id))) : "\xFF" + std::to_string(id);
  };
  std::vector<Merge> merges;
  for (int id = 256; id < vocab_size; ++id) {
    std::map<std::pair<int, int>, int> counts;
    for (const Ids& w : words) {
      for (std::size_t i = 0; i + 1 < w.size(); ++i) ++counts[{w[i], w[i + 1]}];
    }
    Merge best;
    int best_count = 1;
    for (const auto& [pair, count] : counts) {
      const bool wins_tie = std::pair(place(pair.first), place(pair.second)) <
                            std::pair(place(best.left), place(best.right));
      if (count < best_count || count < 2 || (count == best_count && !wins_tie)) continue;
      best_count = count;
      best = {pair.first, pair.second, id};
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

TEST_CASE("training breaks ties by the characters that spell the bytes") {
  // A space is U+0120, behind every letter: (x,y) goes before (space,a), which the bytes' own order
  // would put first. Both occur twice.
  CHECK(same(train_bpe("xy1 a1xy1 a", 300), {{'x', 'y', 256}, {' ', 'a', 257}}));
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
    const std::string word = random_text(rng, rng.below(200), "abcd");  // short and long ones
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

}  // namespace bpe_test
