#include <algorithm>

#include "autograd/base/error.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

struct OrderCase {
  const char* name = "";
  Inputs inputs{};
  int last = 0;
  std::vector<int> nodes{};           ///< that `last` depends on, ascending, with itself
  std::vector<double> derivatives{};  ///< d(last)/d(node), of all nodes
};

void judge_case(Judge& judge, const OrderCase& c, const std::vector<int>& order) {
  std::vector<int> sorted = order;
  std::ranges::sort(sorted);
  judge.equal(str(c.name, ": the nodes of order(), sorted"), sorted,
              std::vector<double>(c.nodes.begin(), c.nodes.end()), 0,
              "every node that last depends on, once; no other");
  const auto place = [&](int node) { return std::ranges::find(order, node) - order.begin(); };
  for (const int node : order) {
    if (node < 0 || node >= std::ssize(c.inputs)) continue;  // said above
    for (const int input : c.inputs[static_cast<std::size_t>(node)]) {
      judge.holds(str(c.name, ": node ", input, " stands before node ", node, ", which reads it"),
                  place(input) < place(node),
                  "append a node only after all it reads have been appended");
    }
  }
}

}  // namespace

void judge_order(Judge& judge, std::vector<int> (*order)(const Inputs&, int),
                 std::vector<double> (*gradients)(const Inputs&, int)) {
  const OrderCase cases[] = {
      // c = b + b, b = a + a: 4 a.
      {"doubled twice", {{}, {0, 0}, {1, 1}}, 2, {0, 1, 2}, {4, 2, 1}},
      // Node 0 = 3 + 2, 2 = 1 + 3, 3 = 1 + 1: 1 is read by both, and 4 by none.
      {"numbered against the order",
       {{3, 2}, {}, {1, 3}, {1, 1}, {0}},
       0,
       {0, 1, 2, 3},
       {1, 5, 1, 2, 0}},
      // 3 = 0 + 2, 2 = 1 + 0, 1 = 0: a short and a long way from 3 to 0.
      {"a short and a long way", {{}, {0}, {1, 0}, {0, 2}}, 3, {0, 1, 2, 3}, {3, 1, 1, 1}},
  };
  for (const OrderCase& c : cases) judge_case(judge, c, order(c.inputs, c.last));
  for (const OrderCase& c : cases) {
    judge.equal(str(c.name, ": gradients()"), gradients(c.inputs, c.last), c.derivatives, 0,
                "a node hands its gradient on only after all who read it; parts are added");
  }
}

}  // namespace notch::lessons
