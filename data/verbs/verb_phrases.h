// Random parts of sentences: subjects, noun phrases, what follows a verb, time expressions. Apart
// from the sentence templates (verbs.cpp), which decide what goes where.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "autograd/base/rng.h"
#include "data/verbs/verb_grammar.h"

namespace notch::data {

class PhraseMaker {
 public:
  PhraseMaker(std::uint64_t seed, std::uint64_t stream) : rng_(seed, stream) {}

  double uniform() { return rng_.uniform(); }
  bool chance(double probability) { return uniform() < probability; }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(rng_.below(n)); }
  template <class Range>
  const auto& pick(const Range& range) {
    return range[below(range.size())];
  }

  /// A verb that the tense allows (no progressive of stative ones, no perfect progressive of
  /// punctual ones).
  const Verb& verb(Tense tense);

  /// A pronoun, person, or (for verbs an animal can do) an animal.
  Subject subject(const Verb& verb);

  /// "the new letter", "an apple", "her keys", "Anna": agrees with the subject where it must.
  std::string noun_phrase(std::string_view noun_class, const Subject& subject);

  /// What follows the verb: preposition, noun phrase, location or recipient. `without_object`
  /// leaves a gap for "what", "who": "did she listen to".
  std::string complement(const Complement& c, const Subject& subject, bool without_object = false);

  /// One of the tense's time expressions with its placeholders filled.
  std::string time(Tense tense, Polarity polarity, bool stative);

  /// One of the tense's adverbs, "" when it has none.
  std::string adverb(Tense tense, Polarity polarity, bool stative);

 private:
  std::string person(const Subject& subject);
  std::string fill(std::string_view text);

  Rng rng_;
};

}  // namespace notch::data
