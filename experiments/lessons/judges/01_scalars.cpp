#include <cmath>

#include "autograd/base/error.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

struct Case {
  const char* formula = "";
  std::vector<Line> tape{};
  Vector gradients{};  ///< of all lines
  const char* hint = "";
};

/// The values of the lines that are not inputs.
void compute(std::vector<Line>& tape) {
  for (Line& line : tape) {
    const double a = tape[line.a].value, b = tape[line.b].value;
    if (line.op == '+') line.value = a + b;
    if (line.op == '*') line.value = a * b;
    if (line.op == 't') line.value = std::tanh(a);
  }
}

}  // namespace

void judge_scalars(Judge& judge, void (*backward)(std::vector<Line>& tape)) {
  const auto x = [](double value) { return Line{.op = 'x', .value = value}; };
  const double s = 1 - std::tanh(0.5) * std::tanh(0.5);
  const Case cases[] = {
      {"f = a + b", {x(2), x(3), {'+', 0, 1}}, {1, 1, 1}, "df/da = df/db = 1"},
      {"f = a b", {x(2), x(3), {'*', 0, 1}}, {3, 2, 1}, "df/da = b, df/db = a"},
      {"f = tanh(w x + b)",
       {x(0.5), x(2), x(-0.5), {'*', 0, 1}, {'+', 3, 2}, {'t', 4, 4}},
       {2 * s, 0.5 * s, s, s, s, 1},
       "y is the value of the tanh line, not of the line it reads"},
      {"f = a a", {x(3), {'*', 0, 0}}, {6, 1}, "a is read twice: both parts count, so add (+=)"},
      {"f = a b + a",
       {x(2), x(3), {'*', 0, 1}, {'+', 2, 0}},
       {4, 2, 1, 1},
       "a gets a part from each line that reads it: add (+=), do not set (=)"},
  };
  for (Case c : cases) {
    compute(c.tape);
    backward(c.tape);
    Vector received;
    for (const Line& line : c.tape) received.push_back(line.grad);
    judge.equal(str(c.formula, ", gradients of the lines"), received, c.gradients, 1e-12, c.hint);
  }
}

}  // namespace notch::lessons
