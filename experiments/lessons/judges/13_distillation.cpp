#include <array>
#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_distillation(Judge& judge,
                        std::vector<double> (*softmax)(std::span<const double>, double),
                        DistillationLoss loss, DistillationGradient gradient) {
  // By hand: logits 0 and T ln 3 have the odds 1 : 3.
  judge.equal("softmax((0, 2 ln 3), T = 2)", softmax(std::array{0.0, 2 * std::log(3.0)}, 2),
              {0.25, 0.75}, 1e-12, "divide by T before the exponential");
  judge.equal("softmax((1000, 1000), T = 1)", softmax(std::array{1000.0, 1000.0}, 1), {0.5, 0.5},
              1e-12, "exp(1000) is infinite: subtract the largest logit first");

  // Computed with Python's math module (lesson 13).
  const std::array student{1.0, 2.0, 0.5}, teacher{2.0, 1.0, 0.0};
  const std::vector<int> first{0};
  judge.equal("loss, alpha = 0 (cross-entropy alone)", loss(student, teacher, first, 3, 0),
              1.464368784107945, 1e-9, "CE is taken at temperature 1");
  judge.equal("loss, alpha = 1, T = 3", loss(student, teacher, first, 3, 1), 0.404170044510454,
              1e-9, "T² times Σ p log(p/q), p of the teacher: KL is not symmetric");
  judge.equal("loss, alpha = 0.7, T = 3", loss(student, teacher, first, 3, 0.7), 0.7222296663897012,
              1e-9, "alpha weighs the teacher, 1 - alpha the right answer");
  judge.equal("gradient, alpha = 0.7, T = 3", gradient(student, teacher, first, 3, 0.7),
              {-0.524629151698335, 0.41776281258846626, 0.10686633910986891}, 1e-9,
              "T² KL has the gradient T (q - p): one T of the two goes into the chain rule");
  judge.equal("gradient when the teacher is the student, alpha = 1",
              gradient(student, student, first, 3, 1), {0, 0, 0}, 1e-12, "q - p, both at T");

  // Two tokens: the mean of both, and each has half of its gradient.
  const std::array students{1.0, 2.0, 0.5, 1.0, 2.0, 0.5}, teachers{2.0, 1.0, 0.0, 1.0, 2.0, 0.5};
  judge.equal("loss of two tokens, the second already learned, alpha = 1",
              loss(students, teachers, {0, 1}, 3, 1), 0.404170044510454 / 2, 1e-9,
              "the mean over tokens");
  const auto both = gradient(students, teachers, {0, 1}, 3, 1);
  const auto alone = gradient(student, teacher, first, 3, 1);
  judge.equal("its gradient", both, {alone[0] / 2, alone[1] / 2, alone[2] / 2, 0, 0, 0}, 1e-12,
              "divide by the number of tokens; each token has its own rows");
}

}  // namespace notch::lessons
