#include "data/verbs/verb_grammar.h"

#include <initializer_list>

#include "autograd/base/error.h"

namespace notch::data {
namespace {

bool third_singular(const Subject& s) { return s.person == 3 && !s.plural; }

std::string be(bool past, const Subject& s) {
  if (past) return s.plural ? "were" : "was";
  if (s.plural) return "are";
  return s.person == 1 ? "am" : "is";
}

}  // namespace

VerbGroup conjugate(const Verb& verb, Tense tense, const Subject& subject, bool with_auxiliary) {
  const int index = static_cast<int>(tense);
  const bool past = index % 3 == 1, future = index % 3 == 2;
  const int aspect = index / 3;  // simple, progressive, perfect, perfect progressive
  if (aspect == 0) {
    if (future) return {"will", verb.base};
    if (verb.base == "be") return {be(past, subject), ""};
    if (with_auxiliary) {
      return {past ? "did" : (third_singular(subject) ? "does" : "do"), verb.base};
    }
    return {"", past ? verb.past : (third_singular(subject) ? verb.third_person() : verb.base)};
  }
  const std::string main = aspect == 2 ? verb.participle : verb.gerund();
  if (aspect == 1) {
    if (future) return {"will", join({"be", main})};
    return {be(past, subject), main};
  }
  const std::string tail = aspect == 3 ? join({"been", main}) : main;
  if (future) return {"will", join({"have", tail})};
  return {past ? "had" : (third_singular(subject) ? "has" : "have"), tail};
}

std::string contracted_not(std::string_view auxiliary) {
  if (auxiliary == "am") return "";
  if (auxiliary == "will") return "won't";
  return std::string(auxiliary) + "n't";
}

std::string statement(const Clause& c) {
  check(c.verb != nullptr, "clause", "has no verb");
  const bool negative = c.negation != Negation::none;
  const VerbGroup g = conjugate(*c.verb, c.tense, c.subject, negative);
  std::string auxiliary = g.auxiliary;
  if (negative) {
    const std::string contracted =
        c.negation == Negation::contracted ? contracted_not(auxiliary) : std::string();
    auxiliary = contracted.empty() ? auxiliary + " not" : contracted;
  }
  return join({c.subject.text, auxiliary, c.adverb, g.rest, c.tail});
}

std::string question(const Clause& c) {
  check(c.verb != nullptr, "clause", "has no verb");
  const VerbGroup g = conjugate(*c.verb, c.tense, c.subject, true);
  std::string auxiliary = g.auxiliary;
  bool not_follows = c.negation != Negation::none;
  if (c.negation == Negation::contracted && !contracted_not(auxiliary).empty()) {
    auxiliary = contracted_not(auxiliary);
    not_follows = false;
  }
  return join({auxiliary, c.subject.text, not_follows ? "not" : "", c.adverb, g.rest, c.tail});
}

std::string join(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) {
    if (part.empty()) continue;
    if (!out.empty()) out += ' ';
    out += part;
  }
  return out;
}

std::string_view article(std::string_view word) {
  for (const std::string_view consonant : {"uni", "use", "eu", "one"}) {
    if (word.substr(0, consonant.size()) == consonant) return "a";
  }
  for (const std::string_view silent : {"hour", "honest"}) {
    if (word.substr(0, silent.size()) == silent) return "an";
  }
  return std::string_view("aeiouAEIOU").find(word.front()) != std::string_view::npos ? "an" : "a";
}

bool same_in_past(const Verb& verb, const Subject& subject) {
  return verb.base == verb.past && !third_singular(subject);
}

}  // namespace notch::data
