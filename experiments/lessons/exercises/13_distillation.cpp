// Exercise 13. The loss of a student that learns from a teacher, and its gradient.
//
//   notch lesson check 13                 judges this file
//   notch lesson check 13 mine.cpp        judges a copy of it
//
// Logits of several tokens stand one after the other, `classes` each. Replace every BLANK.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

/// softmax(z / T): exp(z_i / T), divided by their sum.
std::vector<double> softmax(std::span<const double> z, double T) {
  BLANK("subtract the largest logit first, so that nothing overflows");
}

/// alpha T² KL(p || q) + (1 - alpha) CE, p the teacher's and q the student's softmax at T, CE the
/// cross-entropy at temperature 1; the mean over all tokens. targets[t] is the right class of token t.
double loss(std::span<const double> student, std::span<const double> teacher,
            const std::vector<int>& targets, double T, double alpha) {
  const std::size_t classes = student.size() / targets.size();
  double sum = 0;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const auto p = softmax(teacher.subspan(t * classes, classes), T);
    const auto q = softmax(student.subspan(t * classes, classes), T);
    const auto one = softmax(student.subspan(t * classes, classes), 1);
    BLANK("KL = Σ p log(p/q) and CE = -log of the right class; add the mixture to sum");
  }
  return sum / static_cast<double>(targets.size());
}

/// Its gradient with respect to the student's logits.
std::vector<double> gradient(std::span<const double> student, std::span<const double> teacher,
                             const std::vector<int>& targets, double T, double alpha) {
  std::vector<double> out(student.size());
  BLANK(
      "per token: alpha T (q - p) + (1 - alpha) (softmax - 1 at the right class), over all tokens");
  return out;
}

}  // namespace

EXERCISE(judge_distillation, softmax, loss, gradient)
