#include "quant/methods/outliers.h"

#include <vector>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "quant/methods/input_divisors.h"

namespace notch::quant {

void add_outliers(nn::Model& model, int channels, std::uint64_t seed) {
  constexpr std::uint64_t kStream = 0x6f75746c;  // no other use of the seed has it
  std::uint64_t norms = 0;
  for (const nn::Stage& stage : model.stages()) {
    for (const nn::Step& step : stage.steps) {
      if (!step.norm || step.linears.empty()) continue;
      const std::int64_t width = step.norm->weight->value.size();
      check(channels >= 0 && channels <= width, step.norm->name, "has ", width,
            " channels, fewer than the ", channels, " outliers asked for");
      Rng rng(mix64(seed + kStream), norms++);
      std::vector<real> divisors(static_cast<std::size_t>(width), 1);
      for (int made = 0; made < channels;) {
        real& d = divisors[rng.below(static_cast<std::uint64_t>(width))];
        if (d != 1) continue;
        const double factor =
            kLeastOutlier * elementary::pow(kLargestOutlier / kLeastOutlier, rng.uniform());
        d = static_cast<real>(1 / factor);
        ++made;
      }
      divide_before(step, divisors, true);
      multiply_columns(step, divisors);
    }
  }
}

}  // namespace notch::quant
