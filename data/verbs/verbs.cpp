#include "data/verbs/verbs.h"

#include <span>
#include <string_view>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "data/verbs/verb_phrases.h"

namespace notch::data {
namespace {

constexpr std::uint64_t kTextStream = 0x7665726273u;       // "verbs"
constexpr std::uint64_t kExampleStream = 0x74656e736573u;  // "tenses"

/// A subordinate clause that goes with a main tense.
struct Link {
  Tense main, sub;
  std::string_view connector;
  bool negated_only = false;
};

constexpr Link kLinks[] = {
    {Tense::present_simple, Tense::present_simple, "when"},
    {Tense::present_simple, Tense::present_simple, "before"},
    {Tense::present_simple, Tense::present_simple, "after"},
    {Tense::present_simple, Tense::present_simple, "whenever"},
    {Tense::past_simple, Tense::past_simple, "when"},
    {Tense::past_simple, Tense::past_simple, "before"},
    {Tense::past_simple, Tense::past_simple, "after"},
    {Tense::past_simple, Tense::past_simple, "because"},
    {Tense::past_simple, Tense::past_progressive, "while"},
    {Tense::past_simple, Tense::past_perfect, "after"},
    {Tense::future_simple, Tense::present_simple, "when"},
    {Tense::future_simple, Tense::present_simple, "before"},
    {Tense::future_simple, Tense::present_simple, "as soon as"},
    {Tense::future_simple, Tense::present_simple, "if"},
    {Tense::present_progressive, Tense::present_progressive, "while"},
    {Tense::present_progressive, Tense::present_progressive, "because"},
    {Tense::past_progressive, Tense::past_simple, "when"},
    {Tense::past_progressive, Tense::past_progressive, "while"},
    {Tense::future_progressive, Tense::present_simple, "when"},
    {Tense::present_perfect, Tense::past_simple, "since", true},
    {Tense::present_perfect, Tense::present_perfect, "because"},
    {Tense::past_perfect, Tense::past_simple, "before"},
    {Tense::past_perfect, Tense::past_simple, "when"},
    {Tense::past_perfect, Tense::past_simple, "by the time"},
    {Tense::future_perfect, Tense::present_simple, "by the time"},
    {Tense::future_perfect, Tense::present_simple, "before"},
    {Tense::present_perfect_progressive, Tense::past_simple, "since"},
    {Tense::past_perfect_progressive, Tense::past_simple, "when"},
    {Tense::past_perfect_progressive, Tense::past_simple, "before"},
    {Tense::future_perfect_progressive, Tense::present_simple, "by the time"},
    {Tense::future_perfect_progressive, Tense::present_simple, "when"},
};

struct Sentence {
  std::string text;
  Tense tense;
};

class SentenceMaker : private PhraseMaker {
 public:
  using PhraseMaker::PhraseMaker;

  Sentence next() {
    const auto tense = static_cast<Tense>(below(kTenses));
    std::string text = make(tense);
    text[0] = static_cast<char>(text[0] >= 'a' && text[0] <= 'z' ? text[0] - 'a' + 'A' : text[0]);
    return {std::move(text), tense};
  }

 private:
  static bool perfect_progressive(Tense tense) { return static_cast<int>(tense) >= 9; }

  std::string make(Tense tense) {
    const double which = uniform();
    if (which < 0.05 && static_cast<int>(tense) / 3 % 2 == 0) return state(tense);
    if (which < 0.09 && static_cast<int>(tense) / 3 % 2 == 0) return event(tense);
    if (which < 0.24) return yes_no(tense);
    if (which < 0.38) return wh_question(tense);
    if (which < 0.58) return two_clauses(tense);
    return plain(tense);
  }

  Negation negation(double probability) {
    if (!chance(probability)) return Negation::none;
    return chance(0.5) ? Negation::full : Negation::contracted;
  }

  static Polarity polarity(const Clause& c) {
    return c.negation == Negation::none ? Polarity::affirmative : Polarity::negative;
  }

