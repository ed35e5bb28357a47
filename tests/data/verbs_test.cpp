#include "data/verbs/verbs.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "data/verbs/verb_grammar.h"
#include "tests/catch.h"

namespace verbs_test {

using namespace notch;
using namespace notch::data;

struct Line {
  std::string sentence, label;
};

std::vector<Line> lines_of(const std::string& text) {
  std::vector<Line> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const std::size_t open = line.rfind(" [");
    REQUIRE(open != std::string::npos);
    REQUIRE(line.back() == ']');
    out.push_back({line.substr(0, open), line.substr(open + 2, line.size() - open - 3)});
  }
  return out;
}

bool starts_with(const std::string& text, std::string_view start) {
  return text.compare(0, start.size(), start) == 0;
}

/// The words of the main clause: what stands before or after a comma or connector that cuts it off.
std::vector<std::string> main_clause(std::string s) {
  s.pop_back();  // . or ?
  const std::size_t comma = s.find(", ");
  if (comma != std::string::npos) {
    const std::string rest = s.substr(comma + 2);
    s = starts_with(rest, "and ") || starts_with(rest, "but ") ? s.substr(0, comma) : rest;
  }
  for (const char* connector : {" when ", " whenever ", " before ", " after ", " because ",
                                " while ", " since ", " as soon as ", " if ", " by the time "}) {
    s = s.substr(0, s.find(connector));
  }
  std::vector<std::string> words;
  std::istringstream in(s);
  for (std::string w; in >> w;) {
    std::transform(w.begin(), w.end(), w.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (w == "won't") w = "will";
    if (w.size() > 3 && w.substr(w.size() - 3) == "n't") w.resize(w.size() - 3);
    words.push_back(w);
  }
  return words;
}

/// The sets of forms, from the table (whose spelling other tests check by hand).
struct Forms {
  std::set<std::string> gerund, participle, past, present;
  Forms() {
    std::vector<Verb> all = verbs();
    for (const Event& e : events()) all.push_back(verb_named(e.base));
    for (const Verb& v : all) {
      const auto first = [](const std::string& s) { return s.substr(0, s.find(' ')); };
      gerund.insert(first(v.gerund()));
      participle.insert(first(v.participle));
      past.insert(first(v.past));
      present.insert(first(v.base));
      present.insert(first(v.third_person()));
    }
    participle.insert("been");
  }
};

/// The label that the auxiliaries of the main clause demand; "" where a main verb without auxiliary
/// looks the same in present and past, or is hidden behind a noun that looks like a verb.
std::string label_by_auxiliaries(const std::string& sentence) {
  static const Forms forms;
  const std::vector<std::string> words = main_clause(sentence);
  const auto any_after = [&](std::size_t i, const std::set<std::string>& set) {
    return std::any_of(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end(),
                       [&](const std::string& w) { return set.count(w) > 0; });
  };
  const auto aspect = [&](std::size_t i) -> std::string {
    if (any_after(i, {"been"}) && any_after(i, forms.gerund)) return "perfect progressive";
    return any_after(i, forms.participle) ? "perfect" : "";
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& w = words[i];
    if (w == "will") {
      if (any_after(i, {"have"}) && !aspect(i).empty()) return "future " + aspect(i);
      if (any_after(i, {"be"}) && any_after(i, forms.gerund)) return "future progressive";
      return "future simple";
    }
    if (w == "am" || w == "is" || w == "are") {
      return any_after(i, forms.gerund) ? "present progressive" : "present simple";
    }
    if (w == "was" || w == "were") {
      return any_after(i, forms.gerund) ? "past progressive" : "past simple";
    }
    if (w == "has" || w == "have") {
      return aspect(i).empty() ? "present simple" : "present " + aspect(i);
    }
    if (w == "had") return aspect(i).empty() ? "past simple" : "past " + aspect(i);
    if (w == "do" || w == "does") return "present simple";
    if (w == "did") return "past simple";
    const bool noun =
        i > 0 && (words[i - 1] == "the" || words[i - 1] == "my" || words[i - 1] == "our");
    if (noun || (forms.past.count(w) == 0 && forms.present.count(w) == 0)) continue;
    if (forms.past.count(w) > 0 && forms.present.count(w) > 0) return "";
    return forms.past.count(w) > 0 ? "past simple" : "present simple";
  }
  return "no verb";
}

const std::string& sample() {
  static const std::string text = generate(77, 6000);
  return text;
}

TEST_CASE("text is a function of the seed and longer ones continue it") {
  const std::string text = generate(5, 200);
  CHECK(generate(5, 200) == text);
  CHECK(generate(6, 200) != text);
  CHECK(generate(5, 300).substr(0, text.size()) == text);
  CHECK(std::count(text.begin(), text.end(), '\n') == 200);
}

TEST_CASE("the default size is between 300 and 400 KB") {
  const std::size_t bytes = generate(1337, kDefaultSentences).size();
  CHECK(bytes > 300 * 1024);
  CHECK(bytes < 400 * 1024);
}

TEST_CASE("the twelve labels are distinct and used about equally often") {
  std::map<std::string, int> counts;
  for (const Line& l : lines_of(sample())) ++counts[l.label];
  CHECK(counts.size() == kTenses);
  for (const auto& [name, n] : counts) {
    CAPTURE(name);
    CHECK(n > 400);  // 500 expected, standard deviation 21
    CHECK(n < 600);
  }
}

TEST_CASE("the auxiliaries of every sentence say what its label says") {
  int undecided = 0;
  for (const Line& l : lines_of(sample())) {
    const std::string expected = label_by_auxiliaries(l.sentence);
    if (expected.empty()) {
      ++undecided;
      continue;
    }
    CAPTURE(l.sentence);
    CHECK(expected == l.label);
  }
  CHECK(undecided < 120);  // "they put": decided by the time expression alone
}

TEST_CASE("where present and past look the same, a time expression decides") {
  // "They put" has neither -s nor a past form. "She put" is past without more.
  int seen = 0;
  for (const Line& l : lines_of(generate(79, 60000))) {
    if (!label_by_auxiliaries(l.sentence).empty()) continue;
    const auto has = [&](const char* words) { return l.sentence.find(words) != std::string::npos; };
    bool same_form = false;
    for (const Verb& v : verbs()) {
      if (v.base != v.past) continue;
      for (const char* subject : {"I ", "You ", "you ", "We ", "we ", "They ", "they "}) {
        same_form = same_form || has((subject + v.base + " ").c_str());
      }
    }
    if (!same_form) continue;
    ++seen;
    CAPTURE(l.sentence);
    const bool present =
        has("very ") || has("days") || has("nce a ") || has("wice a ") || has("times a ");
    const bool past = has("yesterday") || has("Yesterday") || has("ast ") || has(" ago") ||
                      has("n 19") || has("n 20") || has("he other day");
    CHECK((l.label == "present simple" ? present : past));
  }
  CHECK(seen > 20);
}

TEST_CASE("verbs of state take no progressive") {
  for (const char* gerund : {" knowing ", " owning ", " wanting ", " believing ", " being "}) {
    CHECK(sample().find(gerund) == std::string::npos);
  }
  CHECK(sample().find(" known ") != std::string::npos);
}

TEST_CASE("sentences have a capital, an end mark and single spaces") {
  for (const Line& l : lines_of(sample())) {
    CAPTURE(l.sentence);
    CHECK((l.sentence[0] >= 'A' && l.sentence[0] <= 'Z'));
    CHECK((l.sentence.back() == '.' || l.sentence.back() == '?'));
    CHECK(l.sentence.find("  ") == std::string::npos);
    CHECK(l.sentence.find_first_of("{}_@+|~=") == std::string::npos);
  }
}

TEST_CASE("subjects and verbs agree, and articles fit") {
  const std::map<std::string, std::set<std::string>> never = {
      {"I", {"is", "are", "has", "does", "were", "doesn't", "isn't", "writes", "goes"}},
      {"he", {"am", "are", "have", "do", "were", "don't", "aren't", "haven't", "go", "write"}},
      {"she", {"am", "are", "have", "do", "were", "don't", "aren't", "haven't", "go", "write"}},
      {"they", {"am", "is", "was", "has", "does", "isn't", "wasn't", "hasn't", "goes", "writes"}},
      {"we", {"am", "is", "was", "has", "does", "isn't", "wasn't", "hasn't", "goes", "writes"}},
      {"you", {"am", "is", "was", "has", "does", "isn't", "wasn't", "hasn't", "goes", "writes"}},
  };
  for (const Line& l : lines_of(sample())) {
    if (l.sentence.back() == '?') continue;  // "does she have"
    CAPTURE(l.sentence);
    std::istringstream in(l.sentence);
    std::string previous;
    for (std::string w; in >> w; previous = w) {
      if (previous == "He" || previous == "She" || previous == "They" || previous == "We" ||
          previous == "You") {
        previous[0] = static_cast<char>(previous[0] - 'A' + 'a');
      }
      const auto rule = never.find(previous);
      // "you" is also an object: "the man who saw you has": only at the start of a clause is it a
      // subject.
      if (rule != never.end() && previous != "you") CHECK(rule->second.count(w) == 0);
      if (previous == "an") CHECK(std::string("aeiouh").find(w[0]) != std::string::npos);
      if (previous == "a" && std::string("aeio").find(w[0]) != std::string::npos) FAIL(l.sentence);
    }
  }
}

TEST_CASE("the corpus is varied: few sentences repeat, and most verbs occur") {
  std::set<std::string> distinct, words;
  const std::vector<Line> lines = lines_of(sample());
  for (const Line& l : lines) {
    distinct.insert(l.sentence);
    for (const std::string& w : main_clause(l.sentence)) words.insert(w);
  }
  CHECK(distinct.size() > lines.size() * 98 / 100);
  int used = 0;
  for (const Verb& v : verbs()) {
    used += words.count(v.base) + words.count(v.gerund()) + words.count(v.past) +
                        words.count(v.participle) + words.count(v.third_person()) >
                    0
                ? 1
                : 0;
  }
  CHECK(used > 380);
}

TEST_CASE("task examples are pure, have twelve candidates, one is right") {
  const std::vector<TenseExample> examples = tense_examples(3, 600);
  REQUIRE(examples.size() == 600);
  CHECK(tense_examples(3, 600)[599].prompt == examples[599].prompt);
  CHECK(tense_examples(4, 1)[0].prompt != examples[0].prompt);
  std::set<int> answers;
  for (const TenseExample& e : examples) {
    REQUIRE(e.candidates.size() == kTenses);
    REQUIRE((e.correct >= 0 && e.correct < kTenses));
    answers.insert(e.correct);
    REQUIRE(e.prompt.size() > 2);
    CHECK(e.prompt.substr(e.prompt.size() - 2) == " [");
    const std::string& answer = e.candidates[static_cast<std::size_t>(e.correct)];
    CHECK(answer.back() == ']');
    const std::string expected = label_by_auxiliaries(e.prompt.substr(0, e.prompt.size() - 2));
    if (!expected.empty()) CHECK(expected + "]" == answer);
  }
  CHECK(answers.size() == kTenses);
  const std::vector<std::string>& c = examples[0].candidates;
  CHECK(std::set<std::string>(c.begin(), c.end()).size() == c.size());
  for (const std::string& a : c) {  // no candidate is the beginning of another
    for (const std::string& b : c) CHECK((a == b || !starts_with(b, a)));
  }
}

TEST_CASE("no sentence of the task occurs in the text, whatever the seeds") {
  std::set<std::string> text;
  for (const Line& l : lines_of(sample())) text.insert(l.sentence);
  for (const Line& l : lines_of(generate(78, 6000))) text.insert(l.sentence);
  for (const std::uint64_t seed : {1u, 77u, 78u}) {
    for (const TenseExample& e : tense_examples(seed, 1000)) {
      CHECK(text.count(e.prompt.substr(0, e.prompt.size() - 2)) == 0);
    }
  }
}

TEST_CASE("sizes below one are refused") {
  CHECK(test::error_of([] { generate(1, 0); }).fault == Fault::usage);
  CHECK(test::error_of([] { tense_examples(1, 0); }).fault == Fault::usage);
}

}  // namespace verbs_test
