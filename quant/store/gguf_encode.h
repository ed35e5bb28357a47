// What llama.cpp would write for weights in floating point: its encoders, byte for byte.
//
// Comparisons between methods never use them (quant/numbers/qtensor.h has the project's).
// Without importance (quantize_row_*_ref), id = 1/d in float of the d that is not yet a half:
//   Q8_0         d = max|w| / 127               q = round(w·id), halves away from zero
//   Q4_0, Q5_0   d = m / -2^(b-1), m the weight of largest magnitude, the first on ties
//                                               q = min(top, trunc(w·id + 2^(b-1) + 0.5))
//   Q4_1, Q5_1   m = min w, d = (max w - m) / (2^b - 1)      q = min(top, trunc((w - m)·id + 0.5))
//   TQ1_0, TQ2_0 d = max|w|                                  q = round(w·id)
//   IQ4_NL       of 16 scales m / t, t = 127 and -134 … -120, the one whose levels leave the least error,
//                weighted w², when d is fitted to them; then the levels nearest to w·id, the upper on ties
// With an importance v per column (llama-quantize --imatrix), weights v·√(σ² + w²), σ² the row's mean square:
//   Q4_0, Q5_0   of 19 scales the one whose codes leave the least weighted error when d is fitted to
//                them (make_qx_quants)
//   Q4_1, Q5_1   of 38 the same with d and m (make_qkx3_quants)
//   IQ4_NL       as above with these weights, σ² twice the block's mean square (quantize_row_iq4_nl_impl)
// Deviation: where all weights of a block of IQ4_NL are 0, d is; theirs is 0/0.
// Source: ggml-quants.c of llama.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "nn/gguf.h"

namespace notch::quant {

enum class Columns : bool { any, weighed };
/// The types that have an encoder, or one that looks at an importance.
std::vector<std::string_view> encoder_names(Columns columns = Columns::any);

/// Whether there is an encoder: F32, F16 and BF16 (half to even), and those above.
bool has_encoder(const nn::GgufType& type);
/// And whether it looks at an importance.
bool weighs_columns(const nn::GgufType& type);

/// Usage error of `where`, which names the types that take rows of any length, unless rows of so many weights are
/// whole blocks.
void require_whole_blocks(const nn::GgufType& type, std::int64_t cols, std::string_view where);

/// A row (whole blocks), appended to `out`. `importance`: one number per column, or nothing.
void encode_blocks(const nn::GgufType& type, std::span<const real> row, std::vector<std::byte>& out,
                   std::span<const float> importance = {});

}  // namespace notch::quant
