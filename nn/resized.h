// The same architecture in other sizes, without values: what narrower and factored models are made in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
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

/// How many of the `all` units ("heads", "channels") of a block `keep` names: as many in each of
/// `blocks`, ascending. Usage error naming `where` for lists that do not fit.
std::int64_t require_kept(std::span<const std::vector<std::int64_t>> keep, std::int64_t blocks,
                          std::int64_t all, std::string_view where, std::string_view units);

/// Fills what `to` has under the same name with these rows, or columns, of `from`, in their order; null:
/// there is no such parameter.
void take_rows(const Param* from, ParamStore& to, std::span<const std::int64_t> rows);
void take_columns(const Param& from, ParamStore& to, std::span<const std::int64_t> columns);

}  // namespace notch::nn
