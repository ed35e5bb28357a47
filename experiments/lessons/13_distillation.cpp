// Lesson 13. Distillation (Hinton, Vinyals and Dean 2015): a student learns from all probabilities of
// a teacher, not from the right answer alone. Why the temperature T comes with a factor T².
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "autograd/ops.h"
#include "experiments/lessons/lesson.h"

namespace notch::lessons {
namespace {

constexpr std::size_t kClasses = 3;

struct Result {
  double loss = 0;
  std::vector<double> gradient{};  // dL/d(student's logits)
};

/// The loss of a row of logits, or the mean over `rows` equal rows. head_loss is how a GPT computes
/// it: the last hidden states times the head's matrix are the logits. Here that matrix is 1.
Result distill(double tau, double alpha, std::array<real, kClasses> teacher,
               std::int64_t rows = 1) {
  std::vector<real> student, teachers;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (const real v : {real(1), real(2), real(0.5)}) student.push_back(v);
    teachers.insert(teachers.end(), teacher.begin(), teacher.end());
  }
  std::vector<real> one{1, 0, 0, 0, 1, 0, 0, 0, 1};
  const std::vector<std::int32_t> answer(static_cast<std::size_t>(rows), 0);  // class 0 is right
  Graph g;
  g.begin(Graph::Mode::training);
  const Var logits = g.input({student.data(), {rows, 3}}, "student");
  const Var head = g.constant({one.data(), {3, 3}}, "head");
  const Teacher from{
      .x = {teachers.data(), {rows, 3}}, .head = {one.data(), {3, 3}}, .tau = tau, .alpha = alpha};
  const Var loss = head_loss(logits, head, answer, from);
  Result out{.loss = static_cast<double>(loss.item())};
  g.backward(loss);
  for (const real v : g.grad(logits)) out.gradient.push_back(static_cast<double>(v));
  return out;
}

double length(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

}  // namespace

void distillation(Page& page) {
  const std::array<real, kClasses> teacher{2, 1, 0};
  page.say(
      "Three classes, class 0 is right. The student's logits are (1, 2, 0.5), the teacher's (2, 1, "
      "0). Cross-entropy looks at one number, the student's probability of class 0. The teacher "
      "says more: class 1 is a better mistake than class 2.");
  page.number("ce", "cross-entropy CE", distill(1, 0, teacher).loss);
  page.say(
      "The Kullback-Leibler divergence KL(p || q) = Σ p log(p/q) measures how far the student's "
      "probabilities q are from the teacher's p. A temperature T divides all logits first, so that "
      "small probabilities can be seen. The engine's term is T² KL, and the loss mixes both: L = α "
      "T² KL + (1 - α) CE. With T = 3 and α = 0.7:");
  const Result mixed = distill(3, 0.7, teacher);
  page.number("kl", "KL(p || q) at T = 3", distill(3, 1, teacher).loss / 9, 5);
  page.number("t2kl", "T² KL", distill(3, 1, teacher).loss);
  page.number("loss", "L", mixed.loss);
  page.numbers("gradient", "dL/d(student's logits)", mixed.gradient);
  const double same = distill(3, 1, {1, 2, real(0.5)}).loss;
  page.number("same", "T² KL when the teacher is the student", std::round(1e6 * same) / 1e6);

  page.say(
      "Why T²? Dividing logits by T makes them T times closer to each other, and the chain rule "
      "divides by T once more. So the gradient of KL shrinks like 1/T². Without the factor, a "
      "larger T would silently mean a smaller weight of the teacher, and α would mean nothing.");
  std::vector<double> without, with;
  experiments::PlotSeries falls{.name = "|gradient of KL|", .color = "#D55E00", .line = true};
  experiments::PlotSeries stays{.name = "|gradient of T² KL|", .color = "#0072B2", .line = true};
  for (const double tau : {1, 2, 4, 8, 16, 32}) {
    const double size = length(distill(tau, 1, teacher).gradient);
    falls.points.push_back({std::log2(tau), size / (tau * tau)});
    stays.points.push_back({std::log2(tau), size});
    if (tau == 2 || tau == 8 || tau == 32) continue;
    with.push_back(size);
    without.push_back(size / (tau * tau));
  }
  page.numbers("without", "|gradient of KL| at T = 1, 4, 16", without, 3);
  page.numbers("with", "|gradient of T² KL|", with, 3);
  page.say(
      "For large T the second goes to a limit: the difference of the logits, each minus its mean, "
      "divided by the number of classes. The student then simply learns to have the teacher's "
      "logits.");
  const std::vector<double> limit{(1 - 7.0 / 6 - 1) / 3, (2 - 7.0 / 6) / 3,
                                  (0.5 - 7.0 / 6 + 1) / 3};
  page.number("limit", "|limit|", length(limit));
  page.number("at_100", "|gradient of T² KL| at T = 100",
              length(distill(100, 1, teacher).gradient));

  page.say(
      "A trap: the loss is a mean over tokens. Libraries that are told \"batchmean\" divide by the "
      "number of sequences only. With 2 sequences of 4 tokens their KL is 4 times too large, and "
      "it grows with the length of the text. Here the mean does not change with the number of "
      "tokens:");
  page.number("eight", "L of 8 equal tokens", distill(3, 0.7, teacher, 8).loss);
  page.number("batchmean", "T² KL summed over 8, divided by 2 sequences",
              distill(3, 1, teacher, 8).loss * 8 / 2);
  page.picture("13_distillation", {.title = "Why T²",
                                   .x_label = "log2 T",
                                   .y_label = "length of the gradient",
                                   .series = {falls, stays}});
  page.say("Try: α = 1 and a teacher that is sure of class 2. What does the student learn?");
}

}  // namespace notch::lessons
