#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

Vector softmax(const Vector& x) {
  Vector p;
  double sum = 0;
  for (const double v : x) p.push_back(std::exp(v)), sum += p.back();
  for (double& v : p) v /= sum;
  return p;
}
Vector softmax_rule(const Vector& x, const Vector& dy) {
  Vector p = softmax(x);
  double mean = 0;
  for (std::size_t i = 0; i < p.size(); ++i) mean += p[i] * dy[i];
  for (std::size_t i = 0; i < p.size(); ++i) p[i] *= dy[i] - mean;
  return p;
}
Vector no_rule(const Vector& x, const Vector&) { return Vector(x.size(), 0); }

Vector square(const Vector& x) {
  Vector y;
  for (const double v : x) y.push_back(v * v);
  return y;
}
Vector square_rule(const Vector& x, const Vector& dy) {
  Vector dx;
  for (std::size_t i = 0; i < x.size(); ++i) dx.push_back(2 * x[i] * dy[i]);
  return dx;
}
Vector last_wrong(const Vector& x, const Vector& dy) {
  Vector dx = square_rule(x, dy);
  dx.back() = -dx.back();
  return dx;
}

Vector product(const Vector& x) { return {x[0] * x[1] * x[2]}; }
Vector product_rule(const Vector& x, const Vector& dy) {
  return {dy.at(0) * x[1] * x[2], dy.at(0) * x[0] * x[2], dy.at(0) * x[0] * x[1]};
}

}  // namespace

void judge_gradcheck(Judge& judge, double (*error_of)(Function f, Rule rule, const Vector& x)) {
  const Vector x = {0.3, -1.2, 2};
  judge.equal("error of the right rule of squares", error_of(square, square_rule, x), 0, 1e-6,
              "divide by 2h, and put x_i back before the next element");
  judge.equal("error of the right rule of softmax", error_of(softmax, softmax_rule, x), 0, 1e-6,
              "every y may depend on every x: sum over all of y");
  judge.equal("error of the right rule of a product", error_of(product, product_rule, x), 0, 1e-6,
              "r has as many elements as y, which is not always as many as x");
  judge.holds("a rule that is wrong in the last element is found",
              error_of(square, last_wrong, x) > 0.1, "compare every element of x");
  judge.holds("softmax without a rule is found", error_of(softmax, no_rule, x) > 1e-3,
              "the outputs of softmax sum to 1; with equal r the sum cannot change");
}

}  // namespace notch::lessons