  /// Subject, verb and complement; no adverb, no time.
  Clause clause(const Verb& v, Tense tense) {
    Clause c{.verb = &v, .tense = tense, .subject = subject(v)};
    c.tail = complement(pick(v.complements), c.subject);
    return c;
  }

  /// Adds an adverb in the middle, or a time expression at the end or (returned) for the front.
  /// Where present and past look the same, a time expression at the end is never missing.
  std::string add_time(Clause& c, Polarity p, bool front_allowed) {
    const bool ambiguous = p == Polarity::affirmative && same_in_past(*c.verb, c.subject) &&
                           (c.tense == Tense::present_simple || c.tense == Tense::past_simple);
    const double which = uniform();
    if (which < 0.27 && !ambiguous) {
      c.adverb = adverb(c.tense, p, c.verb->stative);
      if (!c.adverb.empty()) return "";
    }
    if (which > 0.9 && !ambiguous && !perfect_progressive(c.tense)) {
      if (!c.verb->stative) c.tail = join({c.tail, pick(closings())});
      return "";
    }
    const std::string when = time(c.tense, p, c.verb->stative);
    const bool movable = when.substr(0, 4) != "for ";  // "for two years by then" stays at the end
    if (front_allowed && movable && p == Polarity::affirmative && chance(0.2)) return when + ", ";
    c.tail = join({c.tail, when});
    return "";
  }

  std::string plain(Tense tense) {
    Clause c = clause(verb(tense), tense);
    c.negation = negation(0.25);
    const std::string front = add_time(c, polarity(c), true);
    return front + statement(c) + ".";
  }

  /// "She has always been late."
  std::string state(Tense tense) {
    Clause c{.verb = &copula(), .tense = tense, .subject = subject(copula())};
    c.tail = pick(states());
    c.negation = negation(0.2);
    if (chance(0.25)) {
      c.negation = Negation::none;
      c.tail = join({c.tail, time(tense, Polarity::question, true)});
      return question(c) + "?";
    }
    const std::string front = add_time(c, polarity(c), true);
    return front + statement(c) + ".";
  }

  /// "The bus will have arrived by noon tomorrow."
  std::string event(Tense tense) {
    const Event& e = pick(events());
    const Verb v = verb_named(e.base);
    Clause c{.verb = &v, .tense = tense, .subject = e.subject};
    c.tail = e.tail;
    c.negation = negation(0.2);
    c.tail = join({c.tail, time(tense, polarity(c), false)});
    return statement(c) + ".";
  }

  std::string yes_no(Tense tense) {
    Clause c = clause(verb(tense), tense);
    if (chance(0.15)) c.negation = Negation::contracted;
    add_time(c, c.negation == Negation::none ? Polarity::question : Polarity::negative, false);
    return question(c) + "?";
  }

  std::string wh_question(Tense tense) {
    const Verb& v = verb(tense);
    Clause c = clause(v, tense);
    const Complement& gap = pick(v.complements);
    const bool place = gap.noun_class == "place" || gap.noun_class == "city";
    const double which = uniform();
    const bool dated = tense == Tense::past_simple || tense == Tense::future_simple;
    if (which < 0.2) return who(c);
    if (which < 0.4) {
      if (chance(0.3)) c.negation = Negation::contracted;
      if (c.negation == Negation::none && chance(0.4)) {
        c.tail = join({c.tail, time(tense, Polarity::question, v.stative)});
      }
      return "why " + question(c) + "?";
    }
    if (which < 0.55 && dated) return "when " + question(c) + "?";
    if (which < 0.55 && tense == Tense::present_simple && !v.stative) {
      return "how often " + question(c) + "?";
    }
    if (which < 0.7 && perfect_progressive(tense)) return "how long " + question(c) + "?";
    if (gap.noun_class.empty() || gap.noun_class == "role") return "why " + question(c) + "?";
    const bool person = gap.noun_class == "person";
    c.tail = place ? "" : complement(gap, c.subject, true);
    c.tail = join({c.tail, time(tense, Polarity::question, v.stative)});
    return std::string(place ? "where " : person ? "who " : "what ") + question(c) + "?";
  }

