// Exercise 18. Three parts of the scalar GPT, on its tape.
//
//   notch lesson check 18                 judges this file
//   notch lesson check 18 mine.cpp        judges a copy of it
//
// Every number is a node: tape.mul(a, b) makes one and returns its place, tape.value(a) reads one.
// Look at ScalarTape in experiments/lessons/scalar_gpt.h; backward then works by itself, if every
// number on the way is a node that knows what it was made from. Replace every BLANK.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::ScalarTape;
using Row = notch::lessons::ScalarGpt::Row;  // of nodes

/// Σ a_i b_i
int dot(ScalarTape& tape, const Row& a, const Row& b) {
  Row products;
  for (std::size_t i = 0; i < a.size(); ++i) products.push_back(tape.mul(a[i], b[i]));
  return tape.sum(products);
}

/// x / √(mean x² + 1e-5)
Row rms_norm(ScalarTape& tape, const Row& x) {
  Row y;
  const int mean = tape.scale(dot(tape, x, x), 1 / static_cast<double>(x.size()));
  const int factor = tape.power(tape.add(mean, tape.make(1e-5)), -0.5);
  for (const int node : x) y.push_back(tape.mul(node, factor));
  return y;
}

/// One head of attention for the last token: Σ weight_t value_t over all tokens t so far, the weights
/// softmax(q · key_t / √size), size the length of q.
Row attend(ScalarTape& tape, const Row& q, const std::vector<Row>& keys,
           const std::vector<Row>& values) {
  Row out;
  Row weights;
  for (const Row& key : keys) {
    const double root = std::sqrt(static_cast<double>(q.size()));
    weights.push_back(tape.exp(tape.scale(dot(tape, q, key), 1 / root)));
  }
  const int inverse = tape.power(tape.sum(weights), -1);
  for (std::size_t c = 0; c < values[0].size(); ++c) {
    Row parts;
    for (std::size_t t = 0; t < keys.size(); ++t) {
      parts.push_back(tape.mul(tape.mul(weights[t], inverse), values[t][c]));
    }
    out.push_back(tape.sum(parts));
  }
  return out;
}

/// ŵ of weight w on 4 bits, codes -7 … 7 and step s. The gradient is passed on where |w/s| <= 7
/// (lesson 10).
int rounded(ScalarTape& tape, int w, double s) {
  const double u = tape.value(w) / s;
  return tape.make(std::clamp(std::nearbyint(u), -7.0, 7.0) * s, w, std::fabs(u) <= 7 ? 1 : 0);
}

}  // namespace

EXERCISE(judge_names, rms_norm, attend, rounded)
