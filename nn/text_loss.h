// The loss of a model on text whose every token but a window's last predicts the next one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

/// The token after each; -1 after the last of a window.
std::vector<std::int32_t> successors(const Tokens& tokens);

/// The mean loss in nats per predicted token, over all batches.
double mean_loss(Graph& graph, const Model& model, std::span<const Tokens> text);

}  // namespace notch::nn
