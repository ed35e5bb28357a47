#include "experiments/run/step_split.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "autograd/base/error.h"

namespace notch::experiments {
std::string_view without_block(std::string_view label) {
  for (std::size_t begin = 0; begin < label.size();) {
    const std::size_t end = std::min(label.find('.', begin), label.size());
    const std::string_view part = label.substr(begin, end - begin);
    const bool number = part.find_first_not_of("0123456789") == part.npos && !part.empty();
    if (number && begin > 0)
      return end == label.size() ? std::string_view{} : label.substr(end + 1);
    begin = end + 1;
  }
  return label;
}

StepSplit step_split(const Profile& profile) {
  check(profile.steps() > 0, "profile", "no step has been made");
  const double ms = 1e3 / static_cast<double>(profile.steps());
  StepSplit split{.other = ms * profile.seconds(), .total = ms * profile.seconds()};
  for (const Profile::Row& row : profile.rows()) {
    const std::string_view layer = without_block(row.label);
    auto op = std::ranges::find_if(
        split.ops, [&](const OpTime& known) { return known.op == row.op && known.layer == layer; });
    if (op == split.ops.end()) {
      split.ops.push_back({.op = std::string(row.op), .layer = std::string(layer)});
      op = split.ops.end() - 1;
    }
    op->forward += ms * row.forward;
    op->backward += ms * row.backward;
    op->optimizer += ms * row.optimizer;
  }
  for (const OpTime& op : split.ops) {
    (op.quantizer() ? split.quantizer : split.forward) += op.forward;
    (op.quantizer() ? split.quantizer : split.backward) += op.backward;
    split.optimizer += op.optimizer;
    split.other -= op.total();
  }
  return split;
}

std::string describe(const StepSplit& split) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << "step " << split.total << " ms: forward "
      << split.forward << ", backward " << split.backward << ", quantizer " << split.quantizer
      << ", optimizer " << split.optimizer << ", other " << split.other;
  return out.str();
}

Table split_table(const std::vector<NamedSplit>& splits) {
  Table table({{.key = "shape", .text = true},
               {.key = "recipe", .text = true},
               {.key = "op", .text = true},
               {.key = "layer", .text = true},
               {.key = "forward_ms", .title = "forward ms", .decimals = 2},
               {.key = "backward_ms", .title = "backward ms", .decimals = 2},
               {.key = "optimizer_ms", .title = "optimizer ms", .decimals = 2},
               {.key = "ms", .decimals = 2},
               {.key = "percent", .title = "%", .decimals = 1},
               {.key = "floor_ms", .title = "GEMM floor ms", .decimals = 2}});
  const auto words = [](const std::string& s) { return s.empty() ? missing() : text(s); };
  const auto share_of = [](double ms, const StepSplit& split) {
    return split.total > 0 ? number(100 * ms / split.total) : missing();
  };
  const auto above_zero = [](double ms) { return ms > 0 ? number(ms) : missing(); };
  for (const NamedSplit& named : splits) {
    const std::string &shape = named.shape, &recipe = named.recipe;
    const StepSplit& split = named.split;
    const auto add = [&](const OpTime& op) {
      table.add_row({words(shape), words(recipe), text(op.op), words(op.layer),
                     above_zero(op.forward), above_zero(op.backward), above_zero(op.optimizer),
                     number(op.total()), share_of(op.total(), split),
                     op.floor < 0 ? missing() : number(op.floor)});
    };
    OpTime all{.op = "step"};
    for (const OpTime& op : split.ops) {
      add(op);
      all.forward += op.forward;
      all.backward += op.backward;
      all.optimizer += op.optimizer;
      if (op.floor >= 0) all.floor = std::max(all.floor, 0.0) + op.floor;
    }
    table.add_row({words(shape), words(recipe), text("other"), missing(), missing(), missing(),
                   missing(), number(split.other), share_of(split.other, split), missing()});
    table.add_row({words(shape), words(recipe), text("step"), missing(), above_zero(all.forward),
                   above_zero(all.backward), above_zero(all.optimizer), number(split.total),
                   number(100), all.floor < 0 ? missing() : number(all.floor)});
  }
  return table;
}

}  // namespace notch::experiments
