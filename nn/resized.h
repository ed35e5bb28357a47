// The same architecture in other sizes, without values: what narrower and factored models are made in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

/// A model like this one with `heads` heads of keys and values (and as many queries to each as now), whose
/// channels stay as many as they were. Usage error for a number that is not 1 to theirs, and for another
/// architecture than Gpt and Llama, here and below.
std::unique_ptr<Model> with_heads(const Model& model, std::int64_t heads, Model::Values values);

/// A model like this one whose matrices have these ranks (Sizes::ranks). Usage error for ranks that do not
/// fit, and where matrices are in two factors already.
std::unique_ptr<Model> with_ranks(const Model& model, std::span<const std::int64_t> ranks,
                                  Model::Values values);

/// Of `sizes`, the rows that the matrices of each step of a block have together, and their columns.
struct StepShape {
  std::int64_t rows = 0, cols = 0;
  std::int64_t least_side() const { return std::min(rows, cols); }  ///< the largest rank
};
std::vector<StepShape> step_shapes(const Sizes& sizes);

/// Copies what has the same name and shape in both.
void copy_alike(const ParamStore& from, ParamStore& to);

}  // namespace notch::nn
