// Matrix products of bfloat16 operands with float sums: twice and more the rate of float where the
// processor has dot products of pairs (AVX512-BF16, AMX).
//
// Operands stay float in memory and are rounded while they are packed, to nearest with ties to
// even; masters, gradients and everything else of a step keep their precision. Rounding makes a
// relative error of at most 2^-9 per operand. The instructions count subnormal operands and
// results as zero and add the two products of a pair in their own order: the bits of a result
// depend on the instruction set, but on no number of threads.
#pragma once

#include "autograd/kernels/matmul.h"

namespace notch::kernels {

using Bf16Product = MatmulOf<float>;

/// Whether this processor has an instruction for it.
bool bf16_available();

/// Infinities and NaN stay what they are. Parallel; b is packed into a buffer of the calling thread
/// that is kept for the next call. Must not be called unless bf16_available().
void bf16_matmul(const Bf16Product& product);

}  // namespace notch::kernels
