// Exercise 02. Find an order, then pass gradients along it.
//
//   notch lesson check 02                 judges this file
//   notch lesson check 02 mine.cpp        judges a copy of it
//
// The graph is a list: node i reads the nodes inputs[i], the same one perhaps twice. Numbers say
// nothing about the order. Replace every BLANK.
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Inputs;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Appends `node` to `order`, after all it reads. `seen` notes the nodes that were visited.
void visit(const Inputs& inputs, int node, std::vector<bool>& seen, std::vector<int>& order) {
  BLANK("stop if node was seen, else mark it; visit what it reads; append it");
}

/// `last` and everything it depends on, each node once and after its inputs.
std::vector<int> order(const Inputs& inputs, int last) {
  std::vector<bool> seen(inputs.size(), false);
  std::vector<int> found;
  visit(inputs, last, seen, found);
  return found;
}

/// Every node is the sum of the nodes it reads. Of each node, d(last)/d(node); 0 for nodes that
/// `last` does not depend on.
std::vector<double> gradients(const Inputs& inputs, int last) {
  std::vector<double> grad(inputs.size(), 0);
  grad[at(last)] = 1;
  BLANK("walk the order from its end; add a node's gradient to all that it reads");
  return grad;
}

}  // namespace

EXERCISE(judge_order, order, gradients)
