// The table of lessons. A row here makes a lesson known to `notch lesson` and to the tests.
#include <algorithm>
#include <array>

#include "experiments/lessons/lesson.h"

namespace notch::lessons {

void scalars(Page& page);
void order(Page& page);
void gradcheck(Page& page);

std::span<const Lesson> lessons() {
  static const std::array all = {
      Lesson{"01", "scalars", "Scalars and the tape",
             "what a derivative tells, and how a program finds it by walking back over a list of "
             "the operations it made",
             scalars},
      Lesson{"02", "order", "Order, accumulation, zeroing",
             "in which order gradients are passed on, why they are added up, and when they must be "
             "set to zero",
             order},
      Lesson{"03", "gradcheck", "Tensors and gradient checks",
             "what a tensor is, and how to check a gradient so that a mistake cannot hide",
             gradcheck},
  };
  return all;
}

}  // namespace notch::lessons
