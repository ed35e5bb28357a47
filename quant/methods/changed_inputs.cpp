#include "quant/methods/changed_inputs.h"

#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/half.h"
#include "quant/kernels/hadamard.h"
#include "quant/methods/calibration.h"
#include "quant/methods/input_divisors.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {

namespace {

void require_linear(const Target& t) {
  check(t.linear && t.weight && t.weight->value.data, t.name, "no layer multiplies with it");
}

}  // namespace

ChangedInputs::ChangedInputs(std::span<const Target> targets) {
  for (const Target& t : targets) {
    if (t.input && !needs_calibration(t)) set_range(t.linear, *t.input);
  }
}

void ChangedInputs::settle(Input& input, std::int64_t cols) {
  const std::optional<InputQuantizer> round = input.ready.map.round;
  input.ready = RunnableChange(input.change, cols);
  input.ready.map.round = round;
}

void ChangedInputs::divide(const nn::Step& step, std::span<const real> s, bool source_is_settled) {
  multiply_columns(step, s);
  if (divide_before(step, s, source_is_settled)) return;
  for (const nn::Linear* l : step.linears) {
    Input& input = inputs_[l];
    for (const real v : s) input.change.multiply.push_back(1 / v);
    settle(input, l->in_features());
  }
}

void ChangedInputs::rotate(const Target& t, std::span<const std::int8_t> signs) {
  require_linear(t);
  rotate_rows(t.weight->value.flat(), signs);
  Input& input = inputs_[t.linear];
  input.change.signs.assign(signs.begin(), signs.end());
  settle(input, t.linear->in_features());
}

void ChangedInputs::set_apart(const Target& t, const std::vector<std::int32_t>& channels) {
  require_linear(t);
  const std::int64_t rows = t.weight->value.rows(), cols = t.weight->value.cols();
  for (std::size_t i = 0; i < channels.size(); ++i) {
    check(channels[i] > (i == 0 ? -1 : channels[i - 1]) && channels[i] < cols, t.name,
          "channels to set apart are not ascending ones of ", cols);
  }
  SideProduct side{.channels = channels, .rank = std::ssize(channels)};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (const std::int32_t c : channels) {
      real& w = t.weight->value.data[r * cols + c];
      side.up.push_back(from_f16(to_f16(static_cast<float>(w))));
      w = 0;
    }
  }
  put_beside(t, std::move(side));
}

void ChangedInputs::put_beside(const Target& t, SideProduct side) {
  require_linear(t);
  Input& input = inputs_[t.linear];
  input.change.side = std::move(side);
  settle(input, t.weight->value.cols());
}

void ChangedInputs::set_range(const nn::Linear* linear, const InputQuantizer& range) {
  inputs_[linear].ready.map.round = range;
}

Var ChangedInputs::shipped(const nn::Linear& linear, Var x) const {
  const auto at = inputs_.find(&linear);
  return at == inputs_.end() ? x : apply(x, at->second.ready.map);
}

std::optional<Var> ChangedInputs::beside(const nn::Linear& linear, Var x) const {
  const auto at = inputs_.find(&linear);
  return at == inputs_.end() ? std::nullopt : side_product(x, at->second.ready);
}

NamedQTensor ChangedInputs::tensor(const Target& t, QTensor codes) {
  check(t.weight != nullptr, "changed inputs", "a target without a matrix");
  Input& input = inputs_[t.linear];
  const std::optional<InputQuantizer>& found = input.ready.map.round;
  return {t.weight->name, std::move(codes), found ? found : t.input, std::move(input.change)};
}

}  // namespace notch::quant
