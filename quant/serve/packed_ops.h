// Products of a model that is not trained, on the tape: rounded inputs by packed integers. There is
// no ŵ, and nothing gets a gradient.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "autograd/graph.h"
#include "quant/numbers/activation.h"
#include "quant/serve/integer_matrix.h"

namespace notch::quant {

/// y = x̂ ŵᵀ + bias by the integer contract, bit for bit quantized_linear's (quant/ops/input_ops.h).
/// `w` must outlive the step.
Var packed_linear(Var x, std::optional<Var> bias, const InputQuantizer& input,
                  const IntegerMatrix& w);

/// Logits of rows [first, first + n) of x [.., K] into `out` [n, N], bit for bit packed_linear's,
/// for head_loss. `codes` must hold n · packed_row_bytes bytes, at a multiple of 4.
std::size_t packed_row_bytes(const IntegerShape& shape);
void packed_rows(std::span<real> out, const Tensor& x, const InputQuantizer& input,
                 const PackedWeights& packed, std::span<std::byte> codes, std::int64_t first,
                 std::int64_t n);

}  // namespace notch::quant
