// Exercise 01. Walk back over a tape.
//
//   notch lesson check 01                 judges this file
//   notch lesson check 01 mine.cpp        judges a copy of it
//
// A line of the tape is an input 'x', a sum '+', a product '*' or a tanh 't'. It reads the lines a and
// b (tanh: a alone), which stand above it. Values are there; find the gradients. Replace every BLANK.
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Line;

void backward(std::vector<Line>& tape) {
  tape.back().grad = 1;
  for (auto line = tape.rbegin(); line != tape.rend(); ++line) {
    Line& a = tape[line->a];
    Line& b = tape[line->b];
    if (line->op == '+') a.grad += line->grad, b.grad += line->grad;
    if (line->op == '*') {
      a.grad += line->grad * b.value;
      b.grad += line->grad * a.value;
    }
    if (line->op == 't') a.grad += line->grad * (1 - line->value * line->value);
  }
}

}  // namespace

EXERCISE(judge_scalars, backward)
