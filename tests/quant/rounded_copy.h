// A copy of a model, rounded by a method that learns from two short texts.
#pragma once

#include <string_view>
#include <vector>

#include "quant/methods/post_training.h"
#include "tests/quant/tiny_models.h"

namespace notch::test {

struct RoundedCopy {
  AnyModel model{};
  quant::Quantized q{};
};

inline RoundedCopy rounded_copy(const AnyModel& original, std::string_view name,
                                const quant::Plan& plan,
                                const quant::PostTrainingOptions& options) {
  RoundedCopy out{.model = copy_of(original)};
  const Text text(20, 8), more(21, 8);
  const std::vector<nn::Tokens> tokens{text.tokens(), more.tokens()};
  out.q = quant::post_training(out.model.get(), quant::method(name),
                               quant::resolve(plan, out.model.get()), tokens, options);
  return out;
}

}  // namespace notch::test
