// The tape as text and as a picture: for lessons, tests and debugging.
#pragma once

#include <string>

#include "autograd/graph.h"

namespace notch {

/// One line per node: id, op, label, shape, inputs; gradient norms when the graph was tracing.
///   %12  linear            h.0.attn.c_attn   [12, 64, 384]   %10 %11   |grad| 0.0123
std::string print(const Graph& graph);

/// The same graph in Graphviz's language: leaves are boxes, ops ellipses.
std::string to_dot(const Graph& graph);

}  // namespace notch
