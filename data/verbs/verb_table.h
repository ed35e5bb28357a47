// The verbs of the built-in corpus: their forms, what they take, and the spelling rules of English.
//
// Spelling is American. Irregular forms are listed; regular ones are made by rule, and the rules
// are tested by hand-written tables. Sources: any school grammar; the table is written for this
// project.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace notch::data {

/// What follows a verb: an optional preposition, a noun of a class, and what comes after that.
struct Complement {
  std::string preposition{};
  std::string noun_class{};  // empty: nothing but perhaps a location follows
  bool location = false;     // needs one: "on the table"
  bool recipient = false;    // needs one: "to Anna"
};

struct Verb {
  std::string base{}, past{}, participle{};
  bool doubles = false;   // doubles its last consonant although it has several syllables (begin)
  bool stative = false;   // no progressive (know)
  bool punctual = false;  // no perfect progressive (drop)
  bool animal = false;    // an animal can do it
  std::vector<Complement> complements{};

  bool irregular() const;
  std::string third_person() const;  ///< writes; "is" for be, "has" for have
  std::string gerund() const;        ///< writing
};

/// All verbs, in a fixed order; `be` is not among them (copula()).
const std::vector<Verb>& verbs();

/// be, was, been; its present and past also depend on the person (see verb_grammar.h).
const Verb& copula();

/// The listed verb with this base; a regular one made by the rules when there is none.
Verb verb_named(std::string_view base);

/// s, es or ies: verbs in the third person (goes, watches, carries) and nouns in the plural.
std::string with_s(std::string_view word);

/// The -ed and -ing forms. `doubles` as in Verb; one-syllable words that end in consonant, vowel,
/// consonant (not w, x, y) double by themselves (stop, quit).
std::string with_ed(std::string_view base, bool doubles = false);
std::string with_ing(std::string_view base, bool doubles = false);

}  // namespace notch::data
