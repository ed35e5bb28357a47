// Shallower models: whole blocks taken out. What is left is a model of the same architecture with fewer
// layers, its other weights as they were.
//
// Which blocks: one after the other the one without which the loss on text rises least, each time
// measured again in the model that is left. (Men et al. 2024, arXiv:2403.03853, rank blocks by how much
// they turn the stream; Kim et al. 2024, arXiv:2402.02834, section 2.2, by the perplexity without each,
// once. Deviation from the latter: measured again after every block, as two may make up for each other.)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

/// A block that was taken out, by its number in the first model, and by how much the loss rose then.
struct RemovedBlock {
  std::int64_t block = 0;
  double rise = 0;  ///< nats per token
};

struct Shallow {
  std::unique_ptr<Model> model{};
  std::vector<RemovedBlock> removed{};  ///< in the order they went
};

/// The model with the blocks `keep` alone, ascending. Usage error for a list that does not fit.
std::unique_ptr<Model> with_blocks(Model& model, std::span<const std::int64_t> keep);

/// The model with `left` of its blocks, of equal losses the last block going first. Usage error for a
/// number that is not 1 to their number or without text, numeric for a loss that is not finite.
Shallow shallow(Model& model, std::int64_t left, std::span<const Tokens> text);

}  // namespace notch::nn
