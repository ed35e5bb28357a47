#include "data/verbs/verb_phrases.h"

namespace notch::data {

const Verb& PhraseMaker::verb(Tense tense) {
  const int aspect = static_cast<int>(tense) / 3;
  for (;;) {
    const Verb& v = pick(verbs());
    if (aspect % 2 == 1 && v.stative) continue;
    if (aspect == 3 && v.punctual) continue;
    return v;
  }
}

Subject PhraseMaker::subject(const Verb& verb) {
  if (verb.animal && chance(0.3)) return pick(animals());
  if (chance(0.55)) return pick(people());
  for (;;) {
    const Subject& s = pick(pronouns());
    if (s.text != "it" || verb.animal) return s;
  }
}

std::string PhraseMaker::person(const Subject& subject) {
  for (;;) {
    if (chance(0.3)) {
      const Subject& p = pick(pronouns());
      // "I saw me", "we saw me" and "it saw it" are no sentences.
      if (p.text != "it" && (p.person == 3 || p.person != subject.person)) return p.object;
      continue;
    }
    const Subject& p = pick(people());
    // "Anna and Tom visited Anna": no name twice.
    if (subject.text.find(p.text) != std::string::npos) continue;
    if (p.text.find(subject.text) != std::string::npos) continue;
    return p.object;
  }
}

std::string PhraseMaker::noun_phrase(std::string_view name, const Subject& subject) {
  if (name == "person") return person(subject);
  const NounClass& c = noun_class(name);
  const Noun& noun = pick(c.nouns);
  if (noun.kind == NounKind::bare) return noun.singular;
  if (noun.kind == NounKind::fixed) return noun.singular;
  if (name == "role") {  // "she became a doctor", "they became doctors"
    return subject.plural ? noun.plural : join({article(noun.singular), noun.singular});
  }
  if (name == "body") {
    const bool one = !subject.plural && chance(0.8);
    return join({subject.possessive, one ? noun.singular : noun.plural});
  }
  const std::string adjective =
      !c.adjectives.empty() && chance(0.3) ? pick(c.adjectives) : std::string();
  const std::string one = join({adjective, noun.singular});
  const double which = uniform();
  if (noun.kind == NounKind::mass) {
    return which < 0.4 ? join({"the", one}) : which < 0.6 ? join({subject.possessive, one}) : one;
  }
  const std::string many = join({adjective, noun.plural});
  if (which < 0.27) return join({"the", one});
  if (which < 0.52) return join({article(one), one});
  if (which < 0.67) return join({subject.possessive, one});
  if (which < 0.77) return join({"the", many});
  if (which < 0.84) return many;
  if (which < 0.90) return join({pick(placeholder("n")), many});
  if (which < 0.95) return join({chance(0.5) ? "this" : "that", one});
  return join({subject.possessive, many});
}

std::string PhraseMaker::complement(const Complement& c, const Subject& subject,
                                    bool without_object) {
  std::string out = c.preposition;
  if (!c.noun_class.empty() && !without_object) {
    out = join({out, noun_phrase(c.noun_class, subject)});
  }
  if (c.recipient) out = join({out, "to", person(subject)});
  if (c.location) {
    out = join({out, c.noun_class.empty() ? pick(body_locations()) : pick(thing_locations())});
  }
  return out;
}

std::string PhraseMaker::fill(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t open = text.find('{');
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find('}', open);
    out += pick(placeholder(text.substr(open + 1, close - open - 1)));
    text.remove_prefix(close + 1);
  }
  return out;
}

std::string PhraseMaker::time(Tense tense, Polarity polarity, bool stative) {
  return fill(pick(time_expressions(tense, polarity, stative)));
}

std::string PhraseMaker::adverb(Tense tense, Polarity polarity, bool stative) {
  const auto choices = mid_adverbs(tense, polarity, stative);
  return choices.empty() ? std::string() : std::string(pick(choices));
}

}  // namespace notch::data
