// Quantized model directories: what a table row is evaluated from.
//
// The layout is that of nn/model_dir.h, with a `quantization_config` in config.json and, for each
// quantized tensor F of model.safetensors, three in its place (quant/store/pack.h has the bytes):
//   F.codes  U8                [rows, packed_bytes(cols)]           rows are outputs, not transposed
//                                                                   as Conv1D weights are
//   F.scale  F32, F16, BF16, F8_E8M0 or U8  [rows, units per row]                [1] with one per tensor
//   F.zero   U8                [rows, ceil(units per row·bits / 8)] [1, 1] with one per tensor;
//                                                                   only on asymmetric grids
// A layer whose input is quantized has an entry in "activations"; if its range is static, also
//   F.input_scale  F32 [1]
//   F.input_zero   I8  [1]                                          x ~ (q - input_zero) · input_scale
// A pruned tensor stands in "masks" (quant/store/pruned_tensor.h has the bytes), with
//   F.mask   U8  [rows, ceil(cols / 8)]   bit c of a row: whether weight c is kept
// and has only the codes that are kept, F.codes U8 [bytes]; in floating point in place of F:
//   F.kept   F32 or F16  [weights kept]
// The learned grid has 2^bits levels in F.scale where others have a scale, [rows, units per row · 2^bits] or
// [2^bits]; an additive one has also
//   F.codebooks  F16  [codebooks, vectors, 8]   (quant/numbers/additive_codes.h)
// Nested scales (quant/numbers/nested_scales.h) are bytes in F.scale, and
//   F.scale_scale  F32 [ceil(units / 256)]
//   F.scale_mean   F32 [1]
// Bilevel ones (the same file) 3 bits each, packed like codes, in F.scale U8 [rows, bytes], and
//   F.scale_step, F.scale_minimum  F16 [ceil(rows / 16), units per row]
// quant/store/input_parts.h has what stands beside layers whose input a method changed.
// quantization_config: {"quant_method": "notch", "version": 1, "bits": …, "tensors": {F: spec, …},
// "activations": {F: spec, …}, …}; the rest is for the reader's information. With "coding": "rans"
// the codes are entropy-coded:
//   F.coded  U8  [bytes]  in place of F.codes (quant/store/entropy_coder.h)
// Directories of quant_method "gptq" are read too (quant/store/gptq_checkpoint.h).
//
// quant/store/ is file formats: directories, GGUF, GPTQ, ONNX, entropy coding, exact bytes.
// May include: quant/serve, quant/methods, quant/numbers, quant/kernels, nn, autograd.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/model_dir.h"
#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"
#include "quant/serve/input_changes.h"
#include "quant/serve/served_layers.h"

namespace notch::quant {

/// How codes are stored.
enum class Coding : std::uint8_t {
  packed,   ///< in `bits` bits each: kernels can use them as they are
  entropy,  ///< as short as their distribution allows: for keeping and sending
};

/// Where the bytes of an artefact go: its tensors, and the header of their file.
struct SizeReport {
  std::int64_t weights = 0;    ///< parameters of the model, quantized or not
  std::int64_t quantized = 0;  ///< of these, quantized
  std::int64_t code_bytes = 0;
  std::int64_t scale_bytes = 0;
  std::int64_t level_bytes = 0;  ///< levels of the matrices' own: lists and codebooks
  std::int64_t zero_point_bytes = 0;
  std::int64_t mask_bytes = 0;    ///< which weights are pruned: one bit each
  std::int64_t table_bytes = 0;   ///< frequencies and states of entropy-coded codes; packed: 0
  std::int64_t float_bytes = 0;   ///< tensors that stay in floating point
  std::int64_t side_bytes = 0;    ///< products beside the codes, what inputs are multiplied by, signs
  std::int64_t header_bytes = 0;  ///< names and shapes, in the file
  std::int64_t coded_bytes = 0;   ///< what the codes take entropy-coded, tables included
  double code_entropy = 0;        ///< order-0 entropy in bits per quantized weight: each tensor by
                                  ///< itself, weighted by its size

  std::int64_t bytes() const {
    return code_bytes + mask_bytes + table_bytes + scale_bytes + level_bytes + zero_point_bytes +
           side_bytes + float_bytes;
  }
  std::int64_t file_bytes() const { return bytes() + header_bytes; }
  /// Bits per parameter of the whole model: all tensors, without the header.
  double bits_per_weight() const;
  /// The same if the codes were entropy-coded.
  double coded_bits_per_weight() const;
};

/// Whether codes are entropy-coded to know how short they could be, although they are stored packed.
enum class Entropy : std::uint8_t { measured, unknown };

/// Entropy-coded codes, by the names of their parameters.
using CodedStreams = std::map<std::string, std::vector<std::uint8_t>>;

/// The bytes an artefact will have; `float_bits` of what is not quantized. Codes whose stream is given
/// are not encoded again.
SizeReport predict_size(const nn::Model& model, const Quantized& quantized, int float_bits = 32,
                        Coding coding = Coding::packed, Entropy entropy = Entropy::measured,
                        const CodedStreams& streams = {});

/// The bytes of model.safetensors, header included, of a model whose targets will be codes of their specs;
/// nothing is pruned and nothing stands beside the codes.
std::int64_t predict_file_bytes(const nn::Model& model, std::span<const Target> targets);

/// Writes the directory (an existing one is being filled: a DirectoryWriter's temporary). The
/// parameters that `quantized` does not name are written as they are in `model`, in the type `floats`
/// (f32 or f16). `about` is merged into quantization_config. Throws Fault::mismatch when the file has
/// other bytes than predicted.
void save_quantized(const nn::Model& model, const Quantized& quantized, const fs::path& dir,
                    const Json& about = Json::object(), Coding coding = Coding::packed,
                    nn::DType floats = nn::DType::f32);

/// A model as its files say it is. For a quantized one `tensors` holds the integers and the
/// parameters their dequantized values; but layers with a quantized input multiply integers, and
/// their parameters have no values.
struct LoadedModel {
  LinkedModel model{};
  std::vector<NamedQTensor> tensors{};  ///< empty for a floating-point model
  std::vector<NamedMask> masks{};       ///< of what is pruned
  Json quantization_config{};           ///< null for a floating-point model
  Coding coding = Coding::packed;
  CodedStreams streams{};  ///< as the file has them; empty where codes are packed
  /// Attached to the model; null where no method has changed an input.
  std::unique_ptr<InputChanges> changes{};
  std::unique_ptr<ServedLayers> served{};  ///< attached to the model; null where nothing is
};

/// Reads either kind of directory. Throws Fault::input naming file and tensor for anything that
/// does not hold: missing, extra or wrongly shaped tensors, a code outside its grid, a scale that
/// is not finite or 0.
LoadedModel load_any(const fs::path& dir);

/// Either kind of directory, to be run and not changed: quantized matrices are repacked piece by
/// piece as they are read and never become floats (but positions, which are added, not multiplied).
/// Throws as load_any.
RunnableModel load_runnable(const fs::path& dir);

}  // namespace notch::quant
