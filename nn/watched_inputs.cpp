#include "nn/watched_inputs.h"

#include <cmath>

#include "autograd/base/error.h"

namespace notch::nn {

double watch_inputs(Model& model, std::span<const Tokens> text, std::string_view where,
                    const std::function<void(const Linear&, std::span<const real>)>& see) {
  check(!text.empty(), where, "needs text and got none");
  check(see != nullptr, where, "nothing is told of the inputs");
  const Attachment watch = model.hooks().linear_chain.attach(
      [&](Graph& g, const Linear& linear, Var x, const auto& next) {
        see(linear, x.value().flat());
        return next(g, linear, x);
      });
  double positions = 0;
  Graph g;
  for (const Tokens& tokens : text) {
    g.begin(Graph::Mode::inference);
    model.hidden(g, tokens);
    positions += static_cast<double>(tokens.B * tokens.T);
  }
  return positions;
}

void require_finite(std::span<const double> values, const Linear& linear, std::string_view part) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw Error({.fault = Fault::numeric,
                 .where = linear.name,
                 .what = "an activation or a weight is not finite",
                 .field = str(part, ' ', i)});
  }
}

}  // namespace notch::nn
