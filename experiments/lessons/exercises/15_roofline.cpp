// Exercise 15. What a token costs: the larger of reading and computing.
//
//   notch lesson check 15                 judges this file
//   notch lesson check 15 mine.cpp        judges a copy of it
//
// A pass of a model over some tokens reads every weight once, however many tokens go through it, and
// the cached keys and values of all tokens before. It computes two FLOP per weight and token (leave
// out attention's own). Replace every BLANK.
#include <algorithm>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Machine;
using notch::lessons::Pass;
using notch::lessons::Served;

/// Bytes of the keys and values of `tokens` tokens.
double cache(const Served& model, double tokens) {
  BLANK("a key and a value of model.channels numbers in every layer, for every token");
}

/// A pass over `at_once` new tokens: 512 for a prompt, 1 for each token of an answer. `before` tokens
/// are in the cache.
Pass pass(const Machine& machine, const Served& model, double at_once, double before) {
  BLANK("the time to read, the time to compute: which is larger?");
}

}  // namespace

EXERCISE(judge_roofline, cache, pass)
