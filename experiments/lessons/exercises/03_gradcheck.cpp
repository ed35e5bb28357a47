// Exercise 03. Write the gradient check.
//
//   notch lesson check 03                 judges this file
//   notch lesson check 03 mine.cpp        judges a copy of it
//
// y = f(x) has as many elements as it likes. `rule` claims to give dx, the derivatives of
// L = r_0 y_0 + r_1 y_1 + ..., if it is given dy = r. Find out how wrong it is. Replace every BLANK.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Function;
using notch::lessons::Rule;
using notch::lessons::Vector;

/// L(x), with the cotangent r.
double loss(Function f, const Vector& r, const Vector& x) {
  const Vector y = f(x);
  double sum = 0;
  BLANK("the sum of r_i y_i");
  return sum;
}

/// The largest difference between dx and the finite difference of L, over all elements of x.
double error_of(Function f, Rule rule, const Vector& x) {
  Vector r(f(x).size());
  BLANK("fill r: some numbers of about 1 that differ. All equal would be blind");
  const Vector dx = rule(x, r);
  const double h = 1e-5;
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    BLANK("(L(x with x_i + h) - L(x with x_i - h)) / 2h, against dx[i]");
  }
  return worst;
}

}  // namespace

EXERCISE(judge_gradcheck, error_of)
