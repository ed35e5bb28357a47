// What enters the Linears of a model while it reads text, for what ranks their channels or heads.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "nn/model.h"

namespace notch::nn {

/// see(linear, x) of every Linear that runs, x [positions, in_features] in a row, batch by batch; how
/// many positions all batches have. Usage error naming `where` without text.
double watch_inputs(Model& model, std::span<const Tokens> text, std::string_view where,
                    const std::function<void(const Linear&, std::span<const real>)>& see);

/// Numeric error that names the Linear and the first of its `parts`, "channel" or "head", whose value is
/// not finite.
void require_finite(std::span<const double> values, const Linear& linear, std::string_view part);

}  // namespace notch::nn
