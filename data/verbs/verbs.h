// The built-in corpus: English verb sentences with tense labels, and a classification task on them.
//
// A line is `<sentence> [<label>]`, for example
//   She has not written the letter yet. [present perfect]
// with one of twelve labels (verb_lexicon.h: Tense) that name the main clause's tense and aspect.
// There are about 400 verbs, persons, negation, questions, time expressions and two-clause
// sentences, so that a small model has much to learn and does not reach the floor; it needs no
// download and no licence.
//
// Sentences whose hash falls into one of 16 classes are kept for the task: no example of the task,
// whatever its seed, occurs in any generated text, whatever its seed.
//
// data/verbs/ is this generator.
// May include: autograd/base.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace notch::data {

inline constexpr std::int64_t kDefaultSentences = 5500;  // about 370 KB

/// `n_sentences` lines, each ending in a newline; a pure function of its arguments, the tenses
/// uniform. A longer text begins with the shorter one. Throws Fault::usage unless n_sentences >= 1.
std::string generate(std::uint64_t seed, std::int64_t n_sentences);

/// One question of the task: which candidate continues the prompt? A language model answers with
/// the one of the highest probability; by chance 1 in 12 is right.
struct TenseExample {
  std::string prompt{};                   // the sentence and " ["
  std::vector<std::string> candidates{};  // the twelve labels, each with its closing "]"
  int correct = 0;                        // index into candidates
};

/// `n` examples; a pure function of its arguments. Throws Fault::usage unless n >= 1.
std::vector<TenseExample> tense_examples(std::uint64_t seed, std::int64_t n);

}  // namespace notch::data
