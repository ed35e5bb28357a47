// CAGE: weights are drawn to their codes, when and how far the schedule says, and nothing else moves.
#include <algorithm>

#include "quant/kernels/oscillation.h"
#include "quant/train/qat.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace cage_test {

using namespace notch;
using namespace notch::quant;
using notch::test::copy;
using notch::test::same_bits;
using Reals = std::vector<real>;

struct Quantizing {
  std::unique_ptr<nn::Gpt> model = test::make_gpt();
  std::vector<Target> targets = resolve({.weights = {.bits = 3}, .table = Spec{.bits = 6}}, *model);
  FakeQuantizer quantizer;

  explicit Quantizing(Training training)
      : quantizer(*model, training, targets, {.cage = 4}) {}
  ParamStore& params() { return model->params(); }
};

bool same_codes(const Quantized& a, const Quantized& b) {
  return std::ranges::equal(a.tensors, b.tensors, [](const NamedQTensor& x, const NamedQTensor& y) {
    return x.q.codes == y.q.codes;
  });
}

TEST_CASE("drawing to levels closes its share of every gap") {
  // 1.6 and -3.2 steps of 0.5 are nearest to 2 and -3; 4 steps lie outside, and so do -6.
  Reals w{0.8f, -1.6f, 2.0f, -3.0f};
  draw_to_levels(w, {.scales = Reals{0.5f}, .size = 4}, {-3, 3}, 0.25);
  const double expected[] = {0.8 + 0.25 * 0.2, -1.6 + 0.25 * 0.1, 2.0 - 0.25 * 0.5,
                             -3.0 + 0.25 * 1.5};
  for (std::size_t i = 0; i < w.size(); ++i)
    CHECK(double(w[i]) == Approx(expected[i]).epsilon(1e-6));
  // With the zero point 2 levels end at 7 - 2 = 5. Odd numbers: 1.75 is 3.5 steps, the last is 3.
  Reals shifted{5.5f}, odd{1.75f};
  const Reals one{1.0f}, half{0.5f};
  const std::vector<std::int8_t> two{2};
  draw_to_levels(shifted, {one, two, 1}, {-8, 7}, 0.5);
  draw_to_levels(odd, {.scales = half, .size = 1}, {-3, 3, 2, 1}, 0.5);
  CHECK(shifted[0] == 5.25f);
  CHECK(odd[0] == 1.625f);
}

TEST_CASE("CAGE closes a growing share of the gap to the codes") {
  for (const Training training : {Training::ste, Training::lsq}) {
    Quantizing q(training);
    const std::vector<real> first = test::values_of(q.params());
    q.quantizer.after_update({.r = 0.8, .lr = 0.1});
    CHECK(same_bits(test::values_of(q.params()), first));
    const Quantized before = q.quantizer.convert();
    std::vector<std::vector<real>> was;
    for (const Param& p : q.params().params()) was.push_back(copy(p.value.flat()));
    // Half of the way from 0.8 to 1: λ is 2, and lr λ 0.2.
    q.quantizer.after_update({.r = 0.9, .lr = 0.1});
    std::size_t at = 0, drawn = 0;
    for (const Param& p : q.params().params()) {
      const std::span<const real> is = p.value.flat();
      const std::vector<real>& from = was[at++];
      const auto codes = std::ranges::find(before.tensors, p.name, &NamedQTensor::name);
      if (codes == before.tensors.end()) {
        CHECK(same_bits(is, from));
        continue;
      }
      ++drawn;
      const std::vector<real> rounded = dequantize(codes->q);
      for (std::size_t i = 0; i < is.size(); ++i) {
        const double gap = double(from[i]) - double(rounded[i]);
        CHECK(double(is[i]) == Approx(double(from[i]) - 0.2 * gap).margin(1e-6));
      }
    }
    CHECK(drawn == q.targets.size());
    if (training == Training::ste) continue;  // whose ranges follow the weights
    CHECK(same_codes(q.quantizer.convert(), before));
    // All of it at the most, however large lr λ is.
    q.quantizer.after_update({.r = 0.95, .lr = 10});
    const Quantized after = q.quantizer.convert();
    CHECK(same_codes(after, before));
    for (const LayerReport& layer : after.layers) CHECK(layer.weight_error < 1e-12);
  }
}

TEST_CASE("CAGE draws at parameters that no link changes") {
  Quantizing q(Training::lsq);
  const nn::Attachment below = q.model->hooks().weight_chain.attach(
      [](Graph& g, Param& p, const auto& next) -> Var { return next(g, p); });
  CHECK(test::error_of([&] { q.quantizer.after_update({.r = 0.9}); }).fault == Fault::usage);
}

}  // namespace cage_test
