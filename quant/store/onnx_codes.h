// The codes of a quantized model in an ONNX graph, as they were trained or chosen.
//
//   codes times floats   MatMulNBits (com.microsoft), y = x (s (u - z))ᵀ, in blocks of a group or,
//                        with one scale per row or tensor, of the most inputs that divide a row
//     B       U8  [out, blocks, block · n / 8]  codes u in n = 4 or 8 bits, the first in the low bits
//     scales  F32 [out · blocks]
//     zeros   U8  [out · ⌈blocks · n / 8⌉]      n bits each; absent: z = 2^(n-1)
//     n is 4 where the codes lie in [-8, 7], else 8; u = q + 2^(n-1), z likewise. A block has 16, 32,
//     64, 128 or 256 inputs. (Not DequantizeLinear and MatMul: of those ONNX Runtime makes a
//     MatMulNBits that rounds x to 8 bits, session.qdq_matmulnbits_accuracy_level.)
//   codes times codes    DequantizeLinear of I8 [in, out], and MatMul; so are rows without blocks
//   tables               I8 [V, C]: Gather, then (q - z) · s; a tied head multiplies with the same
//                        tensors
// A static input range is a pair QuantizeLinear, DequantizeLinear around the clipped input, which
// ONNX Runtime multiplies as integers where the weights are per row; multiplied channels are a Mul.
#pragma once

#include <vector>

#include "nn/onnx_model.h"
#include "quant/numbers/named_qtensor.h"

namespace notch::quant {

class OnnxCodes final : public nn::OnnxWeights {
 public:
  /// `tensors` must outlive this. Throws Fault::input, field = the tensor, for what has no form
  /// above: codebooks, groups of other sizes, ranges of activations that are every token's own.
  explicit OnnxCodes(const std::vector<NamedQTensor>& tensors);

  std::string product(nn::OnnxGraph& g, const Param& weight, const std::string& x) override;
  std::string rows(nn::OnnxGraph& g, const Param& table, const std::string& ids, int rank) override;

 private:
  const NamedQTensor* find(const Param& p) const;

  const std::vector<NamedQTensor>& tensors_;
};

}  // namespace notch::quant
