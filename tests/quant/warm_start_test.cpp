// Training that goes on from a model rounded after training: it begins with that model's integers.
#include "quant/train/warm_start.h"

#include <cmath>

#include "quant/methods/calibration.h"
#include "quant/train/qat.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace notch::quant::warm_start_test {

using test::all_specs;
using test::any_model;
using test::AnyModel;
using test::error_of;
using test::logits_of;
using test::same_bits;
using test::Text;

AnyModel gpt() {
  return any_model([] { return test::make_gpt(); });
}
AnyModel mlp() {
  return any_model([] { return test::make_mlp(); });
}

/// Rounded by GPTQ, and each kind of training on from there.
void check_warm_start(const AnyModel& model, const Spec& spec, Clip clip) {
  INFO(name_of(spec));
  AnyModel rounded = test::copy_of(model);
  const Text text(11);
  const std::vector<nn::Tokens> calibration{text.tokens()};
  const auto targets_of = [&](AnyModel& m) {
    return resolve({.weights = spec, .table = Spec{.bits = 6, .scale = ScaleType::f16}}, m.get());
  };
  const Quantized start = post_training(rounded.get(), method("gptq"), targets_of(rounded),
                                        calibration, {.gptq = {.clip = clip}});
  const std::vector<real> shipped = logits_of(rounded.get(), text);
  for (const Training training : {Training::ste, Training::lsq}) {
    INFO((training == Training::ste ? "ste" : "lsq"));
    AnyModel trained = test::copy_of(rounded);
    const std::vector<Target> targets = targets_of(trained);
    FakeQuantizer quantizer(trained.get(), training, targets, {}, &start);
    CHECK(same_bits(logits_of(trained.get(), text), shipped));
    const Quantized begin = quantizer.convert();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      CHECK(begin.tensors[i].q.codes == start.tensors[i].q.codes);
      CHECK(same_bits(dequantize(begin.tensors[i].q), dequantize(start.tensors[i].q)));
    }
  }
}

TEST_CASE("a warm start begins exactly at the model that it starts from") {
  for (const Spec& spec : all_specs(4)) {
    for (const Clip clip : {Clip::mse, Clip::output}) {
      check_warm_start(gpt(), spec, clip);
      check_warm_start(mlp(), spec, clip);
    }
  }
  // Searched anew on rounded weights the grids are others: a quotient of extremes does not give the
  // step of `seq` back, whose outer cells reach beyond its codes.
  AnyModel model = mlp();
  const std::vector<Target> targets =
      resolve({.weights = Spec{.bits = 2, .grid = GridKind::seq}}, model.get());
  const Text text(11);
  const std::vector<nn::Tokens> calibration{text.tokens()};
  post_training(model.get(), method("gptq"), targets, calibration, {});
  const std::vector<real> shipped = logits_of(model.get(), text);
  const FakeQuantizer anew(model.get(), Training::lsq, targets, {});
  CHECK_FALSE(same_bits(logits_of(model.get(), text), shipped));
}

TEST_CASE("weights return to their codes' cells as near as they can") {
  for (const Spec& spec : all_specs(4)) {
    INFO(name_of(spec));
    AnyModel model = gpt();
    const AnyModel before = test::copy_of(model);
    const std::vector<Target> targets = resolve({.weights = spec}, model.get());
    const Text text(11);
    const std::vector<nn::Tokens> calibration{text.tokens()};
    const Quantized rounded = post_training(model.get(), method("gptq"), targets, calibration, {});
    const std::vector<real> shipped = logits_of(model.get(), text);
    return_to_cells(model.params(), before.params(), rounded);
    const Grid grid = grid_of(spec);
    std::size_t moved = 0, kept = 0;
    for (const NamedQTensor& t : rounded.tensors) {
      const std::span<const real> w = model.params().find(t.name)->value.flat(),
                                  from = before.params().find(t.name)->value.flat();
      const auto unit = static_cast<std::size_t>(unit_size(spec, t.q.rows, t.q.cols));
      CHECK(quantize(w, t.q.rows, t.q.cols, spec, t.q.at, "t").codes == t.q.codes);
      for (std::size_t i = 0; i < w.size(); ++i) {
        if (w[i] == from[i]) {
          ++kept;
          continue;
        }
        // On the edge that is nearer to where it was: further on it would be another code.
        ++moved;
        const double s = t.q.at.scales[i / unit];
        const double z = t.q.at.zero_points.empty() ? 0 : t.q.at.zero_points[i / unit];
        const int code = t.q.codes[i];
        const double from_level = w[i] / s + z - double(grid.level(code));
        const int other = code + (from_level > 0 ? grid.step : -grid.step);
        REQUIRE(grid.has(other));
        const double way = from_level / std::abs(double(grid.level(other) - grid.level(code)));
        CHECK(std::abs(way) == Approx(0.5 - 1.0 / 16).epsilon(1e-3));
        CHECK(((from[i] - w[i]) / s > 0) == (way > 0));
      }
    }
    // A power of two may be a third away from the best range.
    if (spec.scale != ScaleType::e8m0) CHECK(kept > moved);
    CHECK(moved > 0);
    FakeQuantizer quantizer(model.get(), Training::ste, targets, {}, &rounded);
    CHECK(same_bits(logits_of(model.get(), text), shipped));
  }
}

TEST_CASE("a warm start from another grid or without a matrix is refused") {
  AnyModel model = mlp();
  const std::vector<Target> targets = resolve({.weights = Spec{.bits = 4}}, model.get());
  Quantized start = post_training(model.get(), method("rtn"), targets, {}, {});
  const auto attach_to = [&] { FakeQuantizer(model.get(), Training::lsq, targets, {}, &start); };
  attach_to();
  start.tensors[0].q.spec.bits = 5;
  CHECK(error_of(attach_to).where == targets[0].name);
  start.tensors.erase(start.tensors.begin());
  CHECK(error_of(attach_to).where == targets[0].name);
}

TEST_CASE("a warm start with static inputs goes on with their ranges") {
  for (const Training training : {Training::ste, Training::lsq}) {
    AnyModel model = gpt();
    std::vector<Target> targets = resolve(
        {.weights = {.bits = 4}, .activations = ActivationSpec{.range = ActivationRange::fixed}},
        model.get());
    const Text text(11);
    const std::vector<nn::Tokens> calibration{text.tokens()};
    const Quantized start = post_training(model.get(), method("gptq"), targets, calibration, {});
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i].input = start.tensors[i].input;
    FakeQuantizer quantizer(model.get(), training, targets, {}, &start);
    const Quantized begin = quantizer.convert();
    std::size_t inputs = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const auto &before = start.tensors[i].input, &after = begin.tensors[i].input;
      REQUIRE(before.has_value() == after.has_value());
      if (!before) continue;
      ++inputs;
      CHECK(after->at.scale == before->at.scale);
      CHECK(after->at.zero_point == before->at.zero_point);
    }
    CHECK(inputs == 8);  // four in each of two blocks
  }
}

}  // namespace notch::quant::warm_start_test
