// English conjugation and word order for the built-in corpus: pure functions, no randomness.
//
// A clause is subject + auxiliary + (not) + adverb + rest. Only the first auxiliary is finite; it
// inverts with the subject in questions and takes n't. Without one, do-support supplies it:
//   present/past simple   (do) write       progressive           be writing
//   future simple         will write       perfect               have written
//   perfect progressive   have been writing; the future puts "will" in front of each.
// The copula is its own auxiliary: "is she tired", "she is not tired".
#pragma once

#include <string>
#include <string_view>

#include "data/verbs/verb_lexicon.h"
#include "data/verbs/verb_table.h"

namespace notch::data {

struct VerbGroup {
  std::string auxiliary{};  // finite; "" in affirmative simple clauses
  std::string rest{};       // "been writing"; "" for the copula's simple tenses
};

/// `with_auxiliary` asks for do-support (negation, questions) in the simple tenses.
VerbGroup conjugate(const Verb& verb, Tense tense, const Subject& subject, bool with_auxiliary);

/// "don't", "isn't", "won't", ...; "" for "am", which has none.
std::string contracted_not(std::string_view auxiliary);

enum class Negation { none, full, contracted };

struct Clause {
  const Verb* verb = nullptr;
  Tense tense = Tense::present_simple;
  Subject subject{};
  Negation negation = Negation::none;
  std::string adverb{};  // between auxiliary and verb
  std::string tail{};    // object, location, time
};

/// "she has not written the letter yet": no capital, no full stop. Where the auxiliary has no
/// contraction, a contracted negation is written in full.
std::string statement(const Clause& clause);

/// "hasn't she written the letter yet"; a full negation follows the subject. No question mark.
std::string question(const Clause& clause);

/// Parts joined by single spaces; empty parts are left out.
std::string join(std::initializer_list<std::string_view> parts);

/// "a" or "an" before `word`, by its sound.
std::string_view article(std::string_view word);

/// Whether present and past simple look the same for this subject (they put, they put).
bool same_in_past(const Verb& verb, const Subject& subject);

}  // namespace notch::data
