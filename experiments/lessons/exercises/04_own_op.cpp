// Exercise 04. Write an op: softplus, y = log(1 + exp(x)), a smooth max(x, 0).
//
//   notch lesson check 04                 judges this file
//   notch lesson check 04 mine.cpp        judges a copy of it
//
// Replace every BLANK. For large x, exp(x) is infinite and y is not: log(1 + exp(x)) is the same as
// x + log(1 + exp(-x)).
#include <cmath>
#include <cstddef>

#include "autograd/graph.h"
#include "experiments/lessons/judges.h"

namespace {

using namespace notch;

struct Softplus {
  static constexpr std::string_view name = "softplus";

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    BLANK("ask f for y of x's shape; fill it; return it");
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    BLANK("add dout times 1 / (1 + exp(-x)) to the gradient of input 0");
  }
};

Var softplus(Var x) { return x.tape().record(Softplus{}, {x}); }

}  // namespace

EXERCISE(judge_own_op, softplus)
