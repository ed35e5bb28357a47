// GPTQ checkpoints: quantized Linears as AutoGPTQ, GPTQModel, vLLM and transformers read them.
//
// In place of the weight of a Linear L with `in` inputs and `out` outputs:
//   L.qweight  I32  [in · bits / 32, out]      codes u, unsigned
//   L.qzeros   I32  [groups, out · bits / 32]  zero points z, unsigned
//   L.scales   F16  [groups, out]
//   L.g_idx    I32  [in]                       the group of every input, i / group_size
// and w[o, i] = scales[g, o] · (u[o, i] - z[g, o]) with g = g_idx[i]. Widths: 2, 3, 4 and 8 bits.
//
// Bits: column o of qweight is a stream of bits in which u[o, 0] comes first, each code from its
// least significant bit on; the stream fills words of 32 bits from bit 0 upwards, the first word in
// the first row. At 4 bits input i is in bits 4 (i mod 8) to 4 (i mod 8) + 3 of word i / 8; at 3
// bits 32 codes fill three words, and codes 10 and 21 lie in two of them. A row of qzeros is such a
// stream over the outputs.
//
// Zero points: checkpoint_format "gptq" (v1, AutoGPTQ's) stores z - 1, "gptq_v2" stores z. Of v1's
// readers some reduce (z - 1) + 1 modulo 2^bits and some do not: z = 0 means two things and is
// refused. Ours are q = u - 2^(bits-1) and the zero point likewise; a symmetric grid has
// z = 2^(bits-1) everywhere, in v1 at 4 bits the word 0x77777777, in v2 0x88888888.
//
// Everything else is in floating point: the token table, positions, norms and biases (F32 here).
// config.json has the quantization_config, and quantize_config.json the same for older readers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "quant/store/model_files.h"

namespace notch::quant {

enum class GptqZeros : std::uint8_t { v1, v2 };
constexpr auto names(GptqZeros) { return std::array<std::string_view, 2>{"gptq", "gptq_v2"}; }

/// `values`, unsigned, as a stream of `bits` bits each in words; a multiple of 32 bits in all.
std::vector<std::uint32_t> gptq_stream(std::span<const std::uint8_t> values, int bits);
/// The reverse: words · 32 / bits values.
std::vector<std::uint8_t> gptq_values(std::span<const std::uint32_t> words, int bits);

/// The quantization of `dir` if it is a GPTQ checkpoint's: of config.json, which `config` is, or of
/// a quantize_config.json beside one without. Throws Fault::input when that is no object.
std::optional<Json> gptq_config(const fs::path& dir, const Json& config);

/// Writes config.json, quantize_config.json, the weights and manifest.json into `dir`, which exists.
/// Codes, zero points and scales are those of `quantized`, bit for bit. Throws Fault::input for what
/// the format does not hold exactly, saying what would do: tables on integers, widths that differ,
/// Linears left in floating point, codebooks and grids without a whole zero point, scales that are
/// not F16, rounded or multiplied inputs, extents that fill no words.
void save_gptq(const nn::Model& model, const Quantized& quantized, const fs::path& dir,
               GptqZeros zeros);

/// What save_gptq or another program wrote; `about` is gptq_config's. A matrix without zero points
/// is read as narrow where the lowest code does not occur, as full where it does, as signed_max
/// where a scale is negative. With `packed` the matrices go there and their parameters get no
/// values. Throws Fault::input as load_any, and for groups that are not in the order of the inputs.
LoadedModel load_gptq(const fs::path& dir, const Json& config, const Json& about,
                      ServedLayers::Matrices* packed = nullptr);

/// Whether a tensor of a file is one of the four parts.
bool is_gptq_part(std::string_view name);
/// `size` with the bytes that the parts have in the files of `dir`; g_idx counts as codes.
SizeReport gptq_size(SizeReport size, const fs::path& dir);

}  // namespace notch::quant
