// The rank of a product beside a matrix, given or learned: x ŵᵀ + (x downᵀ) upᵀ.
#pragma once

#include <string_view>

#include "autograd/param.h"

namespace notch::quant {

/// Usage error, field = `key`, for a rank above the matrix' smaller side: the product has no more.
void require_side_rank(int rank, std::string_view key, const Param& weight, std::string_view where);

}  // namespace notch::quant
