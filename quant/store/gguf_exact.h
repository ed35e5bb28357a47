// A quantized matrix in GGUF's blocks with its own codes: never rounded a second time.
//
// A weight is level · scale with an integer level (code - zero point, or the code). What holds it:
//   Q8_0, Q5_0, Q4_0   d = scale, q = level; units that 32 divides
//   Q5_1, Q4_1         d = scale · step, m = scale · (lowest level), which has to be a half too
//   Q3_K, Q6_K         scales of 256 weights are d · integer with one half d: equal ones, or a common
//   TQ2_0, TQ1_0       divisor
//   Q2_K, Q4_K, Q5_K   the same with dmin = d: scale · (step · q + lowest level); `seq` at 2 bits, 2q - 3,
//                      has the sub-scale 2 and the sub-minimum 3
// step is the distance of neighbouring levels, 2 for `seq`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "nn/gguf.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// The type that holds every code and scale of `q` exactly, the smallest there is; of Q4_0 and Q4_K the
/// first, and TQ1_0, which takes longer to unpack than TQ2_0, where `wanted` is. A usage error naming `where`
/// says why there is none, and what would do: scales that are no halves, a codebook, units that a
/// block straddles, levels beyond -128 … 127.
const nn::GgufType& exact_type(const QTensor& q, std::string_view where,
                               const nn::GgufType* wanted = nullptr);

/// Row `row` of q in blocks of a type that holds it.
void exact_blocks(const nn::GgufType& type, const QTensor& q, std::int64_t row,
                  std::vector<std::byte>& out);

}  // namespace notch::quant