  /// "Who has written the letter?": the subject is asked for, so nothing inverts.
  std::string who(Clause c) {
    Subject asked;
    asked.text = "who";
    asked.possessive = "their";
    asked.object = "them";
    c.tail = complement(pick(c.verb->complements), asked);
    c.subject = asked;
    add_time(c, Polarity::affirmative, false);
    return statement(c) + "?";
  }

  /// A clause to stand beside `main`: an event, or a verb whose tense shows in its form.
  std::string side_clause(const Clause& main, Tense tense, bool durative) {
    if (!durative && chance(0.6)) {
      const Event& e = pick(events());
      const Verb v = verb_named(e.base);
      return statement({.verb = &v, .tense = tense, .subject = e.subject, .tail = e.tail});
    }
    for (;;) {
      const Clause c = clause(verb(tense), tense);
      if (same_in_past(*c.verb, c.subject) || c.verb->stative) continue;
      if (durative && c.verb->punctual) continue;
      if (c.subject.text == main.subject.text && c.subject.text.find(' ') != std::string::npos) {
        continue;  // "the old man ..., and the old man ..."
      }
      return statement(c);
    }
  }

  std::string two_clauses(Tense tense) {
    Clause c = clause(verb(tense), tense);
    while (c.verb->stative || same_in_past(*c.verb, c.subject)) c = clause(verb(tense), tense);
    if (chance(0.3)) {  // two main clauses of one tense
      if (chance(0.3)) c.negation = Negation::full;
      const std::string second = side_clause(c, tense, perfect_progressive(tense));
      const bool contrast = c.negation != Negation::none || chance(0.4);
      return statement(c) + (contrast ? ", but " : ", and ") + second + ".";
    }
    const Link* link = nullptr;
    do {
      link = &pick(std::span<const Link>(kLinks));
    } while (link->main != tense);
    if (link->negated_only || chance(0.15)) {
      c.negation = chance(0.5) ? Negation::full : Negation::contracted;
    }
    if (tense == Tense::future_perfect_progressive) {
      c.tail = join({c.tail, "for", pick(placeholder("n")), pick(placeholder("units"))});
    }
    const std::string side = side_clause(c, link->sub, link->connector == "while");
    const std::string main = statement(c);
    if (chance(0.4)) return join({link->connector, side}) + ", " + main + ".";
    return join({main, link->connector, side}) + ".";
  }
};

/// FNV-1a over the bytes, mixed: which of 16 classes a sentence belongs to must not depend on any
/// library.
bool kept_for_task(std::string_view sentence) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : sentence) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  return mix64(hash) % 16 == 0;
}

Sentence next_of(SentenceMaker& maker, bool for_task) {
  for (;;) {
    Sentence s = maker.next();
    if (kept_for_task(s.text) == for_task) return s;
  }
}

}  // namespace

std::string generate(std::uint64_t seed, std::int64_t n_sentences) {
  check(n_sentences >= 1, "verbs", "sentences = ", n_sentences, "; at least 1 is needed");
  SentenceMaker maker(seed, kTextStream);
  std::string text;
  for (std::int64_t i = 0; i < n_sentences; ++i) {
    const Sentence s = next_of(maker, false);
    text += s.text;
    text += " [";
    text += word_of(s.tense);
    text += "]\n";
  }
  return text;
}

std::vector<TenseExample> tense_examples(std::uint64_t seed, std::int64_t n) {
  check(n >= 1, "verbs", "examples = ", n, "; at least 1 is needed");
  std::vector<std::string> candidates;
  for (const std::string_view label : words_of<Tense>()) candidates.push_back(str(label, "]"));
  SentenceMaker maker(seed, kExampleStream);
  std::vector<TenseExample> examples;
  for (std::int64_t i = 0; i < n; ++i) {
    const Sentence s = next_of(maker, true);
    examples.push_back({s.text + " [", candidates, static_cast<int>(s.tense)});
  }
  return examples;
}

}  // namespace notch::data
