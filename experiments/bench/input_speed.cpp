#include "experiments/bench/input_speed.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "autograd/base/clock.h"
#include "autograd/base/rng.h"
#include "experiments/machine/roofs.h"
#include "quant/serve/served_matrix.h"

namespace notch::experiments {
namespace {

/// The fastest of several products of M rows.
double seconds_of(const quant::ServedMatrix& w, std::vector<real>& x, std::int64_t M) {
  constexpr double kEnough = 0.02;
  double best = std::numeric_limits<double>::infinity(), all = 0;
  Graph g;
  for (int i = 0; i < 5 || (all < kEnough && i < 100); ++i) {
    const double start = seconds_now();
    g.begin(Graph::Mode::inference);
    quant::served_product(g.constant({x.data(), {M, w.cols()}}), {}, w);
    const double taken = seconds_now() - start;
    best = std::min(best, taken);
    all += taken;
  }
  return best;
}

}  // namespace

InputSpeed rounded_input_speed(const quant::QTensor& q) {
  constexpr std::int64_t kPrompt = 64;
  const quant::ServedMatrix floats(q), codes(q, quant::InputQuantizer{});
  std::vector<real> x(static_cast<std::size_t>(kPrompt * q.cols));
  Rng rng(1);
  for (real& v : x) v = static_cast<real>(rng.normal());
  return {.prompt = seconds_of(floats, x, kPrompt) / seconds_of(codes, x, kPrompt),
          .decode = seconds_of(floats, x, 1) / seconds_of(codes, x, 1)};
}

}  // namespace notch::experiments
