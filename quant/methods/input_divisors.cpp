#include "quant/methods/input_divisors.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"

namespace notch::quant {

namespace {

void require_divisors(const nn::Step& step, std::span<const real> s) {
  for (const nn::Linear* l : step.linears)
    check(l && l->weight && l->weight->value.data && l->in_features() == std::ssize(s),
          "input divisors", s.size(), " are not those of its input, or it has no values");
  check(!s.empty() && std::ranges::all_of(s, [](real v) { return v > 0 && std::isfinite(v); }),
        "input divisors", "one is not positive");
}

}  // namespace

void multiply_columns(const nn::Step& step, std::span<const real> s) {
  require_divisors(step, s);
  for (const nn::Linear* l : step.linears) {
    const std::span<real> w = l->weight->value.flat();
    for (std::size_t i = 0; i < w.size(); ++i) w[i] *= s[i % s.size()];
  }
}

bool divide_before(const nn::Step& step, std::span<const real> s, bool source_is_settled) {
  require_divisors(step, s);
  const auto columns = std::ssize(s);
  const auto divide = [&](Param* p, std::int64_t first) {
    if (!p) return;
    const std::int64_t width = p->value.size() / p->value.shape[0];
    for (std::int64_t j = 0; j < columns; ++j)
      for (std::int64_t k = 0; k < width; ++k)
        p->value.data[(first + j) * width + k] /= s[static_cast<std::size_t>(j)];
  };
  if (step.norm) {
    divide(step.norm->weight, 0);
    divide(step.norm->bias, 0);
    return true;
  }
  if (!step.source || source_is_settled ||
      step.source_row + columns != step.source->out_features()) {
    return false;
  }
  divide(step.source->weight, step.source_row);
  divide(step.source->bias, step.source_row);
  return true;
}

}  // namespace notch::quant
