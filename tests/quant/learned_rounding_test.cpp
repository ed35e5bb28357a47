// AdaRound and SignRound: which codes they may choose, and what that does to the outputs of blocks.
#include <algorithm>
#include <cmath>

#include "quant/methods/adaround.h"
#include "quant/methods/post_training.h"
#include "quant/methods/signround.h"
#include "quant/numbers/format.h"
#include "quant/numbers/ranges.h"
#include "quant/ops/offset_round.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/rounded_copy.h"

namespace learned_rounding_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

RoundedCopy run(const AnyModel& original, std::string_view name, const Spec& spec,
                const PostTrainingOptions& options = {}, bool rounds_inputs = false) {
  Plan plan{.weights = spec};
  if (rounds_inputs) plan.activations = ActivationSpec{};
  return rounded_copy(original, name, plan, options);
}

double distance(const AnyModel& a, const AnyModel& b, std::uint64_t seed) {
  double sum = 0;
  const Text text(seed, 8);
  const std::vector<real> x = logits_of(a.get(), text), y = logits_of(b.get(), text);
  for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(double(x[i]) - double(y[i]), 2);
  return sum;
}

AnyModel gpt() {
  return any_model([] { return make_gpt(); });
}

TEST_CASE("an offset shifts a weight before rounding, a factor its step") {
  const Spec spec{.bits = 3};  // -3 … 3
  const std::vector<real> w{real(0.2), real(0.9), real(-1.4), real(5)}, scales{real(0.5)};
  std::vector<real> offsets{real(0.3), real(-0.4), real(0.5), 0}, factors{2};
  const OffsetCodes codes{.spec = spec, .rows = 1, .cols = 4, .w = w, .scales = scales};
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var y =
      offset_round(g.constant({offsets.data(), {1, 4}}), g.constant({factors.data(), {1}}), codes);
  // Steps of 1: 0.5 to even, 0.5 to even, -0.9, 3 at the end.
  const std::vector<real> expected{0, 0, -1, 3};
  std::vector<std::int8_t> chosen(4);
  offset_codes(chosen, offsets, factors, codes);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(y.value().data[i] == expected[i]);
    CHECK(chosen[i] == static_cast<int>(expected[i]));
  }
}

TEST_CASE("AdaRound takes the level below or above, ranges stay") {
  const AnyModel original = gpt();
  for (const Spec& spec : {Spec{.bits = 3}, Spec{.bits = 2, .grid = GridKind::seq},
                           Spec{.bits = 4, .grid = GridKind::nf4},
                           Spec{.bits = 3,
                           .grid = GridKind::asymmetric,
                           .granularity = Granularity::group,
                           .group_size = 6}}) {
    INFO(name_of(spec));
    const RoundedCopy ada = run(original, "adaround", spec), rtn = run(original, "rtn-mse", spec);
    const Grid grid = grid_of(spec);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < ada.q.tensors.size(); ++i) {
      const QTensor &a = ada.q.tensors[i].q, &b = rtn.q.tensors[i].q;
      CHECK(a.at.scales == b.at.scales);
      CHECK(a.at.zero_points == b.at.zero_points);
      const auto w = original.params().find(ada.q.tensors[i].name)->value.flat();
      const std::int64_t unit = unit_size(spec, a.rows, a.cols);
      for (std::size_t k = 0; k < a.codes.size(); ++k) {
        moved += a.codes[k] != b.codes[k];
        const std::size_t u = k / static_cast<std::size_t>(unit);
        const int z = a.at.zero_points.empty() ? 0 : a.at.zero_points[u];
        const double v = double(w[k]) / double(a.at.scales[u]);
        const double level = double(grid.level(a.codes[k], z));
        // No other level lies between the weight and the one that was taken.
        for (int q = grid.qmin; q <= grid.qmax; q += grid.step) {
          const double other = double(grid.level(q, z));
          const bool between = (other > v + 1e-5 && other < level - 1e-5) ||
                               (other < v - 1e-5 && other > level + 1e-5);
          CHECK_FALSE(between);
        }
      }
    }
    CHECK(moved > 0);
  }
}

TEST_CASE("learned rounding lowers the error of blocks, and of the model") {
  const AnyModel original = gpt();
  for (const bool rounds_inputs : {false, true}) {
    const Spec spec{.bits = 3};
    const RoundedCopy rtn = run(original, "rtn-mse", spec, {}, rounds_inputs);
    for (const char* name : {"adaround", "signround", "block-ap"}) {
      INFO(name << (rounds_inputs ? " with 8-bit inputs" : ""));
      const RoundedCopy learned = run(original, name, spec, {}, rounds_inputs);
      int blocks = 0;
      for (const LayerReport& l : learned.q.layers) {
        if (l.measures.empty()) continue;
        ++blocks;
        CHECK(measure(l, "block_error") < 0.8);
      }
      CHECK(blocks == 2);
      AnyModel expected = copy_of(original);
      put_dequantized(learned.q, expected.params());
      CHECK(same_bits(values_of(expected.params()), values_of(learned.model.params())));
      for (const std::uint64_t seed : {std::uint64_t{20}, std::uint64_t{300}}) {
        CHECK(distance(learned.model, original, seed) < distance(rtn.model, original, seed));
      }
    }
  }
}

TEST_CASE("SignRound moves codes by one at most, and says where not") {
  const AnyModel original = gpt();
  const Spec spec{.bits = 4, .grid = GridKind::asymmetric};
  const RoundedCopy sign = run(original, "signround", spec, {.signround = {.ranges = false}});
  const RoundedCopy rtn = run(original, "rtn-mse", spec);
  bool moved = false;
  for (std::size_t i = 0; i < sign.q.tensors.size(); ++i) {
    const QTensor &a = sign.q.tensors[i].q, &b = rtn.q.tensors[i].q;
    CHECK(a.at.scales == b.at.scales);
    for (std::size_t k = 0; k < a.codes.size(); ++k) {
      CHECK(std::abs(a.codes[k] - b.codes[k]) <= 1);
      moved = moved || a.codes[k] != b.codes[k];
    }
  }
  CHECK(moved);
  const RoundedCopy ranged = run(original, "signround", spec);
  CHECK(ranged.q.tensors[0].q.at.scales != rtn.q.tensors[0].q.at.scales);
  CHECK(error_of([&] { run(original, "signround", {.bits = 4, .grid = GridKind::nf4}); }).field ==
        "grid");
}

}  // namespace learned_rounding_test
