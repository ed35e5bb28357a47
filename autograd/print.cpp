#include "autograd/print.h"

#include <iomanip>
#include <sstream>

namespace notch {
namespace {

std::string_view kind(const Node& n) { return n.op ? n.op->name : n.param ? "param" : "leaf"; }

}  // namespace

std::string print(const Graph& graph) {
  std::ostringstream out;
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    const Node& n = graph.nodes()[id];
    out << std::left << '%' << std::setw(5) << id << std::setw(17) << kind(n) << ' '
        << std::setw(24) << n.label << ' ' << std::setw(18) << str(n.value.shape);
    for (const std::uint32_t input : graph.inputs(n)) out << " %" << input;
    if (n.grad_norm >= 0) out << "   |grad| " << std::setprecision(4) << n.grad_norm;
    out << '\n';
  }
  return out.str();
}

std::string to_dot(const Graph& graph) {
  std::ostringstream out;
  out << "digraph tape {\n  rankdir=TB;\n  node [fontname=\"Helvetica\", fontsize=10];\n";
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    const Node& n = graph.nodes()[id];
    out << "  n" << id << " [shape=" << (n.op ? "ellipse" : "box") << ", label=\"" << kind(n);
    if (!n.label.empty()) out << "\\n" << n.label;
    out << "\\n" << n.value.shape << "\"];\n";
    for (const std::uint32_t input : graph.inputs(n))
      out << "  n" << input << " -> n" << id << ";\n";
  }
  out << "}\n";
  return out.str();
}

}  // namespace notch
