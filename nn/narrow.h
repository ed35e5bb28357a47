// Narrower models: channels inside the MLPs taken out, with their rows and columns of the matrices
// around. What is left is a model of the same architecture, smaller, with no zeros in it.
//
// Which channels: those whose absence changes least what their MLP adds to the stream. Taking out h_i
// alone changes it by h_i w_i, w_i the column that reads h_i, in the mean square by E h_i² · ‖w_i‖²; of
// an MLP the n channels with the largest stay. The criterion is Wanda's (arXiv:2306.11695) with a
// column in the place of a weight; Molchanov et al. 2017 (arXiv:1611.06440) compare such.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

/// Per block and inner channel E h_i² ‖w_i‖² on `text`. Usage error for a model whose blocks do not end
/// in an MLP of sizes().n_inner channels, numeric for activations that are not finite.
std::vector<std::vector<double>> inner_importance(Model& model, std::span<const Tokens> text);

/// The indices of the `n` largest of each block, ascending; of equal ones the first.
std::vector<std::vector<std::int64_t>> most_important(
    std::span<const std::vector<double>> importance, std::int64_t n);

/// The model with these inner channels of each block alone: `keep[b]` ascending, as many in every block.
/// Usage error for lists that do not fit.
std::unique_ptr<Model> narrowed(Model& model, std::span<const std::vector<std::int64_t>> keep);

}  // namespace notch::nn
