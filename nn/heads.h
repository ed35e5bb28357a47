// Fewer heads: heads of the attentions taken out, with their rows and columns of the matrices around. What
// is left is a model of the same architecture, smaller, whose other heads have the channels they had.
//
// A head here is one of keys and values with all queries that read it: where queries share it (grouped
// queries), the whole group goes. Which heads: those whose absence changes least what their attention adds
// to the stream. Taking out the channels G of one head changes it by W_G y_G, y the mixed values and W_G
// their columns of the projection, in the mean square by tr(W_G E[y_G y_Gᵀ] W_Gᵀ): exact, unlike a sum over
// channels. It is nn/narrow.h's criterion with a head in the place of a channel. Michel et al. 2019
// (arXiv:1905.10650) rank heads by the gradient of the loss for a mask instead, and over all layers;
// here every block loses as many, so that config.json can say it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

/// Per block and head of keys what is said above, on `text`. Usage error for a model without attention or
/// with matrices in two factors, numeric for activations that are not finite.
std::vector<std::vector<double>> head_importance(Model& model, std::span<const Tokens> text);

/// The model with these heads of keys of each block alone: `keep[b]` ascending, as many in every block.
/// Usage error for lists that do not fit.
std::unique_ptr<Model> with_heads_of(Model& model, std::span<const std::vector<std::int64_t>> keep);

}  // namespace notch::nn
