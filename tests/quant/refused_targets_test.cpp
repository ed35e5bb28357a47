// Targets that are none of a model's matrices, codes that are not whole and settings that would end in NaN
// are refused by all that rounds a model or trains it through rounding, before anything of it changes.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "quant/methods/calibration.h"
#include "quant/methods/changed_inputs.h"
#include "quant/methods/text_states.h"
#include "quant/train/adapters.h"
#include "quant/train/diagnostics.h"
#include "quant/train/quantized_training.h"
#include "quant/train/warm_start.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"
#include "tests/refused_calls.h"

namespace notch::quant::refused_targets_test {

using test::check_refused;
using test::make_gpt;

const double kNan = std::nan(""), kInfinity = std::numeric_limits<double>::infinity();

/// A model, what of it is quantized, and its codes.
struct FourBits {
  std::unique_ptr<nn::Gpt> model = make_gpt();
  std::vector<Target> targets = resolve({.weights = {.bits = 4}}, *model);
  Quantized codes() const {
    const auto copy = make_gpt();
    return post_training(*copy, method("rtn"), resolve({.weights = {.bits = 4}}, *copy), {}, {});
  }
};

TEST_CASE("targets that are none of the model's matrices are refused") {
  FourBits it, other;
  const Quantized codes = it.codes();
  std::vector<Target> null = it.targets, twice = it.targets, elsewhere = it.targets;
  null[0].weight = nullptr;
  twice.push_back(twice[0]);
  elsewhere[0].linear = elsewhere[1].linear;
  for (const std::vector<Target>& targets : {null, twice, other.targets, elsewhere}) {
    std::vector<Target> own = targets;
    check_refused({
        [&] { post_training(*it.model, method("rtn"), targets, {}, {}); },
        [&] { prune(*it.model, targets, {}, {.prune = {.method = "magnitude"}}); },
        [&] { whole_masks(*it.model, targets); },
        [&] {
          QuantizedTraining(*it.model, method("qat-ste"), it.targets, {}).hold(targets, {}, {});
        },
        [&] { calibrate(*it.model, own, {}); },
        [&] { FakeQuantizer fake(*it.model, Training::ste, targets, {}); },
        [&] { ScaleTraining scales(*it.model, targets, codes, {}); },
        [&] { Adapters adapters(*it.model, targets, codes, {.rank = 1}, 1); },
    });
  }
  nn::Gpt shapes(test::tiny_config(), nn::Model::Values::shapes_only);
  const std::vector<Target> hollow = resolve({.weights = {.bits = 4}}, shapes);
  check_refused({
      [&] { post_training(shapes, method("rtn"), hollow, {}, {}); },
      [&] { FakeQuantizer fake(shapes, Training::ste, hollow, {}); },
      [&] { packed_twin(shapes, {}); },
  });
}

TEST_CASE("codes that are not those of the targets are refused") {
  FourBits it;
  const Quantized good = it.codes();
  Quantized none, no_codes = good, no_scales = good, turned = good, odd = good;
  no_codes.tensors[0].q.codes.clear();
  no_scales.tensors[0].q.at.scales.clear();
  std::swap(turned.tensors[0].q.rows, turned.tensors[0].q.cols);
  odd.tensors[0].change.side = SideProduct{.up = {1}, .rank = 3};
  const auto before = make_gpt();
  for (const Quantized& codes : {none, no_codes, no_scales, turned}) {
    check_refused({
        [&] { FakeQuantizer fake(*it.model, Training::lsq, it.targets, {}, &codes); },
        [&] { ScaleTraining scales(*it.model, it.targets, codes, {}); },
        [&] { Adapters adapters(*it.model, it.targets, codes, {.rank = 1}, 1); },
    });
  }
  check_refused({
      [&] { return_to_cells(it.model->params(), before->params(), no_codes); },
      [&] { return_to_cells(it.model->params(), before->params(), no_scales); },
      [&] { absorb_products(odd, it.model->params()); },
      [&] { absorb_products(good, packed_twin(*it.model, good)->params()); },
      [] {
        require_activity({.layers = {{}, {}}}, "model");
      },
  });
}

TEST_CASE("settings that would train weights to NaN are refused") {
  FourBits it;
  const auto with = [&](const QatOptions& options) {
    FakeQuantizer fake(*it.model, Training::ste, it.targets, options);
  };
  FakeQuantizer fake(*it.model, Training::ste, it.targets, {});
  Diagnostics diagnostics(fake);
  ParamStore none;
  check_refused({
      [&] { with({.freeze = kNan}); },
      [&] { with({.dampen = -1}); },
      [&] { with({.cage = kInfinity}); },
      [&] { with({.pact_decay = kNan}); },
      [&] { fake.before_update(kNan); },
      [&] { fake.before_update(2); },
      [&] { fake.after_update({.r = 0.5, .lr = kNan}); },
      [&] { fake.target(99); },
      [&] { fake.scales(99); },
      [&] { fake.weights(99); },
      [&] { fake.substitute(&none); },
      [&] { diagnostics.report({}, 1); },
      [&] {
        const auto model = make_gpt();
        FakeQuantizer own(*model, Training::ste,
                          resolve({.weights = {.bits = 3, .grid = GridKind::learned}}, *model), {});
        Diagnostics of(own);
      },
      [&] { Adapters adapters(*it.model, it.targets, it.codes(), {.rank = 1, .alpha = kNan}, 1); },
      [&] { Adapters adapters(*it.model, it.targets, it.codes(), {.rank = 0}, 1); },
  });
}

TEST_CASE("masks that are none are refused and no weight changes") {
  FourBits it;
  const std::vector<NamedMask> whole = whole_masks(*it.model, it.targets);
  std::vector<NamedMask> loud = whole, unknown(1);
  loud[0].keep[0] = 200;
  nn::Gpt shapes(test::tiny_config(), nn::Model::Values::shapes_only);
  const std::vector<real> before(it.targets[0].weight->value.flat().begin(),
                                 it.targets[0].weight->value.flat().end());
  check_refused({
      [&] { Mask mask(*it.model, unknown); },
      [&] { Mask mask(*it.model, loud); },
      [&] { Mask mask(shapes, whole); },
      [&] { zero_pruned(shapes.params(), whole); },
      [&] { Mask mask(*it.model, whole, PruneOptions{.rounds = 0}); },
      [&] {
        Mask mask(*it.model, whole, PruneOptions{});
        mask.before_update(kNan);
      },
  });
  CHECK(std::ranges::equal(before, it.targets[0].weight->value.flat()));
}

TEST_CASE("passes over text that is none are refused") {
  FourBits it;
  std::vector<std::int32_t> ids(16, 1);
  const std::vector<nn::Tokens> text{{ids, 2, 8}}, longer{{ids, 5, 8}};
  const std::vector<nn::Stage> stages = it.model->stages();
  const nn::Step& step = stages[0].steps[0];
  const std::vector<real> few(5, real{1}), zeros(12);
  TextStates none, states(*it.model, text);
  ChangedInputs inputs(it.targets);
  check_refused({
      [&] { in_pieces(text, 0); },
      [&] { in_pieces(longer, 1); },
      [&] {
        none.visit({&step, 1}, 0, {}, {});
      },
      [&] { states.visit({}, 0, {}, {}); },
      [&] {
        states.visit({&step, 1}, 1, {}, {});
      },
      [&] {
        states.visit({&step, 1}, 0, {}, {});
      },
      [&] {
        states.advance({&step, 1}, 0, {});
      },
      [&] { inputs.rotate({.name = "x"}, {}); },
      [&] { inputs.tensor({.name = "x"}, {}); },
      [&] { inputs.set_apart(it.targets[0], {99}); },
      [&] { inputs.set_apart(it.targets[0], {-1}); },
      [&] { inputs.put_beside({.name = "x"}, {}); },
      [&] { inputs.divide(step, {}, false); },
      [&] { inputs.divide(step, few, false); },
      [&] { inputs.divide(step, zeros, false); },
  });
}

}  // namespace notch::quant::refused_targets_test
