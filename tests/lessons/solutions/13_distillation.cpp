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
  const double largest = *std::ranges::max_element(z);
  std::vector<double> p;
  double sum = 0;
  for (const double v : z) p.push_back(std::exp((v - largest) / T)), sum += p.back();
  for (double& v : p) v /= sum;
  return p;
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
    double kl = 0;
    for (std::size_t c = 0; c < classes; ++c) kl += p[c] * std::log(p[c] / q[c]);
    const double ce = -std::log(one[static_cast<std::size_t>(targets[t])]);
    sum += alpha * T * T * kl + (1 - alpha) * ce;
  }
  return sum / static_cast<double>(targets.size());
}

/// Its gradient with respect to the student's logits.
std::vector<double> gradient(std::span<const double> student, std::span<const double> teacher,
                             const std::vector<int>& targets, double T, double alpha) {
  std::vector<double> out(student.size());
  const std::size_t classes = student.size() / targets.size();
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const auto p = softmax(teacher.subspan(t * classes, classes), T);
    const auto q = softmax(student.subspan(t * classes, classes), T);
    auto one = softmax(student.subspan(t * classes, classes), 1);
    one[static_cast<std::size_t>(targets[t])] -= 1;
    for (std::size_t c = 0; c < classes; ++c) {
      out[t * classes + c] =
          (alpha * T * (q[c] - p[c]) + (1 - alpha) * one[c]) / static_cast<double>(targets.size());
    }
  }
  return out;
}

}  // namespace

EXERCISE(judge_distillation, softmax, loss, gradient)
