// The table of lessons. A row here makes a lesson known to `notch lesson` and to the tests.
#include <algorithm>
#include <array>

#include "experiments/lessons/lesson.h"

namespace notch::lessons {

void scalars(Page& page);

std::span<const Lesson> lessons() {
  static const std::array all = {
      Lesson{"01", "scalars", "Scalars and the tape",
             "what a derivative tells, and how a program finds it by walking back over a list of "
             "the operations it made",
             scalars},
  };
  return all;
}

}  // namespace notch::lessons
