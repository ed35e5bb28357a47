// What every exercise asks for, and the judges that try it. A judge calls the student's functions on
// small cases whose results were derived by hand or from a closed form.
#pragma once

#include <span>
#include <vector>

#include "experiments/lessons/exercise.h"

namespace notch::lessons {

/// A graph whose node i reads the nodes inputs[i].
using Inputs = std::vector<std::vector<int>>;

/// 02. An order of `last` and of all it depends on in which each node comes after its inputs.
void judge_order(Judge& judge, std::vector<int> (*order)(const Inputs& inputs, int last),
                 std::vector<double> (*gradients)(const Inputs& inputs, int last));

}  // namespace notch::lessons
